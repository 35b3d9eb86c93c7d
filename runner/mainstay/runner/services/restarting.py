"""Starting services anew that run replaced code, by policy, and looking again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from mainstay.inventory.errors import MainstayError
from mainstay.runner.services import finding, never
from mainstay.runner.services.contract import LeftStale, RestartReport, Stale
from mainstay.runner.shell.contract import Command, Fence, Shell

_SCRIPT = Path(__file__).with_name("restart.sh").read_bytes()

PER_UNIT = 180.0
"""Seconds: systemd gives a unit 90 to stop and 90 to start."""

DEADLINE_MAX = 1800.0

Policy = Literal["affected", "reboot", "none"]


class RestartGarbled(MainstayError):
    kind = "restart"


def restart(
    shell: Shell,
    fence: Fence,
    stale: Stale,
    policy: Policy,
    also_never: Sequence[str] = (),
    *,
    output: Callable[[bytes], None] = lambda data: None,
) -> RestartReport:
    """Start anew what `stale` names and may be, then look again: what is still stale is left, with the reason.

    Safe to call again: what does not run replaced code any more is not among the stale ones. Raises what Shell raises.
    """
    reasons = {unit.unit: never.reason(unit.unit, also_never) for unit in stale.services}
    wanted = [unit for unit, why in reasons.items() if not why]
    if policy != "affected" or not (wanted or stale.init):
        why = {"none": "restart: none", "reboot": "the reboot ends it"}.get(policy, "")
        return RestartReport(left=_left(stale, reasons, overall=why))
    deadline = min(DEADLINE_MAX, 60.0 + PER_UNIT * len(wanted))
    argv = ("sh", "-s", "--", "yes" if stale.init else "no", *wanted)
    answer = shell.run(Command(argv=argv, stdin=_SCRIPT, sudo=True, fence=fence, deadline=deadline, limit=1 << 20))
    output(answer.stdout)
    output(answer.stderr)
    done, kept, failed = _parse(answer.text)
    if done is None:
        raise RestartGarbled(f"{shell.host.name}: restarting services did not come to its end")
    after = finding.find(shell)
    for unit in done:
        reasons[unit] = "it runs replaced code again, or still, after its restart"
    reasons |= kept | dict.fromkeys(failed, "its restart failed")
    return RestartReport(
        restarted=tuple(unit for unit in done if unit not in failed),
        failed=tuple(failed),
        left=_left(after, reasons),
    )


def _parse(text: str) -> tuple[list[str] | None, dict[str, str], list[str]]:
    """(restarted, kept with why, failed); None for the first where the output has no end."""
    done: list[str] = []
    kept: dict[str, str] = {}
    failed: list[str] = []
    ended = False
    for line in text.splitlines():
        fields = line.split("\t")
        if fields[0] == "done" and len(fields) == 2:
            done.append(fields[1])
        elif fields[0] == "kept" and len(fields) == 3:
            kept[fields[1]] = fields[2]
        elif fields[0] == "state":
            told = dict(field.split("=", 1) for field in fields[1:] if "=" in field)
            if told.get("Id") in done and _fell(told):
                failed.append(told["Id"])
        ended = ended or line == "end"
    return done if ended else None, kept, failed


def _fell(told: dict[str, str]) -> bool:
    """inactive with success is one that had nothing to do, or that somebody stopped."""
    active, sub = told.get("ActiveState", ""), told.get("SubState", "")
    return active == "failed" or sub == "auto-restart" or told.get("NRestarts", "0") not in ("0", "")


def _left(stale: Stale, reasons: dict[str, str], *, overall: str = "") -> tuple[LeftStale, ...]:
    left = [LeftStale(unit="systemd (PID 1)", why=overall or "it could not be started anew")] if stale.init else []
    for unit in stale.services:
        left.append(LeftStale(unit=unit.unit, why=reasons.get(unit.unit) or overall or "it was not to be restarted"))
    left += [LeftStale(unit=unit.unit, why=overall or "somebody's login") for unit in stale.sessions]
    left += [LeftStale(unit=unit.unit, why=overall or "belongs to no service") for unit in stale.others]
    if stale.unknown:
        left.append(LeftStale(unit="unknown", why="what runs replaced code could not be found out"))
    return tuple(left)
