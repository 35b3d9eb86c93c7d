"""A site whose hosts are backed up, with points and proofs as tests want them, seen from NOW."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.unit.console.fakes import NOW, FakeApplication, part
from tests.unit.recovery import points as made

from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.runner.record import HostPart
from mainstay.runner.state.contract import RunRow
from mainstay.runner.verdict import Verdict

RUN = "01KYB0000000000000000000B1"
DRILL = "01KYB0000000000000000000D1"

SITE = {
    "recovery/repositories.yml": (
        "repositories:\n"
        "  main: {url: '/srv/restic/{host}', password: 'file:keys/{host}'}\n"
        "  offsite: {url: '/mnt/offsite/{host}', password: 'file:keys/{host}-offsite'}\n"
    ),
    "schedules/backup.yml": (
        'windows:\n  early: {rrule: "FREQ=DAILY", start: "01:30", duration: 2h}\n'
        "plans:\n"
        "  nightly:\n"
        "    kind: backup\n    targets: role=web or role=db\n    window: early\n    repository: main\n"
        "    sources:\n      etc: {paths: [/etc]}\n      db: {paths: [/var/lib/db]}\n"
        "    copies: [offsite]\n    prove: {every: 7d}\n"
    ),
}


def ago(hours: float = 0, days: float = 0) -> str:
    return (NOW - timedelta(hours=hours, days=days)).isoformat()


def point(host: str, hours: float, source: str = "etc", **more: Any) -> RecoveryPoint:
    given = {"host": host, "source": source, "run": RUN, "files": 1240, "bytes": 12_300_000_000, **more}
    return made.point(ago(hours), **given)


def proof(of: RecoveryPoint, days: float, verdict: Verdict = Verdict.SUCCEEDED, **more: Any) -> Proof:
    its: dict[str, Any] = {"run": DRILL, "scope": "20 of 1,240 files, 3.2 MB", **more}
    return made.proof(of, ago(days=days), verdict).model_copy(update=its)


def copied(app: FakeApplication, of: RecoveryPoint) -> RecoveryPoint:
    there = of.model_copy(update={"repository": "offsite", "id": of.id[::-1], "copy_of": of.id})
    app.points.add_point(there)
    return there


def well(app: FakeApplication, *hosts: str, sources: tuple[str, ...] = ("etc", "db")) -> list[RecoveryPoint]:
    """Backed up 5 hours ago, copied, and proved 3 days ago; keys confirmed, and all data read in time."""
    from mainstay.recovery.points.contract import Tended, Vault

    found = []
    for host in hosts:
        for source in sources:
            old, new = point(host, 77, source), point(host, 5, source)
            for one in (old, new):
                app.points.add_point(one)
                copied(app, one)
            app.points.add_proof(proof(old, 3))
            found.append(new)
        for repository in ("main", "offsite"):
            app.points.note_vault(Vault(repository, host, "id", ago(days=90), "r0", ago(days=89), "anna@ops1"))
            for turn in range(1, 24):
                done = Tended(repository, host, "check", "", f"{turn}/23", "r0", ago(days=turn, hours=1), "succeeded")
                app.points.note_tended(done)
    return found


def backed_up(
    app: FakeApplication, run: str, verdicts: dict[str, Verdict], ending: Callable[..., HostPart] = part
) -> None:
    """A backup that has ended, as the state has it."""
    app.state.add_run(RunRow(id=run, kind="backup", plan="nightly", state="running", request={}, started_at=ago(5)))
    for host, verdict in verdicts.items():
        app.state.note_outcome(run, host, verdict)
        app.state.write_part(run, ending(host, verdict))
    app.state.set_run(run, state="ended", ended_at=ago(4.5))
