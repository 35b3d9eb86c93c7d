"""`rollback RUN`: which hosts a run changed can go back, and the run that takes them there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from mainstay.inventory.errors import Refused, UsageError
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.runner.plan import Carefulness
from mainstay.runner.record import STAGE, Links, Summary
from mainstay.runner.request import Asking, RunRequest, later_request
from mainstay.runner.state.contract import State, UndoRow
from mainstay.runner.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class WayBack:
    """What is known of undoing a run before any host is asked.

    hosts: those that can go back. already: host → the run that took it back. impossible: host → why.
    """

    run: str
    summary: Summary | None
    """None where the run has not been sealed (it was lost in the middle)."""
    hosts: tuple[str, ...]
    already: dict[str, str]
    impossible: dict[str, str]


def way_back(tools: Toolbox, run: str, now: datetime) -> WayBack:
    """Raises UsageError where there is no such run, Refused where it is still in flight."""
    row = tools.state.run(run)
    if row is None:
        raise UsageError(f"there is no run {run}", hint="mainstay records list shows them")
    if row.kind == STAGE:
        raise Refused(
            f"run {run} only downloaded ahead of its window and changed nothing: there is nothing to take back"
        )
    if row.state != "ended":
        raise Refused(f"run {run} is still in flight", hint=f"mainstay runs cancel {run}, then roll it back")
    entry = tools.ledger.get(run)
    newest = _newest_undo(tools.state, run)
    already = {host: undo.undone_by for host, undo in newest.items() if undo.undone_by}
    impossible = {
        host: f"the way back was kept until {undo.keep_until}"
        for host, undo in newest.items()
        if not undo.undone_by and datetime.fromisoformat(undo.keep_until) < now
    }
    touched = {part.host for part in tools.state.parts(run) if part.before.get("packages")}
    impossible |= dict.fromkeys(touched - set(newest), "nothing to go back to was captured")
    hosts = tuple(sorted(set(newest) - set(already) - set(impossible)))
    return WayBack(run, Summary.from_json(entry.body) if entry else None, hosts, already, impossible)


def _newest_undo(state: State, run: str) -> dict[str, UndoRow]:
    # undos come oldest first; a step that was repeated after a crash captured twice, and the later one stands
    return {row.host: row for row in state.undos(run=run)}


def rollback_request(
    tools: Toolbox,
    way: WayBack,
    hosts: Sequence[Host],
    asking: Asking,
    *,
    force: bool = False,
    careful: Callable[[Carefulness], Carefulness] = lambda same: same,
) -> RunRequest:
    """The run that undoes `way.run` on those of its hosts that are in `hosts` (the inventory of today).

    As careful as the run it undoes was: its waves, budget, hooks and health checks. Not bound to a window.
    Raises UsageError where a host has left the inventory, Refused where there is nothing to take back.
    """
    names = {host.name: host for host in hosts}
    gone = sorted(set(way.hosts) - set(names))
    if gone:
        raise UsageError(
            f"no longer in the inventory: {', '.join(gone)}", hint="--hosts takes back those that are left"
        )
    if not way.hosts:
        why = "; ".join(f"{host}: {reason}" for host, reason in sorted(way.impossible.items()))
        already = ", ".join(f"{host} by run {run}" for host, run in sorted(way.already.items()))
        raise Refused(f"nothing of run {way.run} is left to take back ({why or already or 'it changed nothing'})")
    row = tools.state.run(way.run)
    assert row is not None
    before = RunRequest.from_json(row.request)
    undo = {host: undo.undo for host, undo in _newest_undo(tools.state, way.run).items() if host in way.hosts}
    operation: Json = {"undoes": before.operation, "undo": undo, "force": force, "of": before.kind}
    return later_request(
        before,
        [names[name] for name in way.hosts],
        asking,
        kind="rollback",
        operation=operation,
        careful=careful(before.careful),
        on_failure="halt",
        links=Links(undoes=way.run),
    )


def narrowed(way: WayBack, names: Sequence[str]) -> WayBack:
    """Only those hosts of it. Raises UsageError where none of them was changed by the run."""
    wanted = set(names)
    if not wanted & (set(way.hosts) | set(way.already) | set(way.impossible)):
        raise UsageError(f"run {way.run} changed none of these hosts")
    return WayBack(
        way.run,
        way.summary,
        tuple(host for host in way.hosts if host in wanted),
        {host: run for host, run in way.already.items() if host in wanted},
        {host: why for host, why in way.impossible.items() if host in wanted},
    )


def later_runs(tools: Toolbox, way: WayBack) -> dict[str, list[str]]:
    """host → runs that changed it after `way.run`, newest last: what a rollback has to look out for."""
    found: dict[str, list[str]] = {}
    for row in tools.state.runs():
        if row.id <= way.run or row.state != "ended":
            continue
        for part in tools.state.parts(row.id):
            changed = part.before.get("packages") != part.after.get("packages")
            if part.host in way.hosts and changed:
                found.setdefault(part.host, []).append(row.id)
    return found
