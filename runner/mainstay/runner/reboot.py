"""Reboot: whether one is needed, starting it so that the command returns, and the proof that it happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar

from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host
from mainstay.runner import kernels
from mainstay.runner.services.contract import Stale
from mainstay.runner.shell.contract import (
    Command,
    ContactLost,
    Fence,
    HostKeyRefused,
    Job,
    Shell,
    ShellError,
    Shells,
    Unreachable,
)
from mainstay.runner.upkeep import RebootNeed

SETTLE = 180.0
"""Seconds that a host which is up again gets to finish its boot. A unit that hangs for longer than systemd's default of
90 s, twice, is a matter for the health checks, and they follow."""

PAUSE = 0.5

_START = r"""
# Asked again after the host went down for it: that was it.
[ -z "$1" ] || [ "$(cat /proc/sys/kernel/random/boot_id)" = "$1" ] || exit 0
sync
# whoever launched this gets an answer first
sleep 1
if [ -d /run/systemd/system ]; then
  # -i: a desktop's inhibitor does not hold a maintenance window up
  systemctl --no-block --no-wall -i reboot
else
  reboot
fi
"""

_LOOK = r"""
cat /proc/sys/kernel/random/boot_id
if [ -d /run/systemd/system ]; then systemctl is-system-running; else echo running; fi
"""


class RebootFailed(ShellError):
    """The host answers, and it is still the same boot."""

    kind: ClassVar[str] = "reboot"


def kernel_behind(facts: Facts) -> str:
    """The newest installed kernel of the running one's flavour, where it is newer; empty otherwise, and in a container,
    which runs its host's."""
    if facts.container or not facts.kernel:
        return ""
    newest = kernels.newest_of_flavour(facts.kernel, facts.kernels_installed)
    if newest is None or kernels.compare(kernels.split(newest)[0], kernels.split(facts.kernel)[0]) <= 0:
        return ""
    return newest


def need(facts: Facts, stale: Stale) -> RebootNeed:
    """From the flag, the kernel and what still runs replaced code, both taken after the change. Pure.

    None: nothing says yes, and something that could say so can't be known.
    """
    reasons: list[str] = []
    if facts.reboot_required:
        packages = ", ".join(facts.reboot_packages)
        reasons.append(f"asked for by {packages}" if packages else "the reboot flag is set")
    if not facts.container:
        behind = kernel_behind(facts)
        if behind:
            reasons.append(f"kernel {behind} is installed, {facts.kernel} runs")
        elif stale.kernel_state == "behind":
            reasons.append(f"kernel {stale.kernel_expected or '(newer)'} is expected, {facts.kernel} runs")
        elif stale.kernel_state == "replaced":
            reasons.append(f"kernel {facts.kernel} was replaced by a newer build since the boot")
    if stale.init:
        reasons.append("PID 1 runs replaced code, also after it was started anew")
    libc = [unit.unit for unit in stale.services if any(_is_libc(path) for path in unit.files)]
    if libc:
        reasons.append(f"the C library was replaced under {', '.join(libc)}")
    if reasons:
        return RebootNeed(needed=True, reasons=tuple(reasons))
    doubts = _doubts(facts, stale)
    return RebootNeed(needed=None if doubts else False, reasons=doubts)


def _is_libc(path: str) -> bool:
    name = path.rsplit("/", 1)[-1]
    return name.startswith(("libc.so", "libc-2", "ld-linux", "ld-2", "ld-musl", "libpthread"))


def _doubts(facts: Facts, stale: Stale) -> tuple[str, ...]:
    doubts = []
    if stale.unknown:
        doubts.append("what runs replaced code could not be found out")
    if not facts.container and stale.kernel_state == "unknown":
        if not facts.kernels_installed:
            doubts.append(f"no installed kernel was found to compare {facts.kernel or 'the running one'} with")
        elif kernels.newest_of_flavour(facts.kernel, facts.kernels_installed) is None:
            doubts.append(f"no installed kernel is of the same flavour as {facts.kernel}, which runs")
    return tuple(doubts)


def start(shell: Shell, fence: Fence, name: str, boot_id: str) -> None:
    """Reboot the host in a detached job called `name`, so that this returns cleanly. Again, also after the reboot, is
    success and does nothing, because the host remembers its jobs; boot_id, where given, is the only boot that is ended."""
    shell.launch(Job(name=name, script=_START, args=(boot_id,)), fence)


def wait(
    shells: Shells,
    host: Host,
    boot_id: str,
    deadline: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[str, str]:
    """Until the host answers with another boot id than `boot_id` and has finished its boot.

    Returns (new boot id, systemd's word for it: running, degraded, starting…). An error is no answer, never a proof; a host
    key that is not the pinned one is raised at once. Raises after `deadline` seconds: ContactLost where the host does not
    answer, RebootFailed where it answers and never went down.
    """
    until = clock() + deadline
    said, new, new_since = "no answer yet", "", 0.0
    while True:
        answer = _ask(shells, host)
        if isinstance(answer, str):
            said, new = answer, ""
        elif answer[0] and answer[0] != boot_id:
            if new != answer[0]:
                new, new_since = answer[0], clock()
            settled = answer[1] not in ("initializing", "starting", "")
            if settled or clock() - new_since > SETTLE:
                return new, answer[1]
        else:
            said = ""
        if clock() >= until:
            if new:
                return new, "starting"
            if not said:
                raise RebootFailed(host.name, f"did not reboot within {deadline:g} s: it is still the same boot")
            raise ContactLost(host.name, f"not back within {deadline:g} s of its reboot: {said}")
        sleep(PAUSE)


def _ask(shells: Shells, host: Host) -> tuple[str, str] | str:
    """(boot id, state), or why there was no answer. A new connection each time: the old one may hang for minutes."""
    shell = shells.open(host)
    try:
        output = shell.run(Command(argv=("sh", "-c", _LOOK), deadline=10.0, limit=4096))
    except HostKeyRefused:
        raise
    except (Unreachable, ContactLost) as error:
        return error.plain
    finally:
        shell.close()
    lines = output.text.split()
    # noise of a login shell comes first: what we asked for are the last two words
    return (lines[-2], lines[-1]) if len(lines) >= 2 and len(lines[-2]) == 36 else "its answer was garbled"
