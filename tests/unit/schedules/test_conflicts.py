"""What is right line by line and can't go well together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mainstay.inventory.host import Host
from mainstay.inventory.selectors import parse
from mainstay.runner.plan import PatchPlan
from mainstay.schedules.calendars.keeping import Calendars
from mainstay.schedules.calendars.memory import MemoryShelf, ToldFetcher
from mainstay.schedules.check import load_checked
from mainstay.schedules.conflicts import AHEAD, MOST_PAIRS, MOST_TOLD, Look, conflicts, first_overlap
from mainstay.schedules.fitting import Work, work_of
from mainstay.schedules.freezes import Freezes
from mainstay.schedules.frost import Frost
from mainstay.schedules.openings import Opening
from mainstay.schedules.outlook import Line, Standing, lines_of, openings_between
from mainstay.schedules.windows import Window

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MAIN = "site: acme\ntimezone: Europe/Berlin\n"
HOSTS = (
    "hosts:\n"
    + "".join(f"  web{n}: {{address: 10.9.0.{n}, tags: {{role: web}}}}\n" for n in range(1, 7))
    + "".join(f"  db{n}: {{address: 10.9.1.{n}, tags: {{role: db}}}}\n" for n in range(1, 4))
)
NIGHT = '{rrule: "FREQ=DAILY", start: 02:00, duration: 3h, cutoff: 45m}'


def site(root: Path, schedules: str) -> Path:
    for name, text in {"mainstay.yml": MAIN, "inventory/hosts.yml": HOSTS, "schedules/web.yml": schedules}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def look(
    root: Path,
    *,
    now: datetime = NOW,
    held: Callable[[Line, Opening], Standing | None] = lambda line, opening: None,
    pace: float | None = None,
    default: float = 60,
    notified: bool = True,
) -> Look:
    loaded = load_checked(root)
    matches = lambda selector, host: parse(selector).matches(host)  # noqa: E731
    by_name = {host.name: host for host in loaded.site.hosts}

    def work(line: Line) -> Work:
        hosts: list[Host] = [by_name[name] for name in line.hosts]
        return work_of(line.plan, hosts, matches, limits=loaded.site.limits, pace=pace, default=default)

    return Look(
        site=loaded.site,
        plans=loaded.plans,
        windows=loaded.windows,
        lines=lines_of(loaded),
        openings=openings_between,
        now=now,
        held=held,
        work=work,
        notified=lambda plan: notified,
    )


def told(root: Path, schedules: str, **more: object) -> list[str]:
    found = conflicts(look(site(root, schedules), **more))  # type: ignore[arg-type]  # what look takes
    assert all(one.file == "schedules/web.yml" and one.line and one.key for one in found)
    return [str(one) for one in found]


def two(one: str, two: str, a: str = "role=web", b: str = "all", more: str = "") -> str:
    windows = f"windows:\n  one: {one}\n  two: {two}\n"
    return windows + f"plans:\n  a: {{targets: {a}, window: one}}\n  b: {{targets: {b}, window: two{more}}}\n"


def test_a_site_without_conflicts_is_told_nothing(tmp_path: Path) -> None:
    later = '{rrule: "FREQ=DAILY", start: 05:00, duration: 3h}'
    assert told(tmp_path, two(NIGHT, later)) == []
    assert told(tmp_path, two(NIGHT, NIGHT, b="role=db")) == [], "different hosts at the same time"


def test_two_plans_for_one_host_at_once_are_told_once_with_the_first_night(tmp_path: Path) -> None:
    monthly = '{rrule: "FREQ=MONTHLY;BYDAY=2TU", offset_days: 3, start: 04:00, duration: 2h}'
    (text,) = told(tmp_path, two(NIGHT, monthly))
    assert text.startswith("schedules/web.yml:6:")
    assert "plans.b.window: is open together with the plan a on web1, web2, web3 and 3 more" in text
    assert "first on Fri 2026-12-11 at 04:00 CET" in text


def test_windows_in_other_zones_are_compared_as_instants(tmp_path: Path) -> None:
    tokyo = '{rrule: "FREQ=DAILY", start: "10:30", duration: 1h, timezone: Asia/Tokyo}'  # 02:30 in Berlin
    (text,) = told(tmp_path, two(NIGHT, tokyo))
    assert "first on Mon 2026-11-23 at 10:30 JST" in text
    assert told(tmp_path, two(NIGHT, tokyo.replace("10:30", "02:30"))) == []


def test_the_same_plan_does_not_conflict_with_itself(tmp_path: Path) -> None:
    text = f"windows:\n  one: {NIGHT}\n  two: {NIGHT}\nplans:\n  a: {{targets: all, window: [one, two]}}\n"
    assert told(tmp_path, text) == []


def test_a_window_that_ends_as_another_begins_does_not_overlap(tmp_path: Path) -> None:
    assert told(tmp_path, two(NIGHT, '{rrule: "FREQ=DAILY", start: 05:00, duration: 1h}')) == []
    assert len(told(tmp_path, two(NIGHT, '{rrule: "FREQ=DAILY", start: 04:59, duration: 1h}'))) == 1


def test_a_window_that_no_plan_uses_is_told(tmp_path: Path) -> None:
    (text,) = told(tmp_path, f"windows:\n  spare: {NIGHT}\nplans:\n  a: {{targets: all}}\n")
    assert text.startswith("schedules/web.yml:2:3  windows.spare: no plan uses this window.")


def test_waves_that_do_not_fit_say_how_many_hosts_do(tmp_path: Path) -> None:
    text = f"windows:\n  one: {NIGHT}\nplans:\n  a: {{targets: all, window: one, waves: [1, 4, 100%], parallel: 2}}\n"
    assert told(tmp_path, text, default=33 * 60) == [], "the last of five rounds begins after 2 h 12 min"
    (one,) = told(tmp_path, text, default=34 * 60)
    assert "plans.a.window: does not fit: 7 of 9 hosts have their turn in the 2 h 15 min" in one
    assert "34 min a host if it takes no longer, 2 at once" in one
    (one,) = told(tmp_path, text, pace=3600)
    assert "5 of 9 hosts" in one, "the third round begins after 2 h, and ends with the window"
    assert "as in earlier runs" in one


def test_a_soak_that_is_longer_than_the_window_is_told(tmp_path: Path) -> None:
    text = f"windows:\n  one: {NIGHT}\nplans:\n  a: {{targets: all, window: one, soak: 24h}}\n"
    (one,) = told(tmp_path, text)
    assert "1 of 9 hosts have their turn" in one
    assert "soak: 24 h between 2 waves" in one


def test_a_night_whose_cutoff_eats_it_up_is_told(tmp_path: Path) -> None:
    short = '{rrule: "FREQ=DAILY", start: 01:30, end: 03:30, cutoff: 65m}'
    (text,) = told(tmp_path, f"windows:\n  one: {short}\nplans:\n  a: {{targets: db1, window: one}}\n")
    assert "windows.one.cutoff: nothing can start on Sun 2027-03-28 at 01:30 CET: it is open for 60 min" in text


def test_a_plan_that_every_opening_is_held_for_never_runs(tmp_path: Path) -> None:
    text = f"windows:\n  one: {NIGHT}\nplans:\n  a: {{targets: all, window: one}}\n"
    frozen = lambda line, opening: Standing("frozen", "year-end")  # noqa: E731
    (one,) = told(tmp_path, text, held=frozen)
    assert "plans.a.window: never runs: each of its 366 openings of the next 12 months is held" in one
    assert "frozen: year-end" in one

    def but_one(line: Line, opening: Opening) -> Standing | None:
        last = opening.starts_at > NOW + AHEAD - timedelta(days=2)
        return None if last else Standing("frozen", "year-end")

    assert told(tmp_path, text, held=but_one) == []


@pytest.mark.parametrize(
    ("start", "now"),
    [
        pytest.param("02:00", datetime(2026, 11, 22, 3, 30, tzinfo=UTC), id="open, and past its cutoff"),
        pytest.param("01:30", NOW, id="eaten by its cutoff where the clocks change"),
    ],
)
def test_an_opening_in_which_nothing_may_start_is_none_that_is_free(tmp_path: Path, start: str, now: datetime) -> None:
    """Such a one is not frozen either: a freeze keeps work from starting, and here there is none that it could keep."""
    night = f'{{rrule: "FREQ=DAILY", start: "{start}", end: "05:00", cutoff: 2h 30m}}'
    frozen = "freezes:\n  - {name: for good, dates: 2020-01-01/2099-12-31}\n"
    root = site(tmp_path, f"windows:\n  one: {night}\n{frozen}plans:\n  a: {{targets: all, window: one}}\n")
    loaded = load_checked(root)
    none = Calendars(root, ZoneInfo(loaded.site.timezone), MemoryShelf(), ToldFetcher({}), lambda: now)
    held = Frost(loaded, Freezes(loaded.freezes, loaded.site, loaded.plans, none), now).held
    assert any("plans.a.window: never runs" in str(one) for one in conflicts(look(root, now=now, held=held)))


LATE = "plans:\n  a: {{targets: all, window: {0}, missed: 'run-if-late: {1}'}}\n"


@pytest.mark.parametrize(
    ("second", "limit", "told_of"),
    [
        (None, "6h", True),
        ("12:00", "6h", True),
        ("12:00", "8h 59m", True),  # 9 h on the night on which the clocks go forward
        ("12:00", "9h 1m", False),
        ("12:00", "11h", False),
        ("05:00", "4h", False),
        ("05:00", "2h", True),  # the first is still open then
    ],
)
def test_running_late_needs_another_window_that_is_open_in_time(
    tmp_path: Path, second: str | None, limit: str, told_of: bool
) -> None:
    text = f"windows:\n  one: {NIGHT}\n"
    if second:
        text += f'  two: {{rrule: "FREQ=DAILY", start: "{second}", duration: 2h}}\n'
    found = told(tmp_path, text + LATE.format("[one, two]" if second else "one", limit))
    assert [("plans.a.missed: nothing can ever run late" in one) for one in found] == ([True] if told_of else [])


def test_an_approval_of_which_nobody_hears_is_told(tmp_path: Path) -> None:
    text = f"windows:\n  one: {NIGHT}\nplans:\n  a: {{targets: all, window: one, approval: required}}\n"
    (one,) = told(tmp_path, text, notified=False)
    assert "plans.a.approval: nobody is told" in one
    assert told(tmp_path, text, notified=True) == []


def test_first_overlap_walks_both_lists_once() -> None:
    class Counted(list[Opening]):
        reads = 0

        def __getitem__(self, index):  # type: ignore[no-untyped-def]  # counts, and is the list's own
            self.reads += 1
            return super().__getitem__(index)

    def every(hours: float, offset: float, count: int) -> Counted:
        starts = [NOW + timedelta(hours=offset + hours * n) for n in range(count)]
        return Counted(Opening("w", at, at + timedelta(hours=1), at + timedelta(hours=1), "UTC") for at in starts)

    one, other = every(4, 0, 1000), every(4, 2, 1000)
    assert first_overlap(one, other) is None
    assert one.reads + other.reads < 10_000
    found = first_overlap(every(4, 0, 9), every(4, 0.5, 9))
    assert found is not None
    assert found.starts_at == NOW + timedelta(hours=0.5)


def fleet_look(plans: int, hosts: int, openings: Callable[..., Iterable[Opening]], site_of: Path) -> Look:
    names = [f"h{n}" for n in range(hosts)]
    loaded = load_checked(site(site_of, f"windows:\n  one: {NIGHT}\nplans:\n  a: {{targets: all, window: one}}\n"))
    made = {f"p{n}": PatchPlan(name=f"p{n}", targets="all", window=("one",)) for n in range(plans)}
    lines = [Line(f"{name}/one", plan, loaded.windows["one"], "UTC", names) for name, plan in made.items()]
    return Look(loaded.site, made, loaded.windows, lines, openings, NOW)


@pytest.mark.thorough
def test_ten_thousand_hosts_in_twenty_plans_are_compared_as_sets(tmp_path: Path) -> None:
    asked: list[str] = []

    @cache
    def openings(window: Window, zone: str, since: datetime, until: datetime) -> list[Opening]:
        return list(openings_between(window, zone, since, until))

    def counted(window: Window, zone: str, since: datetime, until: datetime) -> Sequence[Opening]:
        asked.append(window.name)
        return openings(window, zone, since, until)

    found = fleet_look(20, 10_000, counted, tmp_path)
    conflicts(found)
    assert asked == ["one"], "of one window the openings are computed once, whatever the plans and hosts"


@pytest.mark.parametrize("plans", [70])
def test_very_many_plans_for_the_same_hosts_are_not_all_compared_and_that_is_told(tmp_path: Path, plans: int) -> None:
    assert plans * (plans - 1) / 2 > MOST_PAIRS
    found = conflicts(fleet_look(plans, 3, openings_between, tmp_path))
    assert any("was not looked at" in one.message for one in found)


def test_very_many_pairs_are_told_one_by_one_up_to_a_number(tmp_path: Path) -> None:
    plans = "".join(f"  p{n:02}: {{targets: all, window: one}}\n" for n in range(12))
    found = conflicts(look(site(tmp_path, f"windows:\n  one: {NIGHT}\nplans:\n{plans}")))
    assert sum("is open together" in one.message for one in found) == MOST_TOLD
    assert [one.message for one in found if "more pairs" in one.message] == [
        f"{12 * 11 // 2 - MOST_TOLD} more pairs of plans are open together on hosts that they share."
    ]
