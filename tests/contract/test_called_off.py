"""A run is cancelled while the controller itself is at work, with a real restic on storage that is slow: it ends in order."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.fleet.system import wait_until
from tests.servers.repository import make_repository
from tests.servers.restic import restic
from tests.unit.recovery.points import before, point
from tests.unit.recovery.tending.desk import plan
from tests.unit.runner.test_rollout import part
from tests.unit.runner.world import World

from mainstay.inventory.secrets import Secret
from mainstay.recovery.depot import Depot
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.memory import MemoryPoints
from mainstay.recovery.proving.drill import DrillErrand
from mainstay.recovery.proving.order import DrillOrder
from mainstay.recovery.restic.adapters.command import Program
from mainstay.recovery.restic.adapters.controller import opener
from mainstay.recovery.restore.errand import RestoreErrand
from mainstay.recovery.restore.order import Piece, RestoreOrder
from mainstay.recovery.tending.copying import CopyErrand
from mainstay.recovery.tending.errand import CANCELLED
from mainstay.recovery.tending.upkeep import CheckErrand, PruneErrand
from mainstay.runner import calling_off
from mainstay.runner.errand import Errand
from mainstay.runner.record import HostPart

SIZE, SLOW = 60_000_000, 1500
"""Bytes, and KiB a second that are read of them: whole, it takes 40 s. Slower than this restic itself takes its time to end: it
does so after the piece that it is at, of up to some MB."""
LONG = 120.0
ALL = {"every": "7d", "all_within": "7d"}
"""All data is read in one turn."""


class Place:
    """One point of web1 in the repository `main`, and `away` for its copies."""

    def __init__(self, folder: Path, size: int, template: Path, id: str) -> None:
        self.folder, self.points = folder, MemoryPoints()
        shutil.copytree(template, folder / "main", copy_function=os.link)
        make_repository(folder / "away", "password")
        self.point = point(before(1), id=id, paths=("/data",), bytes=size, files=1)
        self.points.add_point(self.point)
        self.pids = folder / "pids"
        self.program = folder / "restic"
        self.gate = folder / "gate"
        self.wait_at("", "")

    def wait_at(self, command: str, how: str) -> None:
        """restic, which at this command of its tells that it is at work, and does so as `how` says."""
        waits = f'case " $* " in *" {command} "*) : > "{self.gate}"; {how};; esac\n' if command else ""
        self.program.write_text(f'#!/bin/sh\necho "$$" >> "{self.pids}"\n{waits}exec "{restic()}" "$@"\n')
        self.program.chmod(0o700)

    @property
    def plan(self) -> BackupPlan:
        told = {"password": "env:IT", "shared": "accepted", "download": SLOW}
        both = {name: {"name": name, "url": str(self.folder / name), **told} for name in ("main", "away")}
        return plan(repositories=both, copies=[{"to": "away"}], prove={"every": "7d"}, verify=ALL)

    @property
    def depot(self) -> Depot:
        world = World("web1")
        return Depot(
            points=self.points,
            restic=opener(Program(str(self.program), cache=None, nice=0)),
            gateway=None,  # type: ignore[arg-type]  # nothing goes through it here
            resolve=lambda reference: Secret("password"),
            place=lambda path: path,
            clock=world.clock,
            zone=ZoneInfo("UTC"),
        )

    def locks(self) -> list[str]:
        return [one.name for name in ("main", "away") for one in (self.folder / name / "locks").iterdir()]

    def at_work(self) -> list[int]:
        pids = self.pids.read_text().split() if self.pids.exists() else []
        return [pid for pid in map(int, pids) if Path(f"/proc/{pid}").exists()]


Make = Callable[[int], tuple[Path, str]]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A repository with a file of so many bytes, and the snapshot in it."""

    @cache
    def make(size: int) -> tuple[Path, str]:
        folder = tmp_path_factory.mktemp("template") / "main"
        make_repository(folder, "password")
        env = {**os.environ, "TZ": "UTC", "RESTIC_PASSWORD": "password", "RESTIC_REPOSITORY": str(folder)}
        argv = [str(restic()), "backup", "--no-cache", "--json", "--host", "web1", "--tag", "mainstay"]
        argv += ["--time", before(1).replace("T", " ")[:19], "--stdin", "--stdin-filename", "data"]
        done = subprocess.run(argv, env=env, input=os.urandom(size), capture_output=True, check=True, timeout=LONG)
        return folder, json.loads(done.stdout.splitlines()[-1])["snapshot_id"]

    return make


@pytest.fixture
def place(
    request: pytest.FixtureRequest, tmp_path: Path, template: Make, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    monkeypatch.setattr(calling_off, "EVERY", 0.1)
    size = getattr(request, "param", 1000)
    made = Place(tmp_path, size, *template(size))
    yield made
    for pid in made.at_work():
        os.kill(pid, 9)


def restore(place: Place) -> Errand:
    pieces = (Piece(point=place.point, files=1, bytes=place.point.bytes),)
    known = place.plan.repositories
    return RestoreErrand(
        RestoreOrder(host="web1", on="controller", to=str(place.folder / "to"), pieces=pieces, repositories=known),
        place.depot,
    )


def drill(place: Place) -> Errand:
    points: dict[str, tuple[RecoveryPoint, ...]] = {"web1": (place.point,)}
    return DrillErrand(DrillOrder(plan=place.plan, points=points), place.depot, place.folder / "scratch")


def check(place: Place) -> Errand:
    return CheckErrand(place.plan, "main", place.depot)


def copy(place: Place) -> Errand:
    return CopyErrand(place.plan, "away", place.depot)


def cancelled(errand: Errand, at_work: Callable[[], bool]) -> HostPart:
    """web1's part of a run that is cancelled as soon as that is so."""
    world = World("web1")
    request = world.request(kind=errand.kind, errand=True)
    runs = world.runs()
    runs.tools.operations[errand.kind] = lambda request: errand  # type: ignore[index]  # a dict, in these tests

    def cancel() -> None:
        try:
            wait_until(at_work, "nothing was begun", deadline=LONG)
        finally:
            world.state.wish(request.id, "cancel", by="anna", reason="wrong night")

    somebody = threading.Thread(target=cancel)
    somebody.start()
    try:
        runs.submit(request)
        return part(runs.execute(request.id), "web1")
    finally:
        somebody.join()


ALL_OF_THEM: dict[Callable[[Place], Errand], str] = {restore: "restore", drill: "restore", check: "check", copy: "copy"}


def judge(place: Place, make: Callable[[Place], Errand], ended: HostPart) -> None:
    assert ended.verdict == "cancelled" and ended.reason.startswith("cancelled by anna: wrong night"), ended.reason
    assert place.locks() == [] and place.at_work() == []
    assert not list((place.folder / "scratch").glob("*")), "a drill leaves nothing"
    noted = [(one.what, one.part) for one in place.points.tended()]
    assert noted == ([(make.__name__, CANCELLED)] if make in (check, copy) else [])
    if make is restore:
        assert f"what was written into {place.folder}/to by then stays there, and is not whole" in ended.reason
    if make is drill:
        assert ended.reason.endswith("0 of 1 point proved, 0 B restored (in prove etc)")


SHORT = {restore, check}
"""A drill restores, and a copy is noted, as these do."""


@pytest.mark.parametrize(
    "make", [one if one in SHORT else pytest.param(one, marks=pytest.mark.long) for one in ALL_OF_THEM]
)
def test_what_reads_is_told_to_end(place: Place, make: Callable[[Place], Errand]) -> None:
    place.wait_at(ALL_OF_THEM[make], "trap 'exit 130' INT; while :; do sleep 0.05; done")
    judge(place, make, cancelled(make(place), place.gate.exists))


@pytest.mark.long
@pytest.mark.parametrize("place", [SIZE], indirect=True)
@pytest.mark.parametrize("make", ALL_OF_THEM)
def test_restic_itself_ends_in_order_and_leaves_no_lock(place: Place, make: Callable[[Place], Errand]) -> None:
    judge(place, make, cancelled(make(place), lambda: bool(place.locks())))


def test_a_prune_is_brought_to_its_end(place: Place) -> None:
    """It has succeeded then, whatever became of its run: what it frees is freed."""
    place.wait_at("prune", f'while [ -e "{place.gate}" ]; do sleep 0.05; done')
    errand = PruneErrand(place.plan, "main", place.depot)

    def at_work() -> bool:
        if place.gate.exists():
            threading.Timer(20 * calling_off.EVERY, place.gate.unlink).start()
            return True
        return False

    ended = cancelled(errand, at_work)
    assert ended.verdict == "succeeded", ended.reason
    assert [(one.what, one.part) for one in place.points.tended()] == [("prune", "")]


def test_what_was_called_off_before_it_began_starts_no_program(place: Place) -> None:
    with calling_off.heard(lambda: "cancelled by anna"), pytest.raises(calling_off.Cancelled, match="by anna"):
        place.depot.open(place.plan.repositories["main"], "web1").snapshots()
    assert place.at_work() == [] and not place.pids.exists()


def test_nobody_is_asked_more_often_than_every_so_often_and_a_cancel_is_final() -> None:
    now, asked = [0.0], list[float]()
    said = ["", "by anna", ""]

    def ask() -> Any:
        asked.append(now[0])
        return said[len(asked) - 1]

    with calling_off.heard(ask, lambda: now[0]):
        for _ in range(30):
            calling_off.look()
        assert asked == [0.0]
        now[0] = calling_off.EVERY
        for _ in range(3):
            with pytest.raises(calling_off.Cancelled):
                calling_off.look()
        with calling_off.unheard():
            calling_off.look()
    calling_off.look()
    assert asked == [0.0, calling_off.EVERY]
