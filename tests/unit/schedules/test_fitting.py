"""What a rollout takes, and how much of it an opening has room for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.inventory.host import Host
from mainstay.inventory.limits import Limits
from mainstay.inventory.selectors import parse
from mainstay.runner.plan import PatchPlan, WaveSpec
from mainstay.runner.waves import Candidate, arrange
from mainstay.schedules.fitting import Work, wave_sizes, work_of


def hosts(count: int, **more: object) -> list[Host]:
    return [
        Host(
            name=f"web{n:05}",
            address="10.9.0.1",
            tags={"rack": f"r{n % 4}", "canary": "yes" if n < 2 else "no"},
            **more,
        )
        for n in range(count)
    ]


def matches(selector: str, host: Host) -> bool:
    return parse(selector).matches(host)


def plan(**more: object) -> PatchPlan:
    return PatchPlan.model_validate({"name": "p", "targets": "all", **more})


def specs(*waves: object) -> tuple[WaveSpec, ...]:
    return plan(waves=list(waves)).waves


@pytest.mark.parametrize(
    ("waves", "count", "sizes"),
    [
        ((1, "25%", "100%"), 8, (1, 2, 5)),
        ((1, "100%"), 1, (1,)),
        ((3,), 8, (3, 3, 2)),
        (({"select": "canary=yes"}, "50%"), 8, (2, 4, 2)),
        (({"select": "canary=yes"},), 8, (2, 6)),
        (({"select": "canary=never"}, "100%"), 8, (8,)),
        ((1, "100%"), 0, ()),
    ],
)
def test_waves_are_counted_as_the_run_lays_them_out(
    waves: tuple[object, ...], count: int, sizes: tuple[int, ...]
) -> None:
    fleet = hosts(count)
    assert wave_sizes(specs(*waves), fleet, matches) == sizes
    assert (
        tuple(len(wave.hosts) for wave in arrange([Candidate(h, "") for h in fleet], specs(*waves), matches)) == sizes
    )


@given(
    waves=st.lists(
        st.one_of(
            st.integers(1, 9),
            st.sampled_from(["1%", "33%", "100%"]),
            st.sampled_from([{"select": "canary=yes"}, {"select": "rack=r1"}]),
        ),
        min_size=1,
        max_size=4,
    ),
    count=st.integers(0, 30),
    controller=st.booleans(),
)
def test_any_waves_are_counted_as_the_run_lays_them_out(waves: list[object], count: int, controller: bool) -> None:
    fleet = hosts(count)
    if controller:
        fleet.append(Host(name="aaa", address="10.9.0.2", controller=True))
    laid = arrange([Candidate(host, "") for host in fleet], specs(*waves), matches)
    assert wave_sizes(specs(*waves), fleet, matches) == tuple(len(wave.hosts) for wave in laid)


def test_a_fleet_in_waves_of_one_is_counted_without_laying_it_out() -> None:
    calls = 0

    def counted(selector: str, host: Host) -> bool:
        nonlocal calls
        calls += 1
        return False

    assert wave_sizes(specs({"select": "rack=r1"}, 1), hosts(10_000), counted) == (1,) * 10_000
    assert calls == 10_000


def test_each_wave_is_rounds_of_so_many_at_once() -> None:
    assert Work((1, 2, 5), 5, 60).seconds == 3 * 60
    assert Work((1, 2, 5), 2, 60).seconds == (1 + 1 + 3) * 60
    assert Work((1, 2, 5), 5, 60, soak=600).seconds == 3 * 60 + 2 * 600
    assert Work((), 5, 60).seconds == 0


@pytest.mark.parametrize(
    ("room", "begun"), [(0, 0), (59, 0), (60, 1), (119, 1), (120, 3), (180, 5), (240, 7), (300, 8), (10_000, 8)]
)
def test_what_has_its_turn_grows_round_by_round(room: float, begun: int) -> None:
    work = Work((1, 2, 5), 2, 60)
    assert work.begun_within(room, room) == begun
    assert work.fits(room, room) is (begun == 8)


def test_a_soak_takes_room_between_waves_and_none_at_the_end() -> None:
    work = Work((1, 5), 5, 60, soak=600)
    assert [work.begun_within(room, room) for room in (60, 660, 719, 720)] == [1, 1, 1, 6]


@given(
    waves=st.lists(st.integers(1, 50), max_size=5),
    at_once=st.integers(1, 20),
    pace=st.integers(0, 900),
    soak=st.integers(0, 3600),
    room=st.integers(0, 20_000),
)
def test_all_fit_exactly_where_the_time_suffices(
    waves: list[int], at_once: int, pace: int, soak: int, room: int
) -> None:
    work = Work(tuple(waves), at_once, pace, soak)
    assert work.fits(room, room) is (work.seconds <= room or not waves)
    assert 0 <= work.begun_within(room, room) <= work.begun_within(room + 60, room + 60) <= work.hosts
    assert work.begun_within(room, room + 60) <= work.begun_within(room + 60, room + 60)


@pytest.mark.parametrize(
    ("room", "length", "begun"), [(1, 60, 1), (60, 120, 1), (61, 120, 2), (61, 119, 1), (0, 600, 0)]
)
def test_a_host_begins_before_the_cutoff_and_ends_before_the_end(room: float, length: float, begun: int) -> None:
    assert Work((9,), 1, 60).begun_within(room, length) == begun


def test_limits_of_the_site_and_spread_slow_it_down() -> None:
    fleet = hosts(8)

    def at_once(limits: Limits, **more: object) -> int:
        return work_of(plan(parallel=6, **more), fleet, matches, limits=limits, pace=None, default=60).at_once

    assert at_once(Limits()) == 6
    assert at_once(Limits(parallel=3)) == 3
    assert at_once(Limits(spread={"rack": 1})) == 4
    assert at_once(Limits(), spread={"rack": 1}) == 4


def test_it_is_said_where_the_pace_is_from() -> None:
    fleet = hosts(2)
    told = work_of(plan(), fleet, matches, limits=Limits(), pace=30, default=60)
    assumed = work_of(plan(), fleet, matches, limits=Limits(), pace=None, default=60)
    assert (told.pace, told.told_by) == (30, "history")
    assert (assumed.pace, assumed.told_by) == (60, "default")
