"""Runs: ask for one, execute it, take over what a dead process left, read what remains."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from logging import WARNING

from mainstay.inventory.errors import MainstayError, UsageError
from mainstay.runner import asking
from mainstay.runner.engine.contract import Engine, EngineStopped, EngineUnusable, Handle, Unkept, WorkflowFailed
from mainstay.runner.host_run import host_workflow, reconcile_workflow, undo_workflow
from mainstay.runner.housekeeping import forget
from mainstay.runner.log.events import tell
from mainstay.runner.log.logged import Logged
from mainstay.runner.ports import Listener, Quiet
from mainstay.runner.reconciling import RECONCILE_WORKFLOW
from mainstay.runner.record import HostPart, MaintenanceRecord, Step, Summary
from mainstay.runner.request import RunRequest
from mainstay.runner.rollout import HOST_WORKFLOW, ROLLOUT_WORKFLOW, UNDO_WORKFLOW, rollout_workflow
from mainstay.runner.sealing import seal
from mainstay.runner.state.contract import RunRow, State
from mainstay.runner.steps import rfc3339
from mainstay.runner.toolbox import Toolbox


class Runs:
    """The door to executing runs; one per process that executes any."""

    def __init__(self, tools: Toolbox, engine: Engine) -> None:
        self.tools = tools
        self.engine = engine
        logged = Logged()
        tools.listener = Told([tools.listener, Notes(tools.state), logged])
        engine.register(ROLLOUT_WORKFLOW, logged.watch(partial(rollout_workflow, tools)))
        engine.register(HOST_WORKFLOW, logged.watch(partial(host_workflow, tools)))
        engine.register(UNDO_WORKFLOW, logged.watch(partial(undo_workflow, tools)))
        engine.register(RECONCILE_WORKFLOW, logged.watch(partial(reconcile_workflow, tools)))

    def submit(self, request: RunRequest) -> str:
        """Write the run down; nothing is started. Again with the same request is success. Returns its id."""
        self.tools.state.add_run(
            RunRow(
                id=request.id,
                kind=request.kind,
                plan=request.plan,
                state="preparing",
                request=request.to_json(),
                started_at=request.asked_at,
            )
        )
        return request.id

    def start(self, run: str) -> Handle:
        """Begin, or take hold of it where it has begun in this engine."""
        return self.engine.start(ROLLOUT_WORKFLOW, run, {"run": run})

    def hand_over(self, run: str) -> Handle:
        """Put it down for whichever process serves. Again, or where somebody works on it already, is success."""
        return self.engine.submit(ROLLOUT_WORKFLOW, run, {"run": run})

    def execute(self, run: str) -> MaintenanceRecord:
        """Complete it, and read its record, hosts and all."""
        self.complete(run)
        return record(self.tools, run)

    def complete(self, run: str) -> None:
        """Start and wait for the end. A run whose workflow could not end in a record (its last step failed, say on a full
        disk) is sealed here, with what is known of its hosts."""
        try:
            self.start(run).result()
        except EngineStopped:
            raise
        except WorkflowFailed as error:
            self._seal(run, error)
        self.forget(most=1000)

    def _seal(self, run: str, error: WorkflowFailed) -> None:
        row = self.tools.state.run(run)
        assert row is not None, "a run's row is written before it starts"
        seal(self.tools, RunRequest.from_json(row.request), f"internal error: {error.message}", {})

    def forget(self, most: int | None = None) -> int:
        """Housekeeping in the engine's store, see there. What goes wrong with it is logged, and is nobody's failure."""
        try:
            return forget(self.tools, self.engine, most)
        except MainstayError as error:
            tell(WARNING, "housekeeping failed", fault=error)
            return 0

    def waits(self, run: str) -> bool:
        """Whether there is nothing to do for it but to wait for its gate: such a run needs no process yet. What it waits
        for is noted for whoever shows it."""
        row = self.tools.state.standing(run)
        if row is None or row.wish == "cancel" or row.state != "preparing":
            return False
        request = self.tools.request(run)
        permission = self.tools.gate(request).permit(run, None, "run", None)
        if permission.answer != "wait":
            return row.wish == "pause" and permission.answer == "start"
        words = asking.in_words(permission)
        if asking.waits_for(self.tools.state, run) != words:
            asking.note(self.tools, run, words)
        return True

    def offer(self, run: str) -> bool:
        """Hand it over, unless it only waits: `tend` does when its time has come. Returns whether it was. The engine has
        so many runs at once, and those that wait are not to keep others from their work."""
        if self.waits(run):
            return False
        self.hand_over(run)
        return True

    def tend(self, before: str) -> list[str]:
        """For a process that serves: see to the runs in flight that no workflow stands for, among those asked for before
        this moment. One that was written down and not begun (it waited, or its process died in between) begins, unless it
        only waits; one whose workflow could not end in a record gets it. Returns the ids of those that begin."""
        known, begun = self.engine.unfinished(), list[str]()
        now = self.tools.clock.now()
        # One from further ahead was written by a wall clock that was wrong: its time is not waited for.
        ahead = rfc3339(now + (now - datetime.fromisoformat(before)))
        for row in self.tools.state.runs(in_flight=True):
            if row.id in known or before <= row.started_at <= ahead or self._waits(row.id):
                continue
            try:
                if self._begins(row.id):
                    begun.append(row.id)
            except (Unkept, EngineStopped, EngineUnusable):
                raise
            except Exception as error:  # of this run alone: those after it have their turn
                tell(WARNING, "run could not be taken up", run=row.id, fault=error)
        return begun

    def _begins(self, run: str) -> bool:
        """Hand it over; one whose workflow is over is sealed."""
        handle = self.hand_over(run)
        if not handle.done():
            return True
        try:
            handle.result()
        except EngineStopped:
            raise
        except WorkflowFailed as error:
            self._seal(run, error)
        return False

    def _waits(self, run: str) -> bool:
        """A fault with one (its calendar can't be read) keeps no other from its turn."""
        try:
            return self.waits(run)
        except Unkept:
            raise
        except Exception as error:
            tell(WARNING, "gate could not be asked", run=run, fault=error)
            # What nobody foresaw does not pass: the run begins, fails of it, and has a record that says so.
            return isinstance(error, MainstayError)

    def resume(self) -> list[str]:
        """Take over the runs that a dead process left. Returns their ids; they go on in this process."""
        self.engine.recover()
        in_flight = {row.id for row in self.tools.state.runs(in_flight=True)}
        mine = [id for id, owner in self.engine.unfinished().items() if owner == self.engine.executor]
        # Written down, but the process died before the engine had it: it starts now.
        known = self.engine.unfinished()
        lost = [run for run in sorted(in_flight) if run not in known and not self._waits(run)]
        return sorted({run for run in mine if run in in_flight} | set(lost))


def record(tools: Toolbox, run: str) -> MaintenanceRecord:
    """The sealed record. Raises UsageError where there is none."""
    entry = tools.ledger.get(run)
    if entry is None:
        raise UsageError(f"run {run} has no record", hint="mainstay runs shows what is in flight")
    summary = Summary.from_json(entry.body)
    return MaintenanceRecord(seq=entry.seq, hash=entry.hash, summary=summary, hosts=tuple(tools.state.parts(run)))


class Notes(Quiet):
    """Keeps what is being done right now in the state, so that any process can show it."""

    def __init__(self, state: State) -> None:
        self.state = state

    def step_started(self, run: str, host: str, step: str) -> None:
        self.state.note_step(run, host, step, "")

    def step_progress(self, run: str, host: str, step: str, detail: str) -> None:
        self.state.note_step(run, host, step, detail)


class Told:
    """Tells several listeners the same, one after the other. What one of them raises reaches the work: none may, but where
    the state can't be written, and then the work has to wait as well."""

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self.listeners = listeners

    def run_started(self, run: str, plan: str, waves: list[list[str]]) -> None:
        for one in self.listeners:
            one.run_started(run, plan, waves)

    def wave_started(self, run: str, number: int, hosts: list[str]) -> None:
        for one in self.listeners:
            one.wave_started(run, number, hosts)

    def step_started(self, run: str, host: str, step: str) -> None:
        for one in self.listeners:
            one.step_started(run, host, step)

    def step_progress(self, run: str, host: str, step: str, detail: str) -> None:
        for one in self.listeners:
            one.step_progress(run, host, step, detail)

    def step_finished(self, run: str, host: str, step: Step) -> None:
        for one in self.listeners:
            one.step_finished(run, host, step)

    def host_finished(self, run: str, part: HostPart) -> None:
        for one in self.listeners:
            one.host_finished(run, part)

    def run_finished(self, record: MaintenanceRecord) -> None:
        for one in self.listeners:
            one.run_finished(record)
