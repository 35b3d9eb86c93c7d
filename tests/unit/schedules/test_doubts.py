"""What `check` says of windows that are right and may not be what was meant."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from mainstay.schedules.check import check_site

NOW = datetime(2026, 11, 22, tzinfo=UTC)
RULE = "A local time that the clocks skip is the moment of their change."


def said(root: Path, window: str, *, host: str = "{}", main: str = "Europe/Berlin") -> list[str]:
    files = {
        "mainstay.yml": f"site: a\ntimezone: {main}\nssh: {{key: file:{root}/key}}\n",
        "inventory/hosts.yml": f"hosts: {{web1: {host}}}\n",
        "schedules/web.yml": f"windows:\n  w: {{{window}}}\nplans: {{p: {{targets: all, window: w}}}}\n",
    }
    (root / "key").touch(0o600)
    for name, content in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(content)
    _, errors, warnings = check_site(root, now=NOW)
    assert not errors
    return [f"{problem.file}:{problem.line}:{problem.key}: {problem.message} {problem.hint}" for problem in warnings]


NIGHT = "does not exist in Europe/Berlin on Sun 2027-03-28, when the clocks go forward"
OPENS = f"{NIGHT}: it opens at 03:00 then."
ENDS = f"{NIGHT}: it ends at 03:00 then, the same moment."


@pytest.mark.parametrize(
    ("window", "key", "words"),
    [
        ("on: daily, start: 02:30, end: 03:30", "start", f"02:30 {OPENS}"),
        ("on: sunday, start: 01:00, end: 02:30", "end", f"02:30 {ENDS}"),
        ("on: last sunday of march, start: 02:00, duration: 1h", "start", f"02:00 {OPENS}"),
        ("on: friday +2 days, start: 02:59, duration: 1h", "start", f"02:59 {OPENS}"),
        ('cron: "30 2 * * *", duration: 1h', "cron", f"02:30 {OPENS}"),
        ("on: saturday, start: 23:30, end: 02:30", "end", f"02:30 {ENDS}"),
    ],
)
def test_a_window_in_the_hour_that_is_skipped_is_told_with_the_rule(
    tmp_path: Path, window: str, key: str, words: str
) -> None:
    assert said(tmp_path, window) == [f"schedules/web.yml:2:windows.w.{key}: {words} {RULE}"]


@pytest.mark.parametrize(
    "window",
    [
        "on: friday, start: 02:30, end: 03:30",
        "on: second tuesday +3 days, start: 02:00, duration: 3h",
        "on: daily, start: 03:00, end: 04:00",
        "on: daily, start: 01:00, end: 04:00",
        "on: daily, start: 01:00, duration: 90m",
        "on: daily, start: 02:30, duration: 1h, timezone: UTC",
        'cron: "*/15 * * * *", duration: 10m',
    ],
)
def test_where_the_clocks_never_skip_it_nothing_is_said(tmp_path: Path, window: str) -> None:
    assert said(tmp_path, window) == []


def test_the_zones_of_hosts_are_looked_at_where_it_opens_by_them(tmp_path: Path) -> None:
    window = "on: daily, start: 02:15, end: 02:30, timezone: host"
    (told,) = said(tmp_path, window, host="{timezone: Australia/Lord_Howe}", main="UTC")
    assert "02:15 does not exist in Australia/Lord_Howe on Sun 2027-10-03" in told
    (told,) = said(tmp_path, window, main="UTC")
    assert told.startswith("schedules/web.yml:2:windows.w.timezone: no host says its timezone")
    assert "the site's, UTC" in told


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("Etc/GMT+5", "is 5 h behind UTC: the sign is the other way round"),
        ("Etc/GMT-14", "is 14 h ahead of UTC"),
        ("EST5EDT", "Write a place, for example America/New_York."),
        ("EST", "Write a place, for example America/New_York."),
    ],
)
def test_a_zone_that_is_taken_for_something_else(tmp_path: Path, zone: str, words: str) -> None:
    (told,) = said(tmp_path, f"on: friday, start: 12:00, duration: 1h, timezone: {zone}")
    assert told.startswith("schedules/web.yml:2:windows.w.timezone: ")
    assert words in told
    (told,) = said(tmp_path, "on: friday, start: 12:00, duration: 1h", main=zone)
    assert told.startswith("mainstay.yml:2:timezone: ")
    assert words in told


def test_a_window_that_opens_long_from_now(tmp_path: Path) -> None:
    assert said(tmp_path, "on: 29th of february, offset_days: -366, start: 12:00, duration: 1h") == []
    rule = 'rrule: "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO", start: 12:00, duration: 1h'
    (told,) = said(tmp_path, rule)
    assert told.startswith("schedules/web.yml:2:windows.w: opens next in 2044.")
