"""The backup of a host: one detached job there takes all sources, the repository is asked what it has, and what is good
becomes recovery points."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mainstay.inventory.errors import Refused
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.recovery.backup import foreseeing, output, sending, sources, verifying, way
from mainstay.recovery.backup.change import BackupChange, Item
from mainstay.recovery.backup.script import STOP, Pace, job_script
from mainstay.recovery.backup.sources.asking import Unasked
from mainstay.recovery.depot import Depot
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.points.contract import Vault
from mainstay.recovery.repository import Repository
from mainstay.recovery.restic.contract import ResticError, Unreachable
from mainstay.recovery.vaults import not_the_same
from mainstay.recovery.words import counted, sized
from mainstay.runner.operation import Forecast, HostWork, Look, Outcome, Unchanging
from mainstay.runner.shell.contract import Command, ContactLost, Job, Output
from mainstay.runner.shell.printable import printable
from mainstay.runner.steps import rfc3339
from mainstay.runner.verdict import Verdict


def controllers_restic() -> Path | None:
    found = shutil.which("restic")
    return Path(found) if found else None


class BackupOperation(Unchanging[BackupChange]):
    """Operation[BackupChange, Nothing]. find: the controller's own restic, for hosts that have none."""

    kind = "backup"
    stoppable = True

    def __init__(self, plan: BackupPlan, depot: Depot, find: sending.Find = controllers_restic) -> None:
        self.plan, self.depot, self._find = plan, depot, find

    @classmethod
    def of(cls, plan: Json, depot: Depot) -> BackupOperation:
        return cls(BackupPlan.from_json(plan), depot)

    @property
    def repository(self) -> Repository:
        return self.plan.repositories[self.plan.repository]

    # Before

    def look_ahead(self, host: Host) -> None:
        self.depot.ask_ahead(self.repository, host.name)

    def preview(self, look: Look) -> Forecast:
        return foreseeing.forecast(self.plan, self.depot, look, self._find)

    def prepare(self, work: HostWork, *, wait: float) -> list[str]:
        """The repository has to be there, and the same as ever; it is never made here."""
        name, host = self.repository.name, work.host.name
        try:
            # What the survey has just heard counts, if it is as ever; otherwise it is asked again.
            identity = self.depot.identity(self.repository, host, last=True)
            if not_the_same(self.depot.points, self.repository, self.plan.name, host, identity):
                identity = self.depot.identity(self.repository, host, last=True)
        except Unreachable as error:
            if self.repository.through == "controller":
                raise Refused(error.plain, hint=error.hint) from error
            work.notes.append(f"the controller can't reach repository {name} now: {error.plain}")
            return []
        except ResticError as error:
            raise Refused(error.plain, hint=error.hint) from error
        if refusal := not_the_same(self.depot.points, self.repository, self.plan.name, host, identity):
            raise refusal
        assert identity is not None, "refused"
        vault = self.repository.vault(host)
        known = self.depot.points.vault(name, vault)
        if known is None or not known.id:
            made = known or Vault(repository=name, host=vault)
            self.depot.points.note_vault(replace(made, id=identity))
        return []

    def resolve(self, work: HostWork, forecast: Forecast, tested: Json | None) -> BackupChange:
        seen = sending.look(work.shell)
        program, why = sending.choose(seen, self.plan.send_restic, self._find)
        if program is None:
            raise Refused(why)
        items: list[Item] = []
        lost: dict[str, str] = {}
        for name, source in self.plan.sources.items():
            try:
                items += sources.find(name, source, lambda argv, user: _ask(work, argv, user))
            except Unasked as error:
                lost[name] = error.message
        return BackupChange(
            run=work.run,
            host=work.host.name,
            items=tuple(items),
            lost=lost,
            program=program,
            state_dir=seen.state_dir,
            memory=seen.memory,
            token=secrets.token_hex(16),
            port=way.port_of(work, self.repository),
            began_at=rfc3339(self.depot.clock.now()),
            maker=work.fence.state,
        )

    def changes(self, change: BackupChange) -> int:
        return len(change.items) + len(change.lost)

    def stage(self, work: HostWork, change: BackupChange, *, keep: bool) -> BackupChange:
        if not change.program.sha256:
            return change
        return change.model_copy(update={"program": sending.send(work, change.program, self._find)})

    # The job

    def apply(self, work: HostWork, change: BackupChange, name: str) -> Job:
        plan = self.plan
        rate = self.repository.upload
        pace = Pace(plan.nice, plan.ionice, plan.compression, rate, self.repository.lock_wait, self.repository.region)
        steps = [sources.step(item, plan.sources[item.source]) for item in change.items]
        return Job(name=name, script=job_script(change, steps, pace, plan.tags, plan.name))

    def attend(self, work: HostWork, change: BackupChange, name: str) -> AbstractContextManager[None]:
        still = partial(self._still_there, work)
        return way.beside(self.depot, self.repository, work.host.name, work, change, name, again=still)

    def _still_there(self, work: HostWork) -> None:
        """The job goes on from another process, perhaps on a machine that has another folder at that address: nothing is to be
        written there. Raises ContactLost."""
        host = work.host.name
        try:
            identity = self.depot.open(self.repository, host).identity()
        except ResticError as error:
            raise ContactLost(host, error.plain) from error
        if refusal := not_the_same(self.depot.points, self.repository, self.plan.name, host, identity):
            raise ContactLost(host, refusal.message)

    def stop(self, work: HostWork, change: BackupChange, name: str) -> None:
        """What was taken whole counts; of what is under way there is no point, and restic takes its lock away."""
        argv = ("sh", "-c", STOP, "mainstay", f"{change.state_dir}/taking/{name}")
        work.shell.run(Command(argv, sudo=True, fence=work.fence, deadline=60))

    def outcome(self, change: BackupChange, exit: int | None, output_: bytes) -> Outcome:
        said = output.read(output_, change)
        if said.unready:
            return Outcome(ok=False, detail="nothing was begun: what it was to get in with was not there any more")
        if exit is not None and not said.whole and not said.items and not said.stopped:
            return Outcome(ok=False, detail=f"the job ended with {exit}: {printable(output_)}")
        # Whether it is a good backup is judged when the repository has been asked.
        measures = {"job": said.to_json()}
        return Outcome(ok=True, detail=_detail(said, change), stopped=said.stopped, measures=measures)

    def progress(self, output_: bytes, change: BackupChange) -> str:
        return output.progress(output_, change)

    # After

    def verify(self, work: HostWork, change: BackupChange) -> tuple[str, ...]:
        verifying.verify(self.plan, self.depot, work, change)
        return ()

    def done(self, change: BackupChange, measures: Mapping[str, Any]) -> str:
        named = measures.get("sources", {})
        taken = sum("point" in row for row in named.values())
        off = [unit for unit, row in named.items() if row["verdict"] == Verdict.CANCELLED]
        if off:
            return f"{taken} of {len(named)} taken, {sized(measures.get('bytes', 0))}, checked; not {', '.join(off)}"
        words = [counted(len({item.source for item in change.items}), "source")]
        words.append(f"{sized(measures.get('bytes', 0))} ({sized(measures.get('added', 0))} new)")
        words.append(counted(measures.get("files", 0), "file"))
        return ", ".join([*words, "checked" if named else "not checked"])

    def read_change(self, data: Json) -> BackupChange:
        return BackupChange.from_json(data)


def _detail(said: output.JobSaid, change: BackupChange) -> str:
    ended = sum(item.code is not None for item in said.items)
    whole = "" if said.whole else ", stopped" if said.stopped else ", cut short"
    return f"{ended} of {len(change.items)} taken{whole}"


def _ask(work: HostWork, argv: tuple[str, ...], user: str) -> Output:
    return work.shell.run(Command(argv, user=user, deadline=60))
