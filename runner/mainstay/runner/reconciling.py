"""Hosts that contact was lost to, as the rollout sees them: asked again at each gate and at the end of the run, and gone on
with where they were lost. Until then they are `unknown`, and the budget counts them as failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from mainstay.inventory.errors import MainstayError, Refused, UsageError
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.runner.engine.contract import Context, WorkflowFailed
from mainstay.runner.record import HostPart, Links
from mainstay.runner.request import Asking, RunRequest, later_request
from mainstay.runner.shell import hostlock
from mainstay.runner.toolbox import Toolbox
from mainstay.runner.track import nothing_known
from mainstay.runner.verdict import Verdict
from mainstay.runner.wire import get_json, put_json
from mainstay.runner.words import spell

RECONCILE_WORKFLOW = "reconcile"

SOON, LATE = 1.0, 15.0
"""Seconds between two rounds of asking: at first, and after a while."""
AT_ONCE = 20
"""Hosts that are asked at the same time."""


@dataclass(slots=True)
class Lost:
    """results: host → what its last workflow returned, the rollout's own; those with `lost` in them are asked. arguments:
    host → what its workflow was started with."""

    tools: Toolbox
    context: Context
    request: RunRequest
    results: dict[str, Json]
    arguments: Mapping[str, Json]

    def names(self) -> list[str]:
        return sorted(name for name, result in self.results.items() if result.get("lost"))

    def ask_again(self, label: str, seconds: float = 0.0) -> list[str]:
        """Ask once and, for so many seconds more, whoever has not answered; go on with those that do. Returns the names of
        those that were reconciled. Asking ends early where the run is cancelled. Raises WorkflowFailed for a fault of ours,
        once nobody is left to ask."""
        asked = self.names()
        if not asked:
            return []
        until = self.context.now() + timedelta(seconds=seconds)
        turn, fault = 0, None
        while names := self.names():
            found = self.context.step(f"{label}.ask-{turn + 1}", partial(self._answers, names, until, turn))
            turn += 1
            if not found["answer"]:
                break
            fault = self._go_on(found["answer"]) or fault
        if fault is not None:
            raise fault
        return [name for name in asked if not self.results[name].get("lost")]

    def give_up(self) -> None:
        """Say of those that are still unknown for how long they were asked."""
        if names := self.names():
            told = self.context.step("unreconciled", lambda: self._told(names))
            for name, part in told.items():
                self.results[name] = {**self.results[name], "part": part}

    def _go_on(self, names: Sequence[str]) -> WorkflowFailed | None:
        """Returns a fault of ours, where one of them could not be gone on with."""
        run = self.request.id
        handles = {}
        for name in names:
            tries = self.results[name].get("tries", 0) + 1
            argument = {**self.arguments[name], "done": self.results[name]}
            handles[name] = (
                tries,
                self.context.enqueue(
                    RECONCILE_WORKFLOW,
                    f"{run}/{name}/reconcile-{tries}",
                    argument,
                    queue=run,
                    parallel=self.request.careful.parallel,
                ),
            )
        fault: WorkflowFailed | None = None
        for name, (tries, handle) in handles.items():
            before = self.results[name]
            try:
                after = handle.result()
            except WorkflowFailed as error:
                # The record is not sealed while others are still at work; and asked again, it would go wrong again.
                fault = fault or error
                self.results[name] = {**before, "lost": None, "tries": tries}
                continue
            self.results[name] = {**before, **after, "change": after["change"] or before["change"], "tries": tries}
        return fault

    def _answers(self, names: Sequence[str], until: datetime, turn: int) -> Json:
        """Those that answer; nobody once the time is over, or the run is cancelled. turn: how often some answered before,
        and were lost again."""
        tools, pause = self.tools, min(LATE, SOON * 1.5**turn)
        if turn:
            if tools.clock.now() >= until:
                return {"answer": []}
            tools.sleep(pause)
        while True:
            hosts = [self.request.host(name) for name in names]
            with ThreadPoolExecutor(min(AT_ONCE, len(hosts)), thread_name_prefix="reconcile") as pool:
                silent = dict(zip(names, pool.map(self._silent, hosts), strict=True))
            answer = [name for name, why in silent.items() if not why]
            row = tools.state.standing(self.request.id)
            cancelled = row is not None and row.wish == "cancel"
            left = (until - tools.clock.now()).total_seconds()
            if answer or cancelled or left <= 0:
                return {"answer": answer}
            for name in names:
                line = f"does not answer; asked for {spell(left)} more: {silent[name]}"
                tools.listener.step_progress(self.request.id, name, "contact lost", line)
            tools.doze(min(pause, left))
            pause = min(LATE, pause * 1.5)

    def _silent(self, host: Host) -> str:
        """Why the host can't be gone on with now; empty where it answers."""
        shell = self.tools.shells.open(host, write=False)
        try:
            hostlock.read(shell)
        except MainstayError as error:
            return getattr(error, "plain", error.message)
        finally:
            shell.close()
        return ""

    def _told(self, names: Sequence[str]) -> Json:
        told = {}
        for name in names:
            part = get_json(self.tools.artifacts, self.results[name]["part"])
            since = get_json(self.tools.artifacts, self.results[name]["lost"])["since"]
            silent = (self.tools.clock.now() - datetime.fromisoformat(since)).total_seconds()
            hint = f"mainstay runs reconcile {self.request.id} asks it again"
            part["reason"] = f"{part['reason']}; not heard of for {spell(silent)} when the run ended ({hint})"
            told[name] = put_json(self.tools.artifacts, part)
        return told


def unknown_hosts(tools: Toolbox, run: str) -> dict[str, HostPart]:
    """host → its part in that run, of those that ended as unknown there and that no later run has reconciled, be it by way
    of others that left it unknown again."""
    unknown = {part.host: part for part in tools.state.parts(run) if part.verdict is Verdict.UNKNOWN}
    chain = {run}
    for row in sorted(tools.state.runs(), key=lambda row: row.id):
        if unknown and row.kind == "reconcile" and RunRequest.from_json(row.request).links.reconciles in chain:
            chain.add(row.id)
            for part in tools.state.parts(row.id):
                if part.verdict is not Verdict.UNKNOWN:
                    unknown.pop(part.host, None)
    return unknown


def reconcile_request(tools: Toolbox, run: str, hosts: Sequence[Host], asking: Asking) -> RunRequest:
    """The run that looks at those hosts (of today's inventory), which ended as unknown in `run`, and brings them to an end.
    Not bound to a window: what was begun is finished. Raises UsageError, Refused."""
    row = tools.state.run(run)
    if row is None:
        raise UsageError(f"there is no run {run}", hint="mainstay records list shows them")
    if row.state != "ended":
        raise Refused(f"run {run} is still in flight, and asks its lost hosts itself", hint="mainstay runs")
    before = RunRequest.from_json(row.request)
    unknown = unknown_hosts(tools, run)
    wanted = tuple(host for host in hosts if host.name in unknown)
    if not wanted:
        raise Refused(f"no host of run {run} that was asked for is unknown; there is nothing to reconcile")
    return later_request(
        before,
        wanted,
        asking,
        kind="reconcile",
        operation={"of": {"run": run, "kind": before.kind, "operation": before.operation}},
        careful=before.careful,
        on_failure="rollback-host" if before.on_failure == "rollback-all" else before.on_failure,
        links=Links(reconciles=run, undoes=before.links.undoes),
    )


def taken_up(tools: Toolbox, request: RunRequest) -> dict[str, Json]:
    """host → what a workflow that had just lost it would have returned, for each host of a run that reconciles another; of
    one that has been reconciled since this was asked for, what one would have that was refused."""
    run = request.links.reconciles
    assert run is not None, "only such a run takes up what another has left"
    row = tools.state.run(run)
    assert row is not None and row.ended_at is not None, "it had ended when it was asked for"
    left = {part.host: part for part in tools.state.parts(run)}
    unknown = unknown_hosts(tools, run)
    found: dict[str, Json] = {}
    for host in request.hosts:
        part = left[host.name]
        if host.name not in unknown:
            # What others have made of it since must not be gone over with what was known before.
            no = HostPart(host=host.name, verdict=Verdict.REFUSED, reason="it was reconciled meanwhile", wave=1)
            found[host.name] = {
                "host": host.name,
                "verdict": Verdict.REFUSED.value,
                "kind": "refused",
                "cohort": part.cohort,
                "change": None,
                "part": put_json(tools.artifacts, no.to_json()),
                "lost": None,
            }
            continue
        carried = part.measures.get("lost")
        if carried is None or not tools.artifacts.has(carried):
            since = part.steps[-1].finished_at if part.steps else row.ended_at
            carried = put_json(tools.artifacts, nothing_known(run, since))
        fresh = part.model_copy(update={"steps": (), "wave": 1, "measures": {"lost": carried}})
        found[host.name] = {
            "host": host.name,
            "verdict": Verdict.UNKNOWN.value,
            "kind": "contact-lost",
            "cohort": part.cohort,
            "change": None,
            "part": put_json(tools.artifacts, fresh.to_json()),
            "lost": carried,
        }
    return found


def came_back(reason: str, names: Sequence[str]) -> str:
    """Why a rollout stopped, where hosts that were unknown then have been reconciled since: it does not go on."""
    if not reason or not names:
        return reason
    was = "was" if len(names) == 1 else "were"
    return (
        f"{reason} ({', '.join(names)} {was} unknown then and {was} reconciled later; what has stopped does not go on)"
    )
