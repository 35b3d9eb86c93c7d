"""Drills on a host by real programs: a real sshd, restic, a REST server, PostgreSQL and Python, on this machine."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from tests.contract.backing import CANARY, Rig, kill_all, rig
from tests.contract.sshd import Sshd
from tests.fleet.system import wait_until
from tests.servers.postgres import Postgres, programs
from tests.servers.rest import Rest

from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import Proof
from mainstay.recovery.proving.far.change import DrillChange
from mainstay.recovery.proving.far.operation import DrillOperation
from mainstay.recovery.proving.order import DrillOrder, drill_requests, newest
from mainstay.runner.operation import Forecast, Look
from mainstay.runner.request import Asking
from mainstay.runner.shell.contract import JobStatus
from mainstay.runner.steps import HostFailed, rfc3339

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("one-host")]


class Drills:
    """Takes a drill through its steps as the rollout does. of: whose points they are. order: as it was asked for; None: those of
    `of` on this one."""

    def __init__(self, rig: Rig, plan: BackupPlan, of: str = "", order: DrillOrder | None = None) -> None:
        self.order = order
        self.rig, self.plan, self.of = rig, plan, of or rig.host.name
        self.measures: dict[str, Any] = {}
        self.concerns: list[str] = []
        self.notes: list[str] = []
        self.script = ""

    @property
    def root(self) -> Path:
        return self.rig.state_dir / "scratch"

    def operation(self) -> DrillOperation:
        depot = self.rig.depot()
        chosen = newest(depot.points.points(hosts=[self.of]), self.plan, depot.clock.now())
        order = self.order or DrillOrder(plan=self.plan, points={self.of: chosen}, on=self.rig.host.name)
        return DrillOperation(DrillOrder.from_json(order.to_json()), depot, lambda: self.rig.program)

    def preview(self) -> Forecast:
        shell = self.rig.shells.open(self.rig.host, write=False)
        try:
            return self.operation().preview(Look(self.rig.host, shell, cast(Any, None), 0.0, {}))
        finally:
            shell.close()

    def do(self, run: str, kill: str = "", stop: str = "") -> str:
        """Why it failed; empty where it did not. kill: the job and all that it has begun, where it says this; stop: it is told
        to end there."""
        shell = self.rig.shells.open(self.rig.host)
        try:
            work, operation = self.rig.work(shell, run), self.operation()
            change = operation.stage(work, operation.resolve(work, cast(Any, None), None), keep=False)
            change = DrillChange.from_json(change.to_json())
            assert work.measures["job"] == {"hostname": os.uname().nodename}, "known before anything is begun"
            name = f"{run}-{self.rig.host.name}-apply"
            with operation.attend(work, change, name):
                job = operation.apply(work, change, name)
                if at := kill or stop:
                    stays = job.script.replace(f"say {at}", f"say {at}; heed timeout 600 sleep 600 #")
                    assert stays != job.script
                    job = replace(job, script=stays)
                self.script = job.script
                shell.launch(job, work.fence)
                if at:
                    wait_until(lambda: at.encode() in shell.poll(name).output, f"it says {at}", deadline=60)
                for _ in range(2 if stop else 0):
                    operation.stop(work, change, name)
                if kill:
                    for file in self.rig.state_dir.glob(f"jobs/{name}/pid"):
                        kill_all(int(file.read_text().split()[0]))
                state, output = self.rig.follow(shell, name, 120)
            assert state.status is (JobStatus.LOST if kill else JobStatus.EXITED), output
            outcome = operation.outcome(change, state.exit, output)
            assert outcome.ok, outcome.detail
            assert outcome.stopped is bool(stop)
            work.found = outcome.measures
            try:
                operation.verify(work, change)
                return ""
            except HostFailed as error:
                return error.message
            finally:
                self.concerns, self.notes, self.measures = work.concerns, work.notes, work.measures
                assert not list(self.root.iterdir()), "nothing is left of it"
        finally:
            shell.close()

    def proofs(self, run: str) -> dict[str, Proof]:
        """By the unit."""
        found = [one for one in self.rig.points.proofs() if one.run == run]
        return {f"{one.source}/{one.item}" if one.item else one.source: one for one in found}


def test_files_are_proved_on_a_host(here: Rig, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "sub").mkdir(parents=True)
    for name, content in {"a": "one", "sub/b": "two" * 1000, "odd 'name'*\\ $HOME\nnew ": "x", "empty": ""}.items():
        (data / name).write_text(content)
    (data / "hard").hardlink_to(data / "a")
    plan = here.plan({"files": {"paths": [str(data)]}}, prove={"on": here.host.name})
    assert here.back_up(plan).verdict == "succeeded"
    drills = Drills(here, plan)
    assert drills.preview().refused == "" and drills.preview().count == 1
    assert drills.do("R1") == ""
    proof = drills.proofs("R1")["files"]
    assert (proof.verdict, proof.machine, proof.host) == ("succeeded", here.host.name, here.host.name)
    assert proof.scope.startswith("5 of 5 files") and proof.measures["files"] == 5
    assert drills.measures["proofs"][0]["on"] == here.host.name
    (noted,) = here.points.tended()
    assert (noted.what, noted.subject, noted.host, noted.verdict) == ("prove", "nightly", drills.of, "succeeded")
    # Nothing that was secret is in what was sent or kept there.
    assert CANARY not in drills.script
    for kept in here.state_dir.rglob("*"):
        assert not kept.is_file() or CANARY.encode() not in kept.read_bytes()


def test_damaged_data_is_found_and_a_killed_job_proves_nothing(here: Rig, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for name in "ab":
        (data / name).write_bytes(os.urandom(20_000))
    plan = here.plan({"one": {"paths": [str(data / "a")]}, "two": {"paths": [str(data / "b")]}}, prove={})
    assert here.back_up(plan).verdict == "succeeded"
    drills = Drills(here, plan)
    # Killed with a place that is held: it is gone afterwards, and what was not tried is not known.
    why = drills.do("R1", kill="restored 0")
    assert "the job was broken off" in why and "0 of 2 points proved" in why
    assert {one.verdict for one in drills.proofs("R1").values()} == {"unknown"}
    # Told to stop in the second: what was tried by then counts, and it is no drill that was done.
    before = here.points.tended()
    assert drills.do("R3", stop="restored 1") == "" and list(drills.proofs("R3")) == ["one"]
    assert drills.measures["proves"] and here.points.tended() == before
    packs = [path for path in (here.repository_folder / "data").rglob("*") if path.is_file()]
    big = max(packs, key=lambda path: path.stat().st_size)
    content = bytearray(big.read_bytes())
    content[len(content) // 3] ^= 0xFF
    big.chmod(0o600)
    big.write_bytes(content)
    why = drills.do("R2")
    proofs = drills.proofs("R2")
    assert sorted(one.verdict for one in proofs.values()) == ["failed", "succeeded"], proofs
    (bad,) = [one for one in proofs.values() if one.verdict == "failed"]
    assert f"not as in the repository: {data}/" in bad.reason and bad.reason in why
    assert "1 of 2 points proved" in why


def test_dumps_are_proved_on_a_host(here: Rig, postgres: Postgres) -> None:
    name = postgres.database()
    postgres.execute("CREATE TABLE t AS SELECT generate_series(1, 1000) AS n", database=name)
    cluster = {"host": str(postgres.folder), "port": postgres.port, "bin": str(programs()), "databases": [name]}
    checks = [
        {"source": "db", "database": name, "query": "SELECT count(*) FROM t", "equals": "1000"},
    ]
    plan = here.plan({"db": {"postgresql": cluster}}, prove={"check": checks})
    ended = here.back_up(plan)
    assert ended.verdict == "succeeded", ended.said
    drills = Drills(here, plan)
    assert drills.do("R1") == ""
    proofs = drills.proofs("R1")
    assert {unit: one.verdict for unit, one in proofs.items()} == {
        f"db/{name}": "succeeded",
        "db/(globals)": "succeeded",
    }
    assert "1 assertion held" in proofs[f"db/{name}"].scope and proofs[f"db/{name}"].measures["recover"] > 0


def test_hosts_prove_their_own_points_on_themselves_at_once(tmp_path: Path, server: Sshd, storage: Rest) -> None:
    """In one drill of one plan, each in its own repository: what is wrong with one says nothing of the other."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "a").write_bytes(os.urandom(20_000))
    names = [f"{tmp_path.name}-{which}" for which in ("one", "two")]
    with ExitStack() as closing:
        rigs = [closing.enter_context(rig(tmp_path / name, server, storage, name)) for name in names]
        points = rigs[0].points
        repository = rigs[0].repository(url=f"{storage.url}{{host}}/")
        for one in rigs:
            one.points = points
            plan = one.plan({"files": {"paths": [str(data)]}}, prove={"on": "host"}, repository=repository)
            assert one.back_up(plan).verdict == "succeeded"
        (spoilt,) = [path for path in (rigs[1].repository_folder / "data").rglob("*") if path.stat().st_size > 20_000]
        spoilt.chmod(0o600)
        spoilt.write_bytes(bytes(255 - byte for byte in spoilt.read_bytes()))
        asking = Asking(requested_by="tests", asked_at=rfc3339(datetime.now(UTC)))
        (request,) = drill_requests(plan, [one.host for one in rigs], asking, points)
        assert {host.name for host in request.hosts} == set(names) and not request.errand
        order = DrillOrder.from_json(request.operation)
        drills = [Drills(one, plan, order=order) for one in rigs]
        with ThreadPoolExecutor() as at_once:
            good, bad = at_once.map(lambda one: one.do("R1"), drills)
    assert good == "" and f"not as in the repository: {data}/a" in bad
    proofs = {one.host: (one.verdict, one.machine) for one in points.proofs()}
    assert proofs == {names[0]: ("succeeded", names[0]), names[1]: ("failed", names[1])}
    assert {one.host: one.verdict for one in points.tended()} == {names[0]: "succeeded", names[1]: "failed"}
