"""The operation: one detached job on the drill's host restores and proves; what it came to is judged and written here."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from functools import partial
from time import monotonic
from typing import Any

from mainstay.inventory.errors import MainstayError, Refused
from mainstay.inventory.value import Json
from mainstay.recovery.backup import handover, sending, way
from mainstay.recovery.backup.change import Program
from mainstay.recovery.backup.operation import controllers_restic
from mainstay.recovery.backup.script import STOP
from mainstay.recovery.depot import Depot
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.proving.attempt import Tried, Untried
from mainstay.recovery.proving.drawing import SHOWN, draw_dump, draw_files, gone, is_gone, there
from mainstay.recovery.proving.far import output
from mainstay.recovery.proving.far.change import DrillChange, Take
from mainstay.recovery.proving.far.judging import tried
from mainstay.recovery.proving.far.script import job_script
from mainstay.recovery.proving.noting import Noting, complete, in_words
from mainstay.recovery.proving.order import DRILL, DrillOrder
from mainstay.recovery.proving.tool.archive import build
from mainstay.recovery.proving.trying import DUMPS, untried
from mainstay.recovery.repository import Repository
from mainstay.recovery.restic.contract import Locked, Restic, ResticError, TooOld, Unreachable
from mainstay.recovery.words import counted
from mainstay.runner.operation import Forecast, HostWork, Look, Outcome, Unchanging
from mainstay.runner.shell.contract import Command, Job, Shell, ShellError
from mainstay.runner.shell.printable import printable
from mainstay.runner.verdict import Verdict

_PYTHON = ("python3", "-I", "-c", "import sys; sys.exit(sys.version_info < (3, 11))")
_LEFT = 'cd -- "$1" 2>/dev/null || exit 0; for one in "$2"-*; do [ ! -e "$one" ] || printf \'%s\\n\' "$one"; done'
"""folder, beginning of names → those that are there"""
SWEEPING = 180.0
"""Seconds that may be spent on ending and removing what was left over."""


class DrillOperation(Unchanging[DrillChange]):
    """Operation[DrillChange, Nothing]. find: the controller's own restic. clock: seconds."""

    kind = DRILL
    stoppable = True

    def __init__(
        self,
        order: DrillOrder,
        depot: Depot,
        find: sending.Find = controllers_restic,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.order, self.depot, self._find, self._clock = order, depot, find, clock

    @property
    def plan(self) -> BackupPlan:
        return self.order.plan

    @property
    def repository(self) -> Repository:
        return self.plan.repositories[self.plan.repository]

    def noting(self, run: str, machine: str) -> Noting:
        now = self.depot.clock.now
        whose = self.order.whose(machine)
        return Noting(self.order, self.depot, run, whose, lambda: now().timestamp(), machine)

    # Before

    def preview(self, look: Look) -> Forecast:
        noting = self.noting("", look.host.name)
        program, why = self._program(sending.look(look.shell), look.shell)
        notes = ["sends the controller's restic, unless it is there"] if program and program.sha256 else []
        if noting.host != look.host.name:
            notes.append(f"it gets the password of {noting.host}'s repository in its memory for the time of the drill")
        points = noting.points
        return Forecast(
            change={},
            count=len(points),
            reversible=0,
            items=tuple(sorted((point.unit, point.id[:SHOWN], point.at) for point in points)),
            reboot="no",
            notes=tuple(notes),
            refused=why,
        )

    def _program(self, seen: sending.Seen, shell: Shell) -> tuple[Program | None, str]:
        program, why = sending.choose(seen, self.plan.send_restic, self._find, "a drill", sending.DRILL)
        if not why and shell.run(Command(_PYTHON)).status != 0:
            return None, "a drill needs python3 there, 3.11 or newer: install python3"
        return program, why

    def prepare(self, work: HostWork, *, wait: float) -> list[str]:
        return []

    def resolve(self, work: HostWork, forecast: Forecast, tested: Json | None) -> DrillChange:
        seen = sending.look(work.shell)
        program, why = self._program(seen, work.shell)
        if program is None:
            raise Refused(why)
        began = self._clock()
        takes = self._takes(self.noting(work.run, work.host.name))
        sha256 = hashlib.sha256(build()).hexdigest()
        return DrillChange(
            run=work.run,
            host=work.host.name,
            of=self.order.whose(work.host.name),
            program=program,
            tool=Program(path=f"{seen.state_dir}/bin/drill-{sha256[:12]}", version="", sha256=sha256),
            state_dir=seen.state_dir,
            hostname=seen.hostname,
            memory=seen.memory,
            token=secrets.token_hex(16),
            port=way.port_of(work, self.repository),
            region=self.repository.region or "",
            download=self.repository.download or 0,
            seconds=max(0.0, self.order.proving.max_time - (self._clock() - began)),
            takes=tuple(takes),
        )

    def _takes(self, noting: Noting) -> list[Take]:
        """What is restored of each point. Never raises for what is wrong with one: that is the answer."""
        restic = self.depot.open(self.repository, noting.host)
        takes, used = list[Take](), 0
        known: set[str] | None = None
        for point in noting.points:
            try:
                known = {one.id for one in restic.snapshots()} if known is None else known
                if point.id not in known:
                    raise gone(point.id)
                with there(restic, point.id):
                    take = self._take(noting, restic, point, max(0, self.order.proving.max_bytes - used))
            except Untried as error:
                take = _decided(point, untried(point.unit, error))
            except (Unreachable, Locked, TooOld) as error:
                take = _decided(point, Tried(Verdict.UNKNOWN, f"could not be tried: {error.plain}"))
            except MainstayError as error:
                words = error.plain if isinstance(error, ResticError) else error.message
                take = _decided(point, Tried(Verdict.FAILED, words))
            used += take.bytes
            takes.append(take)
        return takes

    def _take(self, noting: Noting, restic: Restic, point: RecoveryPoint, left: int) -> Take:
        source = self.plan.sources[point.source]
        if source.kind not in DUMPS:
            empty = self.plan.expected(point.source).may_be_empty
            drawn = draw_files(restic, point.id, self.order.proving.sample, left, empty)
            if not drawn.files:
                return _decided(point, Tried(Verdict.SUCCEEDED, scope=drawn.scope))
            order: Json = {}
        else:
            drawn = draw_dump(restic, point.id, left)
            order = {
                "kind": source.kind,
                "unit": point.unit,
                "item": point.item,
                "at": point.at,
                "made_at": complete(point),
                "superuser": source.postgresql.user if source.postgresql else "postgres",
                "checks": [one.to_json() for one in noting.asked(point)],
                "machine": noting.machine,
            }
        return Take(
            point=point.id,
            unit=point.unit,
            files=drawn.files,
            bytes=drawn.bytes,
            scope=drawn.scope,
            left_out=drawn.left_out,
            order=order,
        )

    def changes(self, change: DrillChange) -> int:
        return len(change.takes)

    def stage(self, work: HostWork, change: DrillChange, *, keep: bool) -> DrillChange:
        content = build()
        if hashlib.sha256(content).hexdigest() != change.tool.sha256:
            raise Refused("what proves dumps is another version than when this run began")
        # Known from now on, also where the host is never heard of again: a lock that is left is tied to its run by that name.
        work.measures["job"] = {"hostname": change.hostname}
        sending.bring(work, change.tool, content, "what proves dumps")
        if not change.program.sha256:
            return change
        return change.model_copy(update={"program": sending.send(work, change.program, self._find)})

    # The job

    def apply(self, work: HostWork, change: DrillChange, name: str) -> Job:
        return Job(name=name, script=job_script(change))

    def attend(self, work: HostWork, change: DrillChange, name: str) -> AbstractContextManager[None]:
        return way.beside(self.depot, self.repository, change.of, work, change, name)

    def stop(self, work: HostWork, change: DrillChange, name: str) -> None:
        """What was tried by then counts."""
        argv = ("sh", "-c", STOP, "mainstay", handover.place(change.memory, name))
        work.shell.run(Command(argv, sudo=True, fence=work.fence, deadline=60))

    def outcome(self, change: DrillChange, exit: int | None, output_: bytes) -> Outcome:
        said = output.read(output_, change)
        if said.unready:
            return Outcome(ok=False, detail="nothing was begun: what it was to get in with was not there any more")
        ended = sum(one.gone is not None for one in said.takes.values())
        broken = ", stopped" if said.stopped else "" if said.done else f", broken off ({exit})"
        detail, measures = f"{counted(ended, 'point')} restored{broken}", {"job": said.to_json()}
        return Outcome(ok=True, detail=detail, stopped=said.stopped, measures=measures)

    def progress(self, output_: bytes, change: DrillChange) -> str:
        taken = [int(number) for number in output.read(output_, change).takes]
        return f"{max(taken) + 1} of {len(change.takes)}  {change.takes[max(taken)].unit}" if taken else ""

    # After

    def verify(self, work: HostWork, change: DrillChange) -> tuple[str, ...]:
        """Raises HostFailed where a point is not what it should be, ShellError where the host can't be asked whether all of it is
        gone there: nothing is proved without."""
        left = self._left(work, change)
        noting = self.noting(work.run, change.host)
        job = output.JobSaid.from_json(work.found.get("job") or {})
        access = self.depot.access(self.repository, change.of, "maintain")
        proofs = []
        for number, point in enumerate(noting.points):
            found, measures = tried(change, number, job, access, partial(self._removed, noting.host))
            if left and found.verdict is Verdict.SUCCEEDED:
                found = Tried(Verdict.FAILED, f"still there after the drill: {left}")
            if job.stopped and found.verdict is Verdict.UNKNOWN:
                continue  # nobody has tried it
            seconds = sum(value for key, value in measures.items() if key in ("transfer", "recover", "verify"))
            proofs.append(noting.prove(point, found, seconds, measures))
        work.measures["job"] = {"hostname": change.hostname}
        if job.swept:
            work.notes.append(f"left over by drills that were killed, and removed: {', '.join(job.swept)}")
        noting.conclude(proofs, work, stopped=job.stopped)
        return ()

    def _removed(self, host: str, point: str) -> bool:
        with suppress(ResticError):
            return is_gone(self.depot.open(self.repository, host), point)
        return False

    def _left(self, work: HostWork, change: DrillChange) -> str:
        """Ends and removes what a job that was killed has left; returns what is there all the same, in words."""
        argv = ("python3", "-I", change.tool.path, "sweep", change.root)
        swept = work.shell.run(Command(argv, sudo=True, fence=work.fence, deadline=SWEEPING))
        there = work.shell.run(Command(("sh", "-c", _LEFT, "mainstay", change.root, change.places), sudo=True))
        if there.status != 0:
            raise ShellError(work.host.name, f"{change.root} can't be looked at: {printable(there.stderr)}")
        names = printable(there.text.replace("\n", " "), 500)
        if swept.status != 0:
            return printable(swept.stderr, 500) or f"sweeping ended with {swept.status}"
        return f"{change.root}: {names}" if names else ""

    def done(self, change: DrillChange, measures: Mapping[str, Any]) -> str:
        return in_words(dict(measures), len(change.takes))

    def read_change(self, data: Json) -> DrillChange:
        return DrillChange.from_json(data)


def _decided(point: RecoveryPoint, found: Tried) -> Take:
    """Of one that nothing is restored of."""
    return Take(
        point=point.id,
        unit=point.unit,
        verdict=found.verdict,
        reason=found.reason,
        scope=found.scope,
        left_out=found.left_out,
    )
