"""What every package manager promises, on apt with a real Debian host and on the fake."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal, Protocol

import pytest
from tests.fleet import Fleet
from tests.fleet.patching import bench
from tests.fleet.system import wait_until

from mainstay.inventory.errors import Refused
from mainstay.inventory.facts import Facts
from mainstay.runner.artifacts.memory import MemoryArtifacts
from mainstay.runner.operation import HostWork
from mainstay.runner.patching.apt.manager import Apt
from mainstay.runner.patching.change import Change, PackageChange
from mainstay.runner.patching.contract import Broken, PackageManager, Rights, Want
from mainstay.runner.patching.fake import FakePackageManager, FakePackages
from mainstay.runner.shell import hostlock
from mainstay.runner.shell.contract import Fence, JobStatus, Shell
from mainstay.runner.shell.fake import FakeHost, FakeShells

NOTHING, BACK = Rights(), Rights(remove=True, downgrade=True)


class Rig(Protocol):
    """A host with demo-web 1.0, of which 1.0, 1.1 and 1.3 (whose installation fails) are in its repository."""

    manager: PackageManager

    def reading(self) -> Shell: ...
    def work(self) -> HostWork: ...
    def hold(self) -> None: ...
    def withdraw(self, version: str) -> None: ...
    def kill_mirror(self) -> None: ...
    def lock(self) -> None: ...
    def forget_cache(self) -> None: ...


class FakeRig:
    def __init__(self) -> None:
        self.there = FakeHost("h1")
        self.packages = FakePackages(self.there).has("demo-web", "1.0")
        for version in ("1.0", "1.1", "1.3"):
            self.packages.offers("demo-web", version)
        self.packages.breaks("demo-web", "1.3", "postinst fails")
        self.packages.auto.add("libssl3")
        self.manager: PackageManager = FakePackageManager([self.packages])
        self.shells = FakeShells([self.there])
        self.fence = Fence(1, "s", "r")
        hostlock.acquire(self.shells.open(self.there.host()), self.fence)

    def reading(self) -> Shell:
        return self.shells.open(self.there.host(), write=False)

    def work(self) -> HostWork:
        host = self.there.host()
        return HostWork("r", host, self.shells.open(host), self.fence, Facts(), MemoryArtifacts())

    def hold(self) -> None:
        self.packages.has("demo-web", "1.0", held=True)

    def withdraw(self, version: str) -> None:
        self.packages.withdraws("demo-web", version)

    def kill_mirror(self) -> None:
        self.packages.dead_mirror = True

    def lock(self) -> None:
        self.packages.locked_by = "python3 (pid 7)"

    def forget_cache(self) -> None: ...


class AptRig:
    def __init__(self, fleet: Fleet, reading: Shell, work: HostWork) -> None:
        self.manager: PackageManager = Apt()
        self.fleet, self.machine = fleet, fleet.hosts["h1"]
        self._reading, self._work = reading, work

    def reading(self) -> Shell:
        return self._reading

    def work(self) -> HostWork:
        return self._work

    def hold(self) -> None:
        self.machine.exec(["apt-mark", "hold", "demo-web"])

    def withdraw(self, version: str) -> None:
        self.fleet.repository.withdraw("demo-web", version)
        self.machine.exec(["apt-get", "-q", "update"])

    def kill_mirror(self) -> None:
        self.fleet.repository.break_it("error")

    def lock(self) -> None:
        script = "import fcntl,time; f=open('/var/lib/dpkg/lock-frontend','w'); fcntl.lockf(f,2); open('/run/held','w')"
        self.machine.exec(["systemd-run", "-q", "python3", "-c", f"{script}; time.sleep(300)"])
        wait_until(lambda: "held" in self.machine.exec(["ls", "/run"]), "the lock is held", deadline=30)

    def forget_cache(self) -> None:
        self.machine.exec(["apt-get", "clean"])


@contextmanager
def apt(fleet: Fleet) -> Iterator[AptRig]:
    (machine,) = fleet.pristine(1)
    machine.install("demo-web", "1.0")
    for version in ("1.1", "1.3"):
        fleet.repository.publish("demo-web", version)
    machine.exec(["apt-get", "-q", "update"])
    with bench(fleet, machine) as one, one.looking() as look, one.working() as work:
        yield AptRig(fleet, look.shell, work)


BOTH = ["fake", pytest.param("apt", marks=[pytest.mark.fleet, pytest.mark.xdist_group("apt")])]


class Kept:
    """A host that one test after the other may look at, until a test has made it new for itself."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._rig: AptRig | None = None
        self._boot = ""

    def rig(self, fleet: Fleet) -> AptRig:
        if self._rig is None or self._rig.machine.boot_id() != self._boot:
            self._stack.close()
            self._rig = self._stack.enter_context(apt(fleet))
            self._boot = self._rig.machine.boot_id()
        return self._rig


@pytest.fixture(scope="module")
def kept() -> Iterator[Kept]:
    with ExitStack() as stack:
        yield Kept(stack)


@pytest.fixture(params=BOTH)
def untouched(request: pytest.FixtureRequest, kept: Kept) -> Rig:
    """For tests that change nothing."""
    return FakeRig() if request.param == "fake" else kept.rig(request.getfixturevalue("fleet"))


@pytest.fixture(params=BOTH)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param == "fake":
        yield FakeRig()
    else:
        with apt(request.getfixturevalue("fleet")) as made:
            yield made


def web(before: str | None, after: str | None, **more: object) -> PackageChange:
    data = {"name": "demo-web", "arch": "all", "before": before, "after": after, **more}
    return PackageChange.model_validate(data)


def run(rig: Rig, change: Change) -> tuple[int | None, bytes]:
    work = rig.work()
    job = rig.manager.job(change, f"job-{time.monotonic_ns()}", lock_wait=10)
    work.shell.launch(job, work.fence)
    wait_until(lambda: work.shell.poll(job.name).status is not JobStatus.RUNNING, "the job ends", deadline=120)
    state = work.shell.poll(job.name)
    return state.exit, state.output


def version(rig: Rig) -> tuple[str, str]:
    here = rig.manager.inspect(rig.work().shell, real=True)[0]["demo-web"]
    return here.version, here.state


def test_a_survey_names_what_is_newer_newest_first(rig: Rig) -> None:
    found = rig.manager.survey(rig.reading())
    (one,) = (one for one in found.upgradable if one.name == "demo-web")

    assert found.problem == ""
    assert (one.installed, [offer.version for offer in one.offers]) == ("1.0", ["1.3", "1.1"])
    assert (one.candidate, one.taken, one.held, one.obtainable) == ("1.3", True, False, "repository")
    assert "demo-web" in {here.name for here in found.installed}


def test_a_survey_of_a_dead_mirror_is_a_problem(rig: Rig) -> None:
    rig.kill_mirror()

    found = rig.manager.survey(rig.reading())

    assert found.problem and not found.upgradable
    with pytest.raises(Refused):
        rig.manager.refresh(rig.work(), 1)


def test_a_held_package_is_seen_as_held(rig: Rig) -> None:
    rig.hold()

    (one,) = (one for one in rig.manager.survey(rig.reading()).upgradable if one.name == "demo-web")

    assert (one.held, one.taken) == (True, False)
    assert not rig.manager.simulate(rig.reading(), [Want("demo-web", "1.1")], NOTHING, real=False).ok


@pytest.mark.parametrize("real", [False, True])
def test_a_simulation_plans_exactly_what_is_wanted_and_changes_nothing(untouched: Rig, real: bool) -> None:
    shell = untouched.work().shell if real else untouched.reading()
    found = untouched.manager.simulate(shell, [Want("demo-web", "1.1")], NOTHING, real=real)

    (one,) = found.planned
    assert (found.ok, one.name, one.before, one.after) == (True, "demo-web", "1.0", "1.1")
    assert one.sha256 and one.size
    assert version(untouched) == ("1.0", "installed")


def test_a_version_that_is_not_to_be_had_is_named(untouched: Rig) -> None:
    found = untouched.manager.simulate(untouched.reading(), [Want("demo-web", "9.9")], NOTHING, real=False)

    assert (found.ok, found.missing) == (False, ("demo-web",))


def test_going_back_and_removing_need_their_right(rig: Rig) -> None:
    assert run(rig, Change(items=(web("1.0", "1.1"),)))[0] == 0
    older, gone = [Want("demo-web", "1.0")], [Want("demo-web", None)]
    simulate, shell = rig.manager.simulate, rig.work().shell

    assert not simulate(shell, older, NOTHING, real=True).ok
    assert [one.after for one in simulate(shell, older, BACK, real=True).planned] == ["1.0"]
    assert [one.after for one in simulate(shell, gone, BACK, real=True).planned] == [None]


def test_each_want_has_a_simulation_of_its_own(untouched: Rig) -> None:
    wants = [Want("demo-web", "1.1"), Want("demo-web", "9.9")]

    good, bad = untouched.manager.simulate_each(untouched.reading(), wants, NOTHING, real=False)

    assert (good.ok, bad.ok, bad.missing) == (True, False, ("demo-web",))


@pytest.mark.parametrize("name", ["-y", "a b", "x;reboot", "A", "../../x", ""])
def test_what_is_no_name_never_reaches_a_host(untouched: Rig, name: str) -> None:
    assert not untouched.manager.valid(name, "1")
    with pytest.raises(Refused):
        untouched.manager.simulate(untouched.reading(), [Want(name, "1")], NOTHING, real=False)
    with pytest.raises(Refused):
        untouched.manager.job(Change(items=(web("1", "2").model_copy(update={"name": name}),)), "j", lock_wait=1)


@pytest.mark.parametrize(("left", "right", "order"), [("1.0", "1.0", 0), ("1.0", "1.1", -1), ("1.10", "1.9", 1)])
def test_versions_have_an_order(untouched: Rig, left: str, right: str, order: Literal[-1, 0, 1]) -> None:
    assert untouched.manager.compare(left, right) == order


def test_staging_brings_the_file_and_installs_nothing(rig: Rig) -> None:
    work = rig.work()
    (planned,) = rig.manager.simulate(work.shell, [Want("demo-web", "1.1")], NOTHING, real=True).planned

    file = rig.manager.stage(work, [Want("demo-web", "1.1")], NOTHING, [("demo-web", "1.1", "all")])["demo-web"]
    content = io.BytesIO()
    work.shell.get(file.path, content, sudo=True)

    assert file.sha256 == planned.sha256 == hashlib.sha256(content.getvalue()).hexdigest()
    assert version(rig) == ("1.0", "installed")


def test_without_wants_staging_only_looks_into_the_cache(rig: Rig) -> None:
    rig.forget_cache()

    assert rig.manager.stage(rig.work(), [], NOTHING, [("demo-web", "1.1", "all")]) == {}


def test_a_job_makes_the_change_and_tells_how_far_it_is(rig: Rig) -> None:
    exit, output = run(rig, Change(items=(web("1.0", "1.1"),)))

    assert rig.manager.outcome(exit, output).ok
    assert version(rig) == ("1.1", "installed")
    assert rig.manager.progress(output, 1) == "1 of 1  demo-web"
    assert rig.manager.kept(output) == ()


def test_a_job_that_fails_says_why_and_going_back_heals(rig: Rig) -> None:
    exit, output = run(rig, Change(items=(web("1.0", "1.3"),)))
    outcome = rig.manager.outcome(exit, output)

    assert (outcome.ok, outcome.unknown) == (False, False) and "demo-web" in outcome.detail
    assert version(rig) == ("1.3", "half-configured")
    assert any("demo-web" in line for line in rig.manager.inspect(rig.work().shell, real=True)[1])
    with pytest.raises(Broken) as broken:
        rig.manager.repair(rig.work())
    assert broken.value.packages == {"demo-web"}

    exit, output = run(rig, Change(items=(web("1.3", "1.0"),), back=True))

    assert rig.manager.outcome(exit, output).ok
    assert version(rig) == ("1.0", "installed") and rig.manager.repair(rig.work()) == []


def test_a_lost_job_is_unknown(rig: Rig) -> None:
    assert rig.manager.outcome(None, b"").unknown


def test_a_change_can_remove_what_was_new(rig: Rig) -> None:
    exit, output = run(rig, Change(items=(web("1.0", None),), back=True))

    assert rig.manager.outcome(exit, output).ok
    assert "demo-web" not in rig.manager.inspect(rig.work().shell, real=True)[0]


def test_where_an_old_version_is_to_be_had(rig: Rig) -> None:
    old = rig.manager.old(rig.reading(), ["demo-web", "no-such"], real=False).versions
    assert (list(old), old["demo-web"].version, old["demo-web"].repository) == (["demo-web"], "1.0", True)

    rig.withdraw("1.0")

    assert not rig.manager.old(rig.reading(), ["demo-web"], real=False).versions["demo-web"].repository


def test_a_package_is_rebuilt_from_what_is_installed(rig: Rig) -> None:
    work = rig.work()
    made = rig.manager.rebuild(work, "demo-web")
    assert made is not None
    content = io.BytesIO()

    assert (
        work.shell.get(made.path, content, sudo=True) == made.sha256 == hashlib.sha256(content.getvalue()).hexdigest()
    )
    assert made.path == rig.manager.place(made.sha256)
    assert rig.manager.rebuild(work, "no-such") is None


def test_the_holder_of_the_lock_is_named(rig: Rig) -> None:
    rig.manager.unlock(rig.work(), 1)
    rig.lock()

    with pytest.raises(Refused, match="python3"):
        rig.manager.unlock(rig.work(), 1)


def test_the_log_tells_what_changed_since_a_mark(rig: Rig) -> None:
    mark = rig.manager.log_mark(rig.reading())
    assert rig.manager.log_since(rig.reading(), mark) == []

    run(rig, Change(items=(web("1.0", "1.1"),)))

    (entry,) = rig.manager.log_since(rig.reading(), mark)
    assert (entry.action, entry.name.split(":")[0], entry.before, entry.after) == ("upgrade", "demo-web", "1.0", "1.1")
