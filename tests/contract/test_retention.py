"""Retention as a whole upon a real restic and real storage: renamed plans, leftovers, what is decided anew, what is broken off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.servers.repository import make_repository
from tests.servers.rest import rest
from tests.servers.restic import restic
from tests.servers.s3 import REGION, moto
from tests.unit.recovery.points import before, point, proof
from tests.unit.recovery.tending.desk import plan
from tests.unit.recovery.tending.dying import Died, Dying, Fate

from mainstay.inventory.secrets import Secret
from mainstay.recovery.depot import Depot
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.contract import Ack
from mainstay.recovery.points.renamed import RenamedPoints
from mainstay.recovery.restic.adapters.command import Program
from mainstay.recovery.restic.adapters.controller import opener
from mainstay.recovery.retention.strays import Ended
from mainstay.recovery.tending.retention import RetentionErrand
from mainstay.runner.steps import StepIO, Stopped
from mainstay.runner.verdict import Verdict

pytestmark = pytest.mark.server

PASSWORD = "retention-canary-5b0d"
DAYS = {"old 1": 5.0, "old 2": 4.0, "new 1": 3.0, "stray": 2.5, "theirs": 2.4, "foreign": 300.0, "new 2": 1.0}
"""Name → how many days ago it was made."""
TAGS = {
    "stray": "mainstay,run=R1,plan=old,source=etc,state=OURS",
    "theirs": "mainstay,run=R1,plan=old,source=etc,state=THEIRS",
    "foreign": "by-hand",
}
ENDED: Ended = lambda run, host: Verdict.FAILED if (run, host) == ("R1", "web1") else None  # noqa: E731


class Real(Dying):
    """The repository `main` is a real one. ids: name → the snapshot's."""

    ids: dict[str, str]
    declared: dict[str, Any]
    secrets: dict[str, str]
    meanwhile: Callable[[], Any] = staticmethod(lambda: None)
    """Happens between what was decided and its carrying out."""

    @property
    def depot(self) -> Depot:
        known = {"env:MAIN": PASSWORD, **self.secrets}
        made = super().depot
        return Depot(
            points=made.points,
            restic=made.restic,
            gateway=made.gateway,
            resolve=lambda reference: Secret(known[reference]),
            place=made.place,
            clock=made.clock,
            zone=made.zone,
        )

    def plan(self, **more: Any) -> BackupPlan:
        told = {"name": "main", "password": "env:MAIN", "shared": "accepted", **self.declared}
        given = {"retention": {"last": 2}, "renamed_from": ["old"], "repositories": {"main": told}}
        return plan(**given | more)

    def retain(self, run: str = "RUN", **more: Any) -> str:
        data = {"plan": self.plan(**more).to_json(), "repository": "main"}
        return self.do(RetentionErrand.tied(data, self.depot, ENDED, "OURS"), run)

    def there(self) -> set[str]:
        """Names of what the repository has, as it says itself."""
        listed = self.depot.open(self.plan().repositories["main"], "web1").snapshots()
        return {name for name, id in self.ids.items() if id in {one.id for one in listed}}

    def _step(self, name: str, work: Callable[[StepIO], Any]) -> Any:
        if name == "forget":
            self.meanwhile()
        return super()._step(name, work)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A repository with all that retention meets, made by restic, and the ids of it."""
    folder = tmp_path_factory.mktemp("template")
    make_repository(folder / "repository", PASSWORD)
    env = {**os.environ, "TZ": "UTC", "RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": str(folder / "repository")}
    ids = {}
    for name, days in DAYS.items():
        tags = TAGS.get(name, "mainstay")
        argv = [str(restic()), "backup", "--no-cache", "--json", "--host", "web1", "--tag", tags]
        argv += ["--time", before(days).replace("T", " ")[:19], "--stdin", "--stdin-filename", "x"]
        done = subprocess.run(argv, env=env, input=name.encode(), capture_output=True, check=True, timeout=120)
        ids[name] = json.loads(done.stdout.splitlines()[-1])["snapshot_id"]
    return folder / "repository", ids


@pytest.fixture(params=["path", "s3", pytest.param("rest", marks=pytest.mark.long)])
def world(request: pytest.FixtureRequest, tmp_path: Path, template: tuple[Path, dict[str, str]]) -> Iterator[Real]:
    made, (source, ids) = Real(), template
    folder = shutil.copytree(source, tmp_path / "repository")
    with ExitStack() as closing:
        made.secrets = {}
        made.declared = {"url": str(folder)}
        if request.param == "rest":
            server = closing.enter_context(rest(folder, tmp_path / "log", append_only=False))
            made.secrets = {"env:REST": server.secret}
            made.declared = {"url": server.url, "maintain": {"user": server.user, "password": "env:REST"}}
        if request.param == "s3":
            store = closing.enter_context(moto())
            bucket = store.bucket()
            for file in (one for one in folder.rglob("*") if one.is_file()):
                store.client.put_object(Bucket=bucket, Key=f"web1/{file.relative_to(folder)}", Body=file.read_bytes())
            login = {"user": store.access, "password": "env:S3"}
            made.secrets = {"env:S3": store.secret}
            made.declared = {"url": f"s3:{store.endpoint}/{bucket}/web1", "region": REGION, "via": "controller"}
            made.declared |= {"maintain": login}
        yield filled(made, tmp_path, ids)


def filled(made: Real, folder: Path, ids: dict[str, str]) -> Real:
    """The state knows the points: two of them under the plan's old name."""
    made.ids, made.opener = ids, opener(Program(str(restic()), cache=folder / "cache", nice=0, retries=3.0))
    for name in ("old 1", "old 2", "new 1", "new 2"):
        made.points.add_point(known(made, name))
    made.points.add_proof(proof(known(made, "new 2"), before(hours=1)))
    made.points = RenamedPoints(made.points, lambda: {"old": "nightly"})  # type: ignore[assignment]  # the product's own
    return made


def known(world: Real, name: str, **more: Any) -> RecoveryPoint:
    named = "old" if name.startswith("old") else "nightly"
    return point(before(DAYS[name]), id=world.ids[name], plan=named, **more)


def test_it_removes_what_is_ours_and_no_more_whatever_comes_between(world: Real) -> None:
    """First an anomaly comes up between the decision and its carrying out; then it is broken off in the midst; then it is done."""
    odd = point(before(), anomalies=("90 % less",), verdict=Verdict.DEGRADED, item="a")
    world.meanwhile = lambda: world.points.add_point(odd.model_copy(update={"item": ""}))
    assert world.retain("R7") == "0 points removed, 4 kept"
    assert world.there() == set(DAYS)
    assert "nobody has acknowledged" in " ".join(world.concerns())

    world.points.mark_removed("main", [odd.id], "", before())  # it was only known of, and never there
    world.points.acknowledge(Ack(odd.run, "", "", "anna", before(), "moved"))
    world.meanwhile, world.fate = staticmethod(lambda: None), Fate("within forget 1")
    with pytest.raises(Died):
        world.retain("R8")
    left = world.there()
    assert {"new 1", "new 2", "theirs", "foreign"} <= left < set(DAYS)

    world.fate = Fate()
    world.retain("R9")
    assert world.concerns() == []
    assert world.there() == {"new 1", "new 2", "theirs", "foreign"}
    counts = world.ios["decide"].measures["retention"]
    assert (counts["foreign"], counts["of_others"]) == (1, 1)
    gone = {one.id: one.removed_by for one in world.points.points(removed=True) if one.removed_at and one.id != odd.id}
    assert gone.keys() == {world.ids["old 1"], world.ids["old 2"]}
    assert set(gone.values()) <= {"R8", "R9"}
    assert {one.id for one in world.points.points()} == {world.ids["new 1"], world.ids["new 2"]}


def test_what_a_server_that_only_takes_does_not_remove_is_not_said_to_be_removed(
    tmp_path: Path, template: tuple[Path, dict[str, str]]
) -> None:
    """The site's declaration does not know that the server is append-only; restic 0.18 takes its refusal for success."""
    folder = shutil.copytree(template[0], tmp_path / "repository")
    with rest(folder, tmp_path / "log") as server:
        world = Real()
        world.secrets = {"env:REST": server.secret}
        world.declared = {"url": server.url, "write": {"user": server.user, "password": "env:REST"}}
        filled(world, tmp_path, template[1])
        with pytest.raises(Stopped) as stopped:
            world.retain()
        assert stopped.value.fault == "not-removed"
        assert ".s:" not in stopped.value.reason and ".go" not in stopped.value.reason, "no stack of restic's"
        assert world.there() == set(DAYS)
        assert len(world.points.points()) == 4 and not any(one.removed_at for one in world.points.points(removed=True))
        # And it is not forgotten that they are there: should one be lost now, that is no work of ours.
        assert world.retain("R2", retention=None) == "0 points removed, 4 kept"
        (folder / "snapshots" / world.ids["old 1"]).unlink()
        world.retain("R3", retention=None)
        assert "1 point gone from the repository without mainstay" in " ".join(world.concerns())
