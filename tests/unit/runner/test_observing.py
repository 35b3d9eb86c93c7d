"""A look at every host from time to time: which are due, how many at once, what is remembered, and who does it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host, Ssh
from mainstay.runner.forecasting import HostForecast
from mainstay.runner.observing import PREFIX, Observer, Round, Watched, is_due, observations
from mainstay.runner.operation import Forecast
from mainstay.runner.state.contract import RunRow
from mainstay.runner.state.memory import MemoryState
from mainstay.runner.verdict import Verdict
from mainstay.schedules.store.memory import MemorySchedules

DAY = 86400.0
BEGINNING = datetime(2026, 12, 11, 1, 0, tzinfo=UTC)


class Now:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.moment = BEGINNING

    def now(self) -> datetime:
        return self.moment

    def pass_by(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@dataclass
class Eyes:
    """Looks at hosts that are played, and counts."""

    away: set[str] = field(default_factory=set)
    looks: Counter[str] = field(default_factory=Counter)
    rounds: list[int] = field(default_factory=list)

    def __call__(self, plan: str, hosts: Sequence[Host], parallel: int) -> Mapping[str, HostForecast]:
        assert 1 <= parallel <= 20
        self.looks.update(host.name for host in hosts)
        self.rounds.append(len(hosts))
        return {host.name: self._found(host) for host in hosts}

    def _found(self, host: Host) -> HostForecast:
        if host.name in self.away:
            return HostForecast(host, error="unreachable: no route to host", unreachable=True)
        facts = Facts(
            os_id="debian", os_version="12", arch="amd64", kernel="6.1.0-40", boot_id="b", reboot_required=True
        )
        return HostForecast(host, facts, Forecast(change={}, count=3, reversible=3))


def watched(count: int, plan: str = "patch-web") -> list[Watched]:
    return [Watched(Host(name=f"web{n}", address=f"10.9.{n // 250}.{n % 250}", ssh=Ssh()), plan) for n in range(count)]


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def memory() -> MemorySchedules:
    return MemorySchedules()


def observer(
    eyes: Eyes,
    memory: MemorySchedules,
    now: Now,
    hosts: list[Watched],
    *,
    holder: str = "one",
    state: MemoryState | None = None,
    every: float = DAY,
) -> Observer:
    return Observer(hosts, eyes, memory, state or MemoryState(now), now, every=every, holder=holder)


def test_what_is_seen_is_remembered_and_an_absence_takes_nothing_of_it_away(now: Now, memory: MemorySchedules) -> None:
    eyes = Eyes()
    one = observer(eyes, memory, now, watched(2))
    assert one.round() == Round(looked=2)
    assert one.round() == Round(), "not due before its moment of the next day"
    seen = observations(memory)["web1"]
    assert (seen.at, seen.seen_at, seen.error) == ("2026-12-11T01:00:00.000Z", "2026-12-11T01:00:00.000Z", "")
    assert (seen.cohort, seen.kernel, seen.reboot_required, seen.pending) == ("debian 12 amd64", "6.1.0-40", True, 3)
    eyes.away = {"web1"}
    now.pass_by(DAY)
    assert one.round() == Round(looked=2, failed=1)
    away = observations(memory)["web1"]
    assert (away.at, away.seen_at) == ("2026-12-12T01:00:00.000Z", "2026-12-11T01:00:00.000Z")
    assert (away.unreachable, away.pending, away.error) == (True, 3, "unreachable: no route to host")
    eyes.away = set()
    now.pass_by(DAY)
    one.round()
    back = observations(memory)["web1"]
    assert (back.seen_at, back.error, back.unreachable) == ("2026-12-13T01:00:00.000Z", "", False)


def test_every_host_is_seen_once_a_day_and_they_are_spread_over_it(now: Now, memory: MemorySchedules) -> None:
    """100 hosts, three days, a round every half hour: the first day has all of them to look at once."""
    eyes = Eyes()
    one = observer(eyes, memory, now, watched(100))
    for _ in range(int(DAY / 1800)):
        one.round()
        now.pass_by(1800)
    eyes.looks.clear()
    eyes.rounds.clear()
    for _ in range(int(2 * DAY / 1800)):
        one.round()
        now.pass_by(1800)
    assert set(eyes.looks.values()) == {2} and len(eyes.looks) == 100
    assert max(eyes.rounds) <= 10, "about 2 of them in half an hour, never all together"


def test_a_round_takes_no_more_than_it_can_and_the_rest_comes_next(now: Now, memory: MemorySchedules) -> None:
    eyes = Eyes()
    one = observer(eyes, memory, now, watched(100))
    assert [one.round() for _ in range(4)] == [
        Round(looked=40, waiting=60),
        Round(looked=40, waiting=20),
        Round(looked=20),
        Round(),
    ]
    many = observer(Eyes(), MemorySchedules(), now, watched(10_000), every=3600)
    assert many.round().looked == 334, "twice 10,000 an hour, in rounds of a minute"


def test_one_of_two_has_the_duty_and_the_other_takes_it_when_the_first_is_gone(
    now: Now, memory: MemorySchedules
) -> None:
    first, second = Eyes(), Eyes()
    one = observer(first, memory, now, watched(50), holder="one")
    two = observer(second, memory, now, watched(50), holder="two")
    assert one.round() == Round(looked=40, waiting=10)
    assert two.round() == Round()
    now.pass_by(600)
    assert one.round().looked >= 10
    now.pass_by(DAY)
    assert two.round().looked == 40
    assert one.round() == Round()
    assert not second.looks - Counter(f"web{n}" for n in range(50))


def test_a_host_that_a_run_works_on_is_left_alone(now: Now, memory: MemorySchedules) -> None:
    state, eyes = MemoryState(now), Eyes()
    row = RunRow(id="R1", kind="patch", plan="p", state="running", request={}, started_at="2026-12-11T00:00:00Z")
    state.add_run(row)
    for name in ("web0", "web1"):
        state.note_step("R1", name, "apply", "")
    state.note_outcome("R1", "web1", Verdict.SUCCEEDED)
    one = observer(eyes, memory, now, watched(3), state=state)
    one.round()
    assert eyes.looks == Counter({"web1": 1, "web2": 1})
    state.set_run("R1", state="ended", ended_at="2026-12-11T01:00:00Z")
    one.round()
    assert eyes.looks["web0"] == 1


def test_what_cannot_be_read_is_looked_at_anew(now: Now, memory: MemorySchedules) -> None:
    memory.set_mark(f"{PREFIX}web0", json.dumps({"at": "2026-12-11T01:00:00.000Z", "of_a_later_version": 1}))
    memory.set_mark(f"{PREFIX}web1", "no JSON")
    one = observer(Eyes(), memory, now, watched(2))
    assert one.round().looked == 2


def test_a_clock_that_was_set_back_keeps_nobody_waiting() -> None:
    tomorrow = "2026-12-12T01:00:00.000Z"
    assert is_due("web1", tomorrow, BEGINNING, DAY)
    assert is_due("web1", None, BEGINNING, DAY)
