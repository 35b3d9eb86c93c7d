"""The patch operation on packages in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.inventory.errors import Refused, UsageError
from mainstay.inventory.facts import Facts, Filesystem
from mainstay.runner.artifacts.memory import MemoryArtifacts
from mainstay.runner.operation import Forecast, HostWork, Look
from mainstay.runner.patching.capturing import index
from mainstay.runner.patching.change import Change, Conffile, PackageChange, Undo, UndoItem
from mainstay.runner.patching.fake import FakePackageManager, FakePackages, digest_of, file_of
from mainstay.runner.patching.operation import PatchOperation
from mainstay.runner.plan import PatchPlan, Updates
from mainstay.runner.shell import hostlock
from mainstay.runner.shell.contract import Fence, JobStatus
from mainstay.runner.shell.fake import FakeHost, FakeShells


@dataclass
class World:
    packages: FakePackages
    artifacts: MemoryArtifacts = field(default_factory=MemoryArtifacts)
    facts: Facts = field(default_factory=Facts)
    captured: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.manager = FakePackageManager([self.packages])
        self.shells = FakeShells([self.packages.there])
        self.host = self.packages.there.host()
        self.fence = Fence(1, "s", "r")
        hostlock.acquire(self.shells.open(self.host), self.fence)

    def operation(self, never: tuple[str, ...] = (), **fields: Any) -> PatchOperation:
        plan = PatchPlan.model_validate({"targets": "all", **fields})
        known = self.captured
        return PatchOperation(plan, self.manager, never=never, captured=lambda *key: known.get(key))

    def look(self) -> Look:
        return Look(self.host, self.shells.open(self.host, write=False), self.facts, 1.8e9, {})

    def work(self) -> HostWork:
        return HostWork("r", self.host, self.shells.open(self.host), self.fence, self.facts, self.artifacts)

    def make(self, op: PatchOperation, change: Change, name: str = "r-apply") -> tuple[str, ...]:
        work = self.work()
        job = op.apply(work, change, name)
        work.shell.launch(job, work.fence)
        assert work.shell.poll(name).status is not JobStatus.RUNNING
        return op.verify(work, change)


@pytest.fixture
def world() -> World:
    packages = FakePackages(FakeHost("web1")).has("ssl", "1").has("web", "1")
    for name in ("ssl", "web"):
        for version in ("1", "2"):
            packages.offers(name, version, security=True)
    return World(packages)


def test_there_and_back(world: World) -> None:
    op = world.operation()
    forecast = op.preview(world.look())
    change = op.resolve(world.work(), forecast, None)
    change = op.stage(world.work(), change, keep=True)
    undo = op.capture(world.work(), change)
    before = op.snapshot(world.work(), change)

    assert world.make(op, change) == ()
    assert op.snapshot(world.work(), change)["packages"] == {"ssl": "2", "web": "2"}
    assert world.make(op, op.read_change(op.undo(op.read_undo(undo.to_json())).to_json()), "r-undo") == ()
    assert op.snapshot(world.work(), change) == before
    assert set(world.artifacts.hashes("package")) == {digest_of("ssl", "2"), digest_of("web", "2")}


def test_the_digest_of_all_packages_changes_with_any(world: World) -> None:
    op, change = world.operation(), Change()
    digests = set()
    for version in ("1", "2"):
        world.packages.has("ssl", version)
        digests.add(op.snapshot(world.work(), change)["packages_digest"])
    world.packages.has("more", "1")

    assert len(digests | {op.snapshot(world.work(), change)["packages_digest"]}) == 3


def test_later_waves_take_the_tested_version_and_no_other(world: World) -> None:
    world.packages.offers("ssl", "3", security=True)
    op = world.operation()
    forecast = op.preview(world.look())
    tested = op.freeze(
        [Change(items=(PackageChange(name="ssl", before="1", after="2", sha256=digest_of("ssl", "2")),))]
    )

    change = op.resolve(world.work(), forecast, tested)

    assert [(one.name, one.after, one.untested) for one in change.items] == [("ssl", "2", False), ("web", "2", True)]


def test_untested_can_be_refused(world: World) -> None:
    op = world.operation(untested="refuse")
    tested = op.freeze([Change(items=(PackageChange(name="ssl", before="1", after="2"),))])

    change = op.resolve(world.work(), op.preview(world.look()), tested)

    assert [one.name for one in change.items] == ["ssl"]
    assert [(one.item, one.reason) for one in change.left_out] == [("web", "untested")]


def test_a_file_that_is_not_the_tested_one_comes_from_the_store(world: World) -> None:
    op, forecast = world.operation(), world.operation().preview(world.look())
    good = world.artifacts.put(b"the tested file", kind="package")
    tested = op.freeze([Change(items=tuple(PackageChange(name=n, after="2", sha256=good) for n in ("ssl", "web")))])

    change = op.resolve(world.work(), forecast, tested)

    assert [(one.pushed, one.sha256) for one in change.items] == [(True, good)] * 2
    assert world.packages.there.files[world.manager.place(good)] == b"the tested file"


def test_a_file_that_is_not_the_tested_one_and_was_not_kept_is_refused(world: World) -> None:
    op, forecast = world.operation(), world.operation().preview(world.look())
    tested = op.freeze([Change(items=(PackageChange(name="ssl", after="2", sha256="0" * 64),))])

    with pytest.raises(Refused, match="ssl 2"):
        op.resolve(world.work(), forecast, tested)


def test_a_set_that_has_grown_is_refused(world: World) -> None:
    op, forecast = world.operation(), world.operation().preview(world.look())
    world.packages.needs["ssl", "2"] = {"surprise": "1"}

    with pytest.raises(Refused, match="it would bring surprise 1"):
        op.resolve(world.work(), forecast, None)


@pytest.mark.parametrize("tested", [False, True])
def test_a_removal_that_nobody_allowed_is_refused(world: World, tested: bool) -> None:
    op = world.operation(updates={"allow_remove": ["old-*"]})
    forecast = op.preview(world.look())
    world.packages.has("database", "1").needs["ssl", "2"] = {"database": None}
    frozen = op.freeze([Change.from_json(forecast.change)]) if tested else None

    with pytest.raises(Refused, match="it would remove database"):
        op.resolve(world.work(), forecast, frozen)


def test_a_dependency_that_was_tested_is_no_surprise(world: World) -> None:
    op, forecast = world.operation(), world.operation().preview(world.look())
    world.packages.needs["ssl", "2"] = {"dep": "1"}
    items = (
        PackageChange(name="ssl", after="2"),
        PackageChange(name="web", after="2"),
        PackageChange(name="dep", after="1"),
    )

    assert [one.name for one in op.resolve(world.work(), forecast, op.freeze([Change(items=items)])).items] == [
        "dep", "ssl", "web",
    ]  # fmt: skip


def test_what_others_did_meanwhile_is_left_and_said(world: World) -> None:
    op, forecast = world.operation(), world.operation().preview(world.look())
    world.packages.install("ssl", "3")
    world.packages.install("web", "2")

    change = op.resolve(world.work(), forecast, None)

    assert op.changes(change) == 0
    assert [(one.item, one.reason) for one in change.left_out] == [("ssl", "newer")]


def test_a_forecast_that_was_refused_is_not_resolved(world: World) -> None:
    world.packages.dead_mirror = True
    forecast = world.operation().preview(world.look())
    world.packages.dead_mirror = False

    assert forecast.refused
    with pytest.raises(Refused, match="not every repository answers"):
        world.operation().resolve(world.work(), forecast, None)


def test_a_new_dependency_is_removed_on_the_way_back(world: World) -> None:
    world.packages.offers("dep", "1").needs["ssl", "2"] = {"dep": "1"}
    op = world.operation()
    change = op.resolve(world.work(), op.preview(world.look()), None)
    undo = op.capture(world.work(), change)

    assert world.make(op, change) == () and "dep" in world.packages.auto
    assert world.make(op, op.undo(undo), "r-undo") == ()
    assert "dep" not in world.packages.installed
    assert op.readiness(undo) == (3, 3)


@pytest.mark.parametrize(("rebuildable", "where"), [(True, "rebuilt"), (False, "missing")])
def test_an_old_version_that_is_nowhere(world: World, rebuildable: bool, where: str) -> None:
    world.packages.withdraws("ssl", "1").rebuildable = rebuildable
    op = world.operation(undo_required=False)
    forecast = op.preview(world.look())
    undo = op.capture(world.work(), op.resolve(world.work(), forecast, None))

    assert (forecast.count, forecast.reversible) == (2, 1)
    assert {one.name: one.where for one in undo.items} == {"ssl": where, "web": "repository"}
    assert op.readiness(undo) == (1 + rebuildable, 2)
    if not rebuildable:
        assert [one.item for one in op.undo(undo).left_out] == ["ssl"]
        with pytest.raises(Refused, match="1 of 2 could not go back: ssl 1"):
            world.operation().capture(world.work(), op.resolve(world.work(), forecast, None))


def test_an_old_version_that_an_earlier_run_kept_needs_no_rebuilding(world: World) -> None:
    kept = world.artifacts.put(file_of("ssl", "1"), kind="package")
    world.captured = index([], [Change(items=(PackageChange(name="ssl", arch="amd64", after="1", sha256=kept),))])
    world.packages.withdraws("ssl", "1").rebuildable = False
    op = world.operation()
    forecast = op.preview(world.look())
    change = op.resolve(world.work(), forecast, None)
    undo = op.capture(world.work(), change)

    assert (forecast.reversible, undo.items[0].where, undo.items[0].sha256) == (2, "captured", kept)
    assert world.make(op, change) == ()
    staged = op.stage(world.work(), op.undo(undo), keep=False)
    assert world.packages.there.files[world.manager.place(kept)] == file_of("ssl", "1")
    assert world.make(op, staged, "r-undo") == ()


def test_verify_names_each_difference(world: World) -> None:
    world.packages.breaks("web", "2", "x").install("web", "2")
    meant = [("ssl", "2"), ("web", "2"), ("none", "1"), ("ssl2", None)]
    change = Change(items=tuple(PackageChange(name=name, after=after) for name, after in meant))
    world.packages.has("ssl2", "1")

    assert world.operation().verify(world.work(), change) == (
        "ssl is 1, 2 was meant", "web is half-configured", "none is not installed, 1 was meant", "ssl2 is still there, 1",
    )  # fmt: skip


def test_never_automatic_ships_and_is_extended(world: World) -> None:
    names = ["libc6", "linux-image-6.1.0-1-amd64", "postgresql-15", "openssl", "demo-web"]
    change = Change(items=tuple(PackageChange(name=name, after="2") for name in names))

    assert world.operation().never_automatic(change) == ("libc6", "linux-image-6.1.0-1-amd64", "postgresql-15")
    assert "demo-web" in world.operation(never=("demo-*",)).never_automatic(change)


def test_the_same_items_have_the_same_fingerprint(world: World) -> None:
    op, one = world.operation(), PackageChange(name="a", before="1", after="2")
    same = one.model_copy(update={"sha256": "x", "untested": True})

    assert op.fingerprint(Change(items=(one,))) == op.fingerprint(Change(items=(same,)))
    assert op.fingerprint(Change(items=(one,))) != op.fingerprint(
        Change(items=(one.model_copy(update={"after": "3"}),))
    )


def test_a_plan_with_a_hostile_name_makes_no_operation(world: World) -> None:
    plan = PatchPlan.model_validate({"targets": "all"})
    hostile = plan.model_copy(update={"updates": Updates.model_construct(packages={"x; reboot": "1"})})

    with pytest.raises(UsageError):
        PatchOperation(hostile, world.manager)


def test_the_lock_and_room_come_first(world: World) -> None:
    world.packages.locked_by = "apt-get (pid 7)"
    with pytest.raises(Refused, match=r"apt-get \(pid 7\)"):
        world.operation().prepare(world.work(), wait=0)
    world.facts = Facts(filesystems=(Filesystem(path="/", free_bytes=10**8),))
    with pytest.raises(Refused, match="100 MB free, 500 MB are needed"):
        world.operation().prepare(world.work(), wait=0)


def test_a_mirror_that_dies_in_mid_run_does_not_bar_the_way_back(world: World) -> None:
    op = world.operation()
    op.prepare(world.work(), wait=0)
    world.packages.dead_mirror = True

    assert op.prepare(world.work(), wait=0) == []
    with pytest.raises(Refused, match="not every repository answers"):
        world.operation().prepare(world.work(), wait=0)


def test_a_kernel_needs_room_in_boot(world: World) -> None:
    world.packages.has("linux-image-1", "1").offers("linux-image-1", "2", security=True).offers("linux-image-1", "1")
    op = world.operation()
    forecast: Forecast = op.preview(world.look())
    world.facts = Facts(filesystems=(Filesystem(path="/boot", free_bytes=10**7),))

    assert forecast.reboot == "likely"
    with pytest.raises(Refused, match="/boot has 10 MB free"):
        op.resolve(world.work(), forecast, None)


TEXT = st.text(min_size=1, max_size=8)
ITEMS = st.builds(
    PackageChange, name=TEXT, before=st.none() | TEXT, after=st.none() | TEXT, auto=st.none() | st.booleans()
)
UNDO = st.builds(UndoItem, name=TEXT, to=st.none() | TEXT, where=st.sampled_from(["repository", "captured", "missing"]))


@given(st.lists(ITEMS, max_size=3), st.lists(UNDO, max_size=3))
def test_change_and_undo_survive_being_written_down(items: list[PackageChange], undos: list[UndoItem]) -> None:
    change = Change(items=tuple(items), back=True)
    undo = Undo(items=tuple(undos), conffiles=(Conffile(package="a", path="/etc/a", shipped="0"),))

    assert Change.from_json(change.to_json()) == change
    assert Undo.from_json(undo.to_json()) == undo
