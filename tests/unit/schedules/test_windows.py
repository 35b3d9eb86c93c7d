from collections.abc import Callable
from pathlib import Path

import pytest

from mainstay.inventory.errors import Problem
from mainstay.inventory.site import Site, load_site
from mainstay.schedules.rules.cron import check_cron
from mainstay.schedules.rules.rrule import check_rrule
from mainstay.schedules.windows import Window, load_windows, read_windows

FILE = "schedules/web.yml"
WEEKLY = 'rrule: "FREQ=WEEKLY;BYDAY=TU"'
ReadSite = Callable[[str], Site]


@pytest.fixture
def site(tmp_path: Path) -> ReadSite:
    def _site(schedules: str) -> Site:
        (tmp_path / "mainstay.yml").write_text("site: a\n")
        (tmp_path / "schedules").mkdir(exist_ok=True)
        (tmp_path / FILE).write_text(schedules)
        return load_site(tmp_path)

    return _site


def window(site: ReadSite, text: str) -> tuple[Window | None, list[Problem]]:
    windows, problems = read_windows(site(f"windows:\n  w: {{{text}}}\n"))
    return windows.get("w"), problems


def test_the_window_of_the_design_is_read(site: ReadSite) -> None:
    rule = 'rrule: "FREQ=MONTHLY;BYDAY=2TU", offset_days: 3, start: "02:00", duration: 3h, cutoff: 45m, timezone: Europe/Berlin'
    made = load_windows(site(f"windows:\n  patch-night: {{{rule}}}\n"))["patch-night"]
    assert (made.name, made.source, made.length, made.cutoff) == ("patch-night", f"{FILE}:2", 10800, 2700)


def test_a_start_without_quotes_is_a_time_of_day(site: ReadSite) -> None:
    made, problems = window(site, f"{WEEKLY}, start: 22:30, duration: 1h")
    assert not problems
    assert made
    assert made.start == "22:30"


def test_a_window_may_cross_midnight(site: ReadSite) -> None:
    made, problems = window(site, f"{WEEKLY}, start: 23:00, end: 1:00")
    assert not problems
    assert made
    assert (made.end, made.length) == ("01:00", 7200)


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        (f"{WEEKLY}, start: 22:30, duration: 0", "duration", "more than 0"),
        (f"{WEEKLY}, start: 22:30, duration: 8d", "duration", "at most 604800"),
        (f"{WEEKLY}, start: 22:30, duration: 3", "duration", "no unit"),
        (f"{WEEKLY}, start: 22:30, end: 22:30", None, "the same as start"),
        (f"{WEEKLY}, start: 22:30, duration: 1h, end: 23:00", None, "exactly one of duration and end"),
        (f"{WEEKLY}, start: 22:30", None, "exactly one of duration and end"),
        (f"{WEEKLY}, start: 22:30, duration: 1h, cutoff: 1h", None, "nothing could ever start"),
        (f"{WEEKLY}, duration: 1h", None, "start is missing"),
        (f'{WEEKLY}, start: "25:00", duration: 1h', "start", '"25:00" is no time of day (00:00 to 23:59)'),
        (f"{WEEKLY}, start: 2230, duration: 1h", "start", "no time of day"),
        (f"{WEEKLY}, start: 22:30, duration: 1h, timezone: EST5", "timezone", "no time zone"),
        (f"{WEEKLY}, start: 22:30, duration: 1h, timezone: europe/berlin", "timezone", 'Did you mean "Europe/Berlin"?'),
        (f"{WEEKLY}, start: 22:30, duration: 1h, timezone: localtime", "timezone", "time zone"),
        (f"{WEEKLY}, start: 22:30, duration: 1h, timezone: hots", "timezone", "no time zone"),
        (
            "on: daily, start: 22:30, duration: 30h",
            None,
            "overlaps itself: it opens again after 1 d, and is open for 1 d 6 h.",
        ),
        ("on: weekends, start: 00:00, duration: 2d", None, "it opens again after 1 d, and is open for 2 d"),
        ('cron: "*/15 * * * *", duration: 1h', None, "it opens again after 15 min, and is open for 1 h"),
        ('cron: "0 23,1 * * *", duration: 3h', None, "it opens again after 2 h"),
        ("on: 1st and last day, start: 0:00, duration: 25h", None, "it opens again after 1 d, and is open for 1 d 1 h"),
        # only across the end of a leap year, and only in the years that begin on a Sunday
        ('rrule: "FREQ=YEARLY;BYYEARDAY=1,366", start: 0:00, duration: 2d', None, "it opens again after 1 d"),
        ('rrule: "FREQ=YEARLY;BYDAY=1SU,-1SA", start: 0:00, duration: 2d', None, "it opens again after 1 d"),
        (f"{WEEKLY}, on: daily, start: 22:30, duration: 1h", None, "exactly one of on, rrule and cron"),
        ('cron: "0 2 * * 2", on: daily, start: 22:30, duration: 1h', None, "exactly one of on, rrule and cron"),
        ("on: secnd tuesday, start: 22:30, duration: 1h", "on", 'Did you mean "second"?'),
        ("on: 15, start: 22:30, duration: 1h", "on", "has to be a text, not 15"),
        ("on: daily, duration: 1h", None, "start is missing"),
        (
            'rrule: "FREQ=WEEKLY", start: 22:30, duration: 1h',
            "rrule",
            "does not say on which day. Add for example BYDAY=TU.",
        ),
        ('rrule: "FREQ=DAILY;BYDYA=TU", start: 22:30, duration: 1h', "rrule", 'Did you mean "BYDAY"?'),
        ('rrule: "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", start: 22:30, duration: 1h', "rrule", "never fires"),
        (f"{WEEKLY}, start: 22:30, duraton: 1h", "duraton", 'Did you mean "duration"?'),
        ("start: 22:30, duration: 1h", None, "exactly one of on, rrule and cron"),
        ('cron: "0 2 * * 2", start: 22:30, duration: 1h', None, "cron says the time itself"),
        ('cron: "0 0 31 2 *", duration: 1h', "cron", "never fires"),
        ('rrule: "FREQ=YEARLY;BYMONTH=2,4;BYMONTHDAY=31", start: 22:30, duration: 1h', "rrule", "never fires"),
        ("rrule: daily, start: 22:30, duration: 1h", "rrule", "KEY=VALUE"),
    ],
)
def test_a_fault_in_a_window_is_told_at_its_line_and_key(
    site: ReadSite, text: str, key: str | None, words: str
) -> None:
    made, problems = window(site, text)
    (problem,) = problems
    assert made is None
    assert (problem.file, problem.line) == (FILE, 2)
    assert problem.key == ("windows.w" if key is None else f"windows.w.{key}")
    assert words in str(problem)


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=DAILY",
        "RRULE:FREQ=MONTHLY;BYDAY=2TU",
        "freq=weekly;interval=2;byday=mo,fr",
        "FREQ=MONTHLY;BYMONTHDAY=-1",
        "FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=-1",
    ],
)
def test_rules_that_are_taken(text: str) -> None:
    assert check_rrule(text).startswith("FREQ=")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "FREQ",
        "FREQ=HOURLY",
        "BYDAY=TU",
        "FREQ=WEEKLY;BYDAY=2TU",
        "FREQ=WEEKLY;BYDAY=XX",
        "FREQ=DAILY;FREQ=DAILY",
        "FREQ=DAILY;BYHOUR=2",
        "FREQ=DAILY;COUNT=3",
        "FREQ=DAILY;BYMONTH=13",
        "FREQ=MONTHLY;BYMONTHDAY=0",
        "FREQ=DAILY;INTERVAL=1,2",
        "FREQ=DAILY;WKST=1",
        "FREQ=MONTHLY;BYDAY=0TU",
        "FREQ=DAILY;X=1",
        "FREQ=WEEKLY",
        "FREQ=MONTHLY",
        "FREQ=MONTHLY;BYMONTH=3",
        "FREQ=YEARLY",
        "FREQ=YEARLY;BYWEEKNO=20",
        "FREQ=YEARLY;BYWEEKNO=20;BYDAY=1MO",
        "FREQ=WEEKLY;BYMONTHDAY=3;BYDAY=MO",
        "FREQ=MONTHLY;BYYEARDAY=3",
        "FREQ=DAILY;INTERVAL=7;BYDAY=TU",
        "FREQ=DAILY;BYMONTHDAY=\u0663",
    ],
)
def test_rules_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_rrule(text)


@pytest.mark.parametrize(
    "text", ["0 2 * * 2", "*/15 0-6 1,15 jan-mar mon", "0 0 29 2 *", "0 0 31 2 mon", "30  2 * * 7"]
)
def test_cron_lines_that_are_taken(text: str) -> None:
    assert check_cron(text) == " ".join(text.split())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0 2 * *",
        "@daily",
        "60 2 * * *",
        "0 24 * * *",
        "0 0 0 * *",
        "0 0 31 2 *",
        "0 0 30 feb *",
        "0 5-2 * * *",
        "*/0 * * * *",
        "0 2 * * 8",
        "a b c d e",
        "0 0 31 4,6,9,11 *",
        "*/99999999999999999999 * * * *",
    ],
)
def test_cron_lines_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_cron(text)


def test_a_window_declared_twice_names_both_places(site: ReadSite, tmp_path: Path) -> None:
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules/a.yml").write_text(f"windows:\n  w: {{{WEEKLY}, start: 1:00, duration: 1h}}\n")
    _, problems = window(site, f"{WEEKLY}, start: 22:30, duration: 1h")
    (problem,) = problems
    assert (problem.line, problem.key) == (2, "windows.w")
    assert "first in schedules/a.yml:2" in problem.message


def test_windows_that_touch_themselves_do_not_overlap(site: ReadSite) -> None:
    for text in (
        "on: daily, start: 22:30, duration: 24h",
        'cron: "0 8,20 * * *", duration: 12h',
        "on: saturday, start: 0:00, duration: 7d",
        'cron: "* * * * *", duration: 1m',
    ):
        made, problems = window(site, text)
        assert (problems, bool(made)) == ([], True)


def test_a_window_goes_to_json_and_back() -> None:
    made = Window(name="w", on="Second  Tuesday +3 days", start="2:00", end="5:00", cutoff="45m", timezone="host")
    assert made.on == "second tuesday +3 days"
    assert Window.from_json(made.to_json()) == made
    assert made.starts == Window(rrule="FREQ=MONTHLY;BYDAY=2TU", offset_days=3, start="2:00", duration="1h").starts
