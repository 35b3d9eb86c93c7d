"""Restore onto a host: one detached job there writes the files and looks at them again; what came is then asked of the host and
compared with the repository's listing, by the controller."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from mainstay.inventory.errors import Refused
from mainstay.inventory.value import Json
from mainstay.recovery.backup import handover, sending, way
from mainstay.recovery.backup.change import Program
from mainstay.recovery.backup.operation import controllers_restic
from mainstay.recovery.backup.script import STOP
from mainstay.recovery.depot import Depot
from mainstay.recovery.listings import Ls
from mainstay.recovery.repository import Repository
from mainstay.recovery.restic.contract import NoRepository, ResticError, Unreachable
from mainstay.recovery.restore import far, output
from mainstay.recovery.restore.change import RestoreChange
from mainstay.recovery.restore.comparing import measured
from mainstay.recovery.restore.order import RESTORE, RestoreOrder
from mainstay.recovery.restore.previewing import Overwritten, forecast, refused
from mainstay.recovery.restore.script import job_script
from mainstay.recovery.restore.targets import Target
from mainstay.recovery.words import counted, sized
from mainstay.runner.operation import Forecast, HostWork, Look, Outcome, Unchanging
from mainstay.runner.shell.contract import Command, ContactLost, Job
from mainstay.runner.shell.printable import printable


class RestoreOperation(Unchanging[RestoreChange]):
    """Operation[RestoreChange, Nothing]. All pieces are in one repository. find: the controller's own restic."""

    kind = RESTORE
    stoppable = True

    def __init__(self, order: RestoreOrder, depot: Depot, find: sending.Find = controllers_restic) -> None:
        self.order, self.depot, self._find = order, depot, find

    @property
    def repository(self) -> Repository:
        return self.order.repositories[self.order.pieces[0].point.repository]

    # Before

    def preview(self, look: Look) -> Forecast:
        seen = sending.look(look.shell)
        program, why = self._program(seen)
        why = why or self._impossible()
        if why:
            return forecast(self.order, Target(self.order.to, True, True, 0), Overwritten()).model_copy(
                update={"refused": why, "notes": ()}
            )
        target, unseen = far.look_at(look.shell, self.order.to)
        found = Overwritten()
        if not target.empty:
            for piece in self.order.pieces:
                far.overwritten(look.shell, self._ls(), piece, target.path, found)
        said = forecast(self.order, target, found)
        notes = ["sends the controller's restic, unless it is there"] if program and program.sha256 else []
        notes += [f"{unseen} can't be looked into without root's rights: what is there is not shown"] if unseen else []
        if look.host.name != self.order.host:
            notes.append(
                f"it gets the password of {self.order.host}'s repository in its memory for the time of the restore"
            )
        return said.model_copy(update={"notes": (*said.notes, *notes)})

    def _ls(self) -> Ls:
        return partial(self.depot.listings.ls, self.depot.open(self.repository, self.order.host))

    def _program(self, seen: sending.Seen) -> tuple[Program | None, str]:
        return sending.choose(seen, self.order.keep_restic, self._find, "a restore", sending.RESTORE)

    def _impossible(self) -> str:
        names = {piece.point.repository for piece in self.order.pieces}
        if len(names) > 1:
            return f"it comes from several repositories ({', '.join(sorted(names))}): restore one after the other"
        one = self.repository
        copied = any(piece.point.copy_of for piece in self.order.pieces)
        if copied and one.through == "host" and one.maintain and not one.write:
            return (
                f"repository {one.name} has no write: login, and a host is not given the one that may remove: restore "
                "--on controller, or give it one that may only read and add"
            )
        return ""

    def prepare(self, work: HostWork, *, wait: float) -> list[str]:
        if why := self._impossible():
            raise Refused(why)
        restic, now = self.depot.open(self.repository, self.order.host), self.depot.clock.now()
        asked = [one for one in self.order.pieces if not self.depot.listings.seen(restic, one.point.id, one.paths, now)]
        try:
            there = {one.id for one in restic.snapshots()} if asked else set()
        except ResticError as error:
            raise Refused(error.message, hint=error.hint) from error
        if gone := [piece.point for piece in asked if piece.point.id not in there]:
            raise Refused(f"point {gone[0].id[:12]} is gone from repository {self.repository.name}")
        return []

    def resolve(self, work: HostWork, forecast: Forecast, tested: Json | None) -> RestoreChange:
        seen = sending.look(work.shell)
        program, why = self._program(seen)
        if program is None:
            raise Refused(why)
        target = self._target(work)
        return RestoreChange(
            run=work.run,
            host=work.host.name,
            to=target,
            program=program,
            state_dir=seen.state_dir,
            memory=seen.memory,
            token=secrets.token_hex(16),
            port=way.port_of(work, self.repository),
            region=self.repository.region or "",
            download=self.repository.download or 0,
            count=max(self.order.files, 1),
        )

    def _target(self, work: HostWork) -> str:
        """Where it goes, looked at with root's rights. Raises Refused."""
        target, _ = far.look_at(work.shell, self.order.to, sudo=True)
        if why := refused(self.order, target):
            raise Refused(why)
        return target.path

    def changes(self, change: RestoreChange) -> int:
        return change.count

    def stage(self, work: HostWork, change: RestoreChange, *, keep: bool) -> RestoreChange:
        if not change.program.sha256:
            return change
        return change.model_copy(update={"program": sending.send(work, change.program, self._find)})

    # The job

    def apply(self, work: HostWork, change: RestoreChange, name: str) -> Job:
        return Job(name=name, script=job_script(change, self.order.pieces))

    def attend(self, work: HostWork, change: RestoreChange, name: str) -> AbstractContextManager[None]:
        return way.beside(self.depot, self.repository, self.order.host, work, change, name)

    def stop(self, work: HostWork, change: RestoreChange, name: str) -> None:
        """What was written by then stays, and is said not to be whole."""
        argv = ("sh", "-c", STOP, "mainstay", handover.place(change.memory, name))
        work.shell.run(Command(argv, sudo=True, fence=work.fence, deadline=60))

    def outcome(self, change: RestoreChange, exit: int | None, output_: bytes) -> Outcome:
        said = output.read(output_, change.token)
        if said.unready:
            return Outcome(ok=False, detail="nothing was begun: what it was to get in with was not there any more")
        if said.stopped:
            half = f"what was written into {change.to} by then stays there, and is not whole"
            return Outcome(ok=True, detail="stopped", stopped=True, measures={"stopped": half})
        if not said.done:
            return Outcome(ok=False, detail=f"the job ended with {exit}: {said.last or printable(output_)}")
        # What came is looked at in any case: an exit status is no proof, in neither direction.
        found = {
            str(number): {
                "restored": one.restored,
                "verified": {"files": one.files, "bytes": one.bytes} if one.verified else {},
                "compared": one.compared,
                "same": one.same,
                "seconds": max(0, one.seconds),
                "other": sorted(one.other),
                "errors": one.errors,
                "last": said.last,
            }
            for number, one in said.pieces.items()
        }
        return Outcome(ok=True, detail=f"{counted(len(found), 'point')} written", measures={"job": found})

    def progress(self, output_: bytes, change: RestoreChange) -> str:
        pieces = output.read(output_, change.token).pieces
        return f"{max(one.percent for one in pieces.values()):.0f} %" if pieces else ""

    # After

    def verify(self, work: HostWork, change: RestoreChange) -> tuple[str, ...]:
        """What is not as the repository has it. Raises ContactLost where that can't be asked now; it may be asked again."""
        if "stopped" in work.found:
            return ()
        try:
            return self._compared(work, change)
        except (Unreachable, NoRepository) as error:
            raise ContactLost(work.host.name, f"the repository can't be asked what it has: {error.plain}") from error

    def _compared(self, work: HostWork, change: RestoreChange) -> tuple[str, ...]:
        wrong: list[str] = []
        job = work.found.get("job", {})
        ls, total = self._ls(), [0, 0]
        for number, piece in enumerate(self.order.pieces):
            said = job.get(str(number), {})
            found = far.compare(work.shell, ls, piece, change.to, said.get("other", ()))
            total = [total[0] + found.files, total[1] + found.bytes]
            told = measured(piece, change.to, found, said.get("seconds", 0))
            work.measures[f"restored {piece.point.unit}"] = told
            wrong += far.judge(piece, found, said)
            if found.attributes_count:
                odd = f"{counted(found.attributes_count, 'file')} with another mode or time: {found.attributes_in_words()}"
                work.concerns += [odd] if odd not in work.concerns else []  # it may be asked again
        work.measures |= {"files": total[0], "bytes": total[1], "job": {}}
        return tuple(wrong)

    def done(self, change: RestoreChange, measures: Mapping[str, Any]) -> str:
        if stopped := measures.get("stopped"):
            return str(stopped)
        files, size = measures.get("files", 0), measures.get("bytes", 0)
        return f"{counted(files, 'file')}, {sized(size)} in {change.to}, compared with the repository"

    def read_change(self, data: Json) -> RestoreChange:
        return RestoreChange.from_json(data)
