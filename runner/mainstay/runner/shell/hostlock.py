"""A host belongs to one state, and is worked on by one run at a time: the owner file and the lock on the host."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mainstay.runner.shell.contract import Command, Fence, Shell, ShellError
from mainstay.runner.shell.printable import printable
from mainstay.runner.shell.refusals import refusal
from mainstay.runner.shell.scripts import CHANGE_LOCK, READ_LOCK

WAIT = 45
"""Seconds that a change of the lock waits for a command that still runs on the host."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What a host says of who holds it. Empty strings where nobody does. fence: of at most 15 digits."""

    site: str = ""
    state: str = ""
    last_run: str = ""
    lock_run: str = ""
    fence: int = 0


def read(shell: Shell) -> Holding:
    """Who holds the host. Needs a login and nothing more."""
    output = shell.run(Command(("sh", "-c", READ_LOCK, "mainstay")))
    found: dict[str, str] = {}
    for line in output.text.splitlines():
        file, _, rest = line.partition(" ")
        name, _, value = rest.partition("=")
        found[f"{file}.{name}" if file != "fence" else file] = value if file != "fence" else rest
    return Holding(
        site=found.get("owner.site", ""),
        state=found.get("owner.state", ""),
        last_run=found.get("owner.run", ""),
        lock_run=found.get("lock.run", ""),
        fence=_number(found.get("fence", "0")),
    )


def acquire(shell: Shell, fence: Fence, *, stale: frozenset[str] = frozenset()) -> Holding:
    """Claim and lock the host for `fence.run`, in one round trip; again by the same run is success.

    stale: runs that are known to have ended; a lock of theirs is taken over. Returns what was there before.
    Raises FenceRefused where the host belongs to another state, a lock of another run is live, or the fence is old.
    """
    return _change(shell, "acquire", fence, sorted(stale))


def release(shell: Shell, fence: Fence, *, of: str = "") -> None:
    """Give the lock back and note the run as the last one. Not held any more is success. of: another run whose jobs' output
    is emptied as well, the one that was reconciled."""
    _change(shell, "release", fence, [of] if of else None)


def adopt(shell: Shell, fence: Fence) -> Holding:
    """Take the host over from another state, on purpose. Returns who had it."""
    return _change(shell, "adopt", fence)


def _change(shell: Shell, action: str, fence: Fence, stale: list[str] | None = None) -> Holding:
    for word in (fence.state, fence.run, fence.site, *(stale or [])):
        if not word.isprintable():
            raise ValueError(f"{word!r} can't be written into a line on the host")
    argv = (
        "sh",
        "-c",
        CHANGE_LOCK,
        "mainstay",
        action,
        str(WAIT),
        str(fence.number),
        fence.state,
        fence.run,
        fence.site,
    )
    # The lock's own script checks the number, so the command is sent without a fence.
    output = shell.run(Command((*argv, *(stale or [])), sudo=True, deadline=WAIT + 30))
    first, _, rest = output.text.partition("\n")
    status, *words = first.removeprefix("mainstay-lock ").split("\t")
    name = shell.host.name
    if status == "refused":
        raise refusal(name, words)
    fields = rest.rstrip("\n").split("\t")
    if status != "ok" or len(fields) != 5 or output.status != 0:
        said = printable(output.stderr) or printable(output.stdout) or "nothing"
        raise ShellError(name, f"the lock on the host could not be changed; it said: {said}")
    site, state, run, lock_run, number = fields
    return Holding(site, state, run, lock_run, _number(number))


def _number(text: str) -> int:
    """What a host says it has seen; 0 where that can't be. No controller counts beyond 15 digits, and a host that says so
    is not followed: our own count would run over, and one host would have stopped the work on all others."""
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else 0
