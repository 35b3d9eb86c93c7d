"""What comes, in order, with what is known of it: openings, freezes and runs are given, so that only the laying out is tested."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from mainstay.runner.plan import PatchPlan
from mainstay.schedules.fitting import Work
from mainstay.schedules.openings import Opening
from mainstay.schedules.outlook import Coming, Line, Outlook, Standing
from mainstay.schedules.windows import Window

NOW = datetime(2026, 12, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def window(name: str) -> Window:
    return Window(name=name, rrule="FREQ=DAILY", start="02:00", duration="3h", cutoff="45m")


def plan(name: str, **more: object) -> PatchPlan:
    return PatchPlan.model_validate({"name": name, "targets": "all", **more})


def opening(at: datetime, of: str = "night", hours: float = 3, cutoff: float = 0.75, remark: str = "") -> Opening:
    end = at + hours * HOUR
    return Opening(of, at, end, end - cutoff * HOUR, "UTC", remark)


def line(name: str, of: str = "night", hosts: tuple[str, ...] = ("web1", "web2"), zone: str = "UTC") -> Line:
    return Line(f"{name}/{of}", plan(name), window(of), zone, hosts)


class Nights:
    """Every night at the hour that the window's name ends with; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.made = 0

    def __call__(self, of: Window, zone: str, since: datetime, until: datetime) -> Iterator[Opening]:
        self.asked.append((of.name, zone))
        at = since.replace(hour=int(of.name[-1:]) if of.name[-1:].isdigit() else 2, minute=0) - timedelta(days=1)
        while at < until:
            if at + 3 * HOUR > since:
                self.made += 1
                yield opening(at, of.name)
            at += timedelta(days=1)


def run_id(schedule: str, at: datetime) -> str:
    return f"{schedule}@{at:%d%H}"


def comings(outlook: Outlook, days: int = 3) -> list[Coming]:
    return list(outlook.coming(NOW, NOW + timedelta(days=days)))


def test_all_schedules_come_in_the_order_of_time_and_each_once() -> None:
    lines = [line("b", "at4"), line("a", "at2"), line("c", "at2")]
    found = comings(Outlook(lines, Nights(), run_id), 2)
    assert [(one.line.plan.name, one.opening.starts_at.day, one.opening.starts_at.hour) for one in found] == [
        ("a", 11, 2),
        ("c", 11, 2),
        ("b", 11, 4),
        ("a", 12, 2),
        ("c", 12, 2),
        ("b", 12, 4),
    ]
    assert found[0].run == "a/at2@1102"


def test_the_openings_of_a_window_are_computed_once_for_all_its_plans() -> None:
    nights = Nights()
    found = comings(Outlook([line(f"p{n}") for n in range(50)], nights, run_id))
    assert len(found) == 150
    assert (nights.asked, nights.made) == ([("night", "UTC")], 3)


def test_of_several_zones_each_has_its_own_openings() -> None:
    nights = Nights()
    comings(Outlook([line("a", zone="Asia/Tokyo"), line("a", zone="UTC")], nights, run_id))
    assert sorted(nights.asked) == [("night", "Asia/Tokyo"), ("night", "UTC")]


def test_the_first_judge_that_says_something_is_right() -> None:
    frozen = lambda line, opening, run: (  # noqa: E731 - one use
        Standing("frozen", "year-end") if opening.starts_at.day == 11 else None
    )
    late = lambda line, opening, run: Standing("waiting-for-approval", "nobody")  # noqa: E731
    found = comings(Outlook([line("a")], Nights(), run_id, judges=(frozen, late)), 2)
    assert [(one.state, one.reason) for one in found] == [("frozen", "year-end"), ("waiting-for-approval", "nobody")]


def test_what_has_ended_does_not_come_any_more() -> None:
    ended = lambda line, opening, run: Standing("ended") if opening.starts_at.day == 11 else None  # noqa: E731
    found = comings(Outlook([line("a")], Nights(), run_id, judges=(ended,)), 2)
    assert [one.opening.starts_at.day for one in found] == [12]


def test_an_opening_is_open_until_its_cutoff_alone() -> None:
    def state(ago: timedelta) -> str:
        began = Outlook([line("a")], lambda window, zone, since, until: [opening(NOW - ago)], run_id)
        return next(began.coming(NOW, NOW + HOUR)).state

    states = [state(ago) for ago in (timedelta(0), 2.2 * HOUR, 2.25 * HOUR)]
    assert states == ["open", "open", "scheduled"]


def test_carried_hosts_go_with_the_first_occurrence_that_is_not_held() -> None:
    frozen = lambda line, opening, run: Standing("frozen") if opening.starts_at.day == 11 else None  # noqa: E731
    carried = {"a": ["web2", "gone", "web1"]}
    found = comings(Outlook([line("a")], Nights(), run_id, judges=(frozen,), carried=carried))
    assert [one.carried for one in found] == [(), ("web2", "web1"), ()]


def test_carried_hosts_go_with_the_zone_that_they_are_in() -> None:
    one, two = line("a", hosts=("web1",)), line("a", "at4", hosts=("web2",))
    found = comings(Outlook([one, two], Nights(), run_id, carried={"a": ["web2", "web1"]}), 1)
    assert [coming.carried for coming in found] == [("web1",), ("web2",)]


def test_what_was_asked_for_by_hand_comes_in_its_place() -> None:
    first = opening(NOW + 14 * HOUR)
    asked = [(line("a"), first, "01HAND", Standing("queued", "asked for by anna"))]
    found = comings(Outlook([line("a")], Nights(), run_id, asked=asked), 1)
    assert [(one.run, one.state) for one in found] == [("01HAND", "queued"), ("a/night@1102", "scheduled")]


def test_what_is_too_long_has_no_end_that_could_be_told() -> None:
    short, long = Work((2,), 1, 600), Work((20,), 1, 600)
    for plan_of, fits in ((line("a"), True), (line("b"), False)):
        work = {"a": short, "b": long}
        (found,) = comings(Outlook([plan_of], Nights(), run_id, work=lambda line: work[line.plan.name]), 1)  # noqa: B023
        assert found.fits is fits
        assert found.predicted_end == (found.opening.starts_at + timedelta(minutes=20) if fits else None)
        assert (found.room, found.length) == (2.25 * 3600, 3 * 3600)


def test_nothing_is_reckoned_for_what_is_held() -> None:
    frozen = lambda line, opening, run: Standing("frozen")  # noqa: E731

    def work(line: Line) -> Work:
        raise AssertionError("asked for no reason")

    (found,) = comings(Outlook([line("a")], Nights(), run_id, judges=(frozen,), work=work), 1)
    assert found.fits is None


def test_an_occurrence_is_judged_when_it_is_asked_for_and_not_before() -> None:
    judged = []
    nights = Nights()
    outlook = Outlook([line("a")], nights, run_id, judges=(lambda line, opening, run: judged.append(run),))
    coming = outlook.coming(NOW, NOW + timedelta(days=300))
    next(coming)
    assert len(judged) == 1
    assert nights.made < 3


@pytest.mark.parametrize(("since", "count"), [(0, 3), (13.9, 3), (17.1, 2)])
def test_an_opening_counts_until_it_has_ended(since: float, count: int) -> None:
    start = NOW + since * HOUR
    found = list(Outlook([line("a")], Nights(), run_id).coming(start, NOW + timedelta(days=3)))
    assert len(found) == count
