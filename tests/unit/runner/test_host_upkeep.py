"""Upkeep put together: who waits for what, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from mainstay.inventory.facts import Facts
from mainstay.inventory.probe import PROBE, ProbeGarbled
from mainstay.runner.artifacts.contract import Artifacts
from mainstay.runner.host_upkeep import HostUpkeep
from mainstay.runner.operation import HostWork
from mainstay.runner.plan import Check
from mainstay.runner.probing import gather
from mainstay.runner.shell.contract import Command, Fence, Output
from mainstay.runner.shell.fake import FakeHost, FakeShells, FakeTime

CALM = (Path(__file__).parents[2] / "cases" / "probe" / "debian12.txt").read_bytes()


class Bench:
    def __init__(self) -> None:
        self.time = FakeTime()
        self.host = FakeHost("web1", time=self.time)
        self.probed: Callable[[], bytes] = lambda: CALM
        self.host.on(lambda command: command.stdin == PROBE, lambda host, command: self.probed())
        entry = self.host.host()
        self.said: list[str] = []
        self.work = HostWork(
            run="run1",
            host=entry,
            shell=FakeShells([self.host]).open(entry),
            fence=Fence(number=1, state="s", run="run1"),
            facts=Facts(),
            artifacts=cast(Artifacts, None),
            progress=self.said.append,
        )
        self.upkeep = HostUpkeep(clock=lambda: self.time.now, sleep=self.time.advance)

    def without(self, unit: bytes, until: float) -> None:
        """The host's service is not up before that moment."""
        self.probed = lambda: CALM if self.time.now >= until else CALM.replace(unit, b"gone.mount")


def test_the_probe_is_one_command_without_root_and_without_a_fence() -> None:
    bench = Bench()

    assert bench.upkeep.probe(bench.work.shell).boot_id
    (command,) = bench.host.calls
    assert (command.sudo, command.user, command.fence) == (False, None, None)


def test_a_garbled_answer_names_its_host() -> None:
    bench = Bench()
    bench.host.on("sh -s", lambda host, command: "This account is not available.\n")
    with pytest.raises(ProbeGarbled, match="web1: the host did not run the probe"):
        gather(bench.work.shell)


def test_an_answer_beyond_its_limit_is_garbled_and_not_half_believed() -> None:
    bench = Bench()
    bench.host.on("sh -s", lambda host, command: CALM + b"x" * (2 << 20))
    with pytest.raises(ProbeGarbled, match="bytes too long"):
        gather(bench.work.shell)


def test_a_service_that_comes_back_late_is_waited_for() -> None:
    bench = Bench()
    before = bench.upkeep.probe(bench.work.shell)
    bench.without(b"ssh.service", until=12)

    well = bench.upkeep.until_well(bench.work, [], before)

    assert well.ok
    assert bench.time.now == 12
    assert "waiting for ssh.service" in bench.said


def test_one_that_does_not_come_back_fails_the_host_in_its_time() -> None:
    bench = Bench()
    before = bench.upkeep.probe(bench.work.shell)
    bench.without(b"ssh.service", until=1e9)

    well = bench.upkeep.until_well(bench.work, [], before)

    assert (well.ok, well.detail) == (False, "was up before and is not now: ssh.service")
    assert bench.time.now == bench.upkeep.come_back


def test_a_host_that_is_red_is_not_waited_for_and_says_both() -> None:
    bench = Bench()
    before = bench.upkeep.probe(bench.work.shell)
    bench.without(b"ssh.service", until=1e9)
    bench.host.answer("smoke", "no\n", status=1)

    well = bench.upkeep.until_well(bench.work, [Check(command=("smoke",), retries=0)], before)

    assert well.detail == "smoke: status 1: no; was up before and is not now: ssh.service"
    assert bench.time.now == 0


def test_services_that_can_not_be_listed_any_more_are_not_taken_for_well() -> None:
    bench = Bench()
    before = bench.upkeep.probe(bench.work.shell)
    bench.probed = lambda: CALM.replace(b"\nread\n", b"\n")

    well = bench.upkeep.until_well(bench.work, [], before)

    assert not well.ok
    assert "could not be listed" in well.detail


def test_a_unit_that_failed_meanwhile_is_told() -> None:
    bench = Bench()
    before = bench.upkeep.probe(bench.work.shell)
    bench.probed = lambda: CALM.replace(
        b"dbus.service active running", b"dbus.service active running\nnew.mount failed failed"
    )

    assert bench.upkeep.until_well(bench.work, [], before).ok
    assert bench.work.notes == ["failed since the run began: new.mount"]


def test_stale_code_that_could_not_be_looked_for_is_not_none() -> None:
    bench = Bench()

    def broken(host: FakeHost, command: Command) -> Output:
        return Output(1, b"", b"sh: out of memory\n")

    bench.host.on(lambda command: command.sudo, broken)

    assert bench.upkeep.stale(bench.work) == ("unknown: it could not be found out",)
    need = bench.upkeep.reboot_need(bench.work)
    assert need.needed is None
