"""Why a host said no, from the words that its script prints to sentences for people."""

from __future__ import annotations

from mainstay.runner.shell.contract import FenceRefused, ForwardRefused, ShellError
from mainstay.runner.shell.printable import printable


def refusal(host: str, words: list[str]) -> ShellError:
    """`words`: what stood behind `refused` in the first line, hostile text included. See scripts.py for the words."""
    what, *rest = [printable(word, 120) for word in words] or [""]
    rest += [""] * 3
    match what:
        case "unowned":
            return FenceRefused(host, "no run has claimed this host", hint="The run's lock has to be taken first.")
        case "owner":
            site, state, run = rest[:3]
            last = f", last run {run}" if run else ""
            return FenceRefused(
                host,
                f'belongs to site "{site}", state {state}{last}',
                hint=f"Work with that state, or take the host over on purpose: mainstay hosts adopt {host}",
            )
        case "old":
            number, run = rest[:2]
            holder = f" (run {run})" if run else ""
            return FenceRefused(host, f"has seen a newer commander, number {number}{holder}; this one is too old")
        case "lock":
            run, since = rest[:2]
            if not run:
                return FenceRefused(host, "the run does not hold this host's lock (any more)")
            when = f" since {since}" if since else ""
            return FenceRefused(
                host,
                f"is held by run {run}{when}",
                hint="See mainstay runs; a run whose controller died is taken up by mainstay runs resume.",
            )
        case "busy":
            run = f" of run {rest[0]}" if rest[0] else ""
            return FenceRefused(
                host, f"a command{run} is still running there and keeps the host", hint="Try again later."
            )
        case "damaged":
            return FenceRefused(
                host, f"/var/lib/mainstay/{rest[0]} is damaged", hint="Look at it; mainstay hosts adopt rewrites it."
            )
        case "unwritable":
            return ShellError(host, f"{rest[0]} can't be written", hint="Is the disk full, or read-only?")
        case "noflock":
            return ShellError(host, "flock is missing there", hint="Install util-linux.")
        case "nouser":
            return ShellError(host, f'there is no user "{rest[0]}" there')
    return ShellError(host, f"refused without a reason that is known here: {printable(' '.join(words))}")


def not_forwarded(host: str) -> ForwardRefused:
    return ForwardRefused(
        host,
        "its sshd does not allow a reverse forward; nothing was opened",
        hint="Set AllowTcpForwarding yes (or remote) in its sshd_config, at least for this login (Match User). DisableForwarding, "
        "PermitListen, and restrict or no-port-forwarding in authorized_keys refuse it too.",
    )


def not_on_loopback(host: str) -> ForwardRefused:
    return ForwardRefused(
        host,
        "its sshd opens a forwarded port on every address, not on loopback alone; it was closed again",
        hint="Set GatewayPorts no (or clientspecified) in its sshd_config, at least for this login (Match User).",
    )


def port_taken(host: str, port: int) -> ForwardRefused:
    return ForwardRefused(
        host,
        f"port {port} of its loopback is taken, or its sshd does not let this one be forwarded",
        hint="Leave the port out: sshd chooses a free one. PermitListen in its sshd_config may name those that are allowed.",
    )
