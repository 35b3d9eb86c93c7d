"""From values to text: tables that line up, durations and ages as people say them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.console import clean
from mainstay.console.render import packages, sources, times
from mainstay.console.render.look import Look
from mainstay.console.render.spans import ansi, line, plain, span, verdict
from mainstay.console.render.table import Cell, table
from mainstay.runner.operation import Forecast
from mainstay.runner.verdict import Verdict

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("seconds", "clock", "about"),
    [
        (None, "–", "–"),
        (0, "0:00", "0 s"),
        (41.4, "0:41", "41 s"),
        (118, "1:58", "2 min"),
        (1260, "21:00", "21 min"),
        (8100, "2:15:00", "2 h 15 min"),
        (7200, "2:00:00", "2 h"),
        (90000, "25:00:00", "25 h"),
        (86400 * 12, "288:00:00", "12 d"),
    ],
)
def test_durations(seconds: float | None, clock: str, about: str) -> None:
    assert times.clock(seconds) == clock
    assert times.about(seconds) == about


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-12-11T01:00:00Z", "Fri 2026-12-11 02:00 CET"),
        ("2026-12-11T01:00:00.123Z", "Fri 2026-12-11 02:00 CET"),
        ("2026-07-01T00:30:00+00:00", "Wed 2026-07-01 02:30 CEST"),
        ("2026-10-25T01:30:00Z", "Sun 2026-10-25 02:30 CET"),
        ("2026-10-25T00:30:00Z", "Sun 2026-10-25 02:30 CEST"),
        (None, "–"),
        ("", "–"),
        ("soon", "soon"),
    ],
)
def test_moments_in_the_sites_zone_with_weekday(text: str | None, expected: str) -> None:
    assert times.local(text, BERLIN) == expected


def test_times_for_programs_are_utc_with_z() -> None:
    assert times.rfc3339(datetime(2026, 12, 11, 2, tzinfo=BERLIN)) == "2026-12-11T01:00:00Z"
    assert times.age("2026-12-11T01:00:00Z", datetime(2026, 12, 11, 1, 0, 30, tzinfo=UTC)) == 30
    assert times.age("2099-01-01T00:00:00Z", datetime(2026, 1, 1, tzinfo=UTC)) == 0
    assert times.age("nonsense", datetime(2026, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "–"), (0, "0 B"), (999, "999 B"), (1648, "1.6 kB"), (64_400_000, "64.4 MB"), (5 * 10**12, "5.0 TB")],
)
def test_sizes(count: int | None, text: str) -> None:
    assert times.size(count) == text


def test_a_long_cell_wraps_under_itself() -> None:
    rows: list[list[Cell]] = [
        ["web1", verdict("failed"), "one two three four five six seven eight nine ten eleven twelve"],
        ["db", None, 7],
    ]
    assert plain(table(rows, head=("host", "", "why"), columns=44)) == (
        "  host            why\n"
        "  web1   failed   one two three four five\n"
        "                  six seven eight nine ten\n"
        "                  eleven twelve\n"
        "  db     –        7\n"
    )


def test_numbers_stand_to_the_right_and_wide_characters_count() -> None:
    text = plain(table([["日本", 5, "x"], ["web", 120, "y"]], right=frozenset({1}), columns=80))
    assert text == "  日本     5   x\n  web    120   y\n"


def test_no_rows_no_head() -> None:
    assert table([], head=("a", "b")) == []


words = st.sampled_from(
    ["web1", "–", "日本語", "x" * 12, "x" * 70, "libssl3", "e\u0301", "(1.2-3)", "語" * 40, "=>", "a:b"]
)
cells = st.lists(words, min_size=1, max_size=25).map(" ".join)
names = st.sampled_from(["web1", "db-primary.example.org", "日本"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(names, cells, cells), min_size=1, max_size=4), st.integers(80, 120))
def test_no_word_is_lost_and_no_line_is_too_wide(rows: list[tuple[str, str, str]], columns: int) -> None:
    text = plain(table(rows, columns=columns))
    shown = "".join(text.split())
    assert sorted(shown) == sorted("".join("".join(clean.line(cell) for row in rows for cell in row).split()))
    assert all(clean.width(row) <= columns for row in text.splitlines())


@pytest.mark.parametrize("word", list(Verdict))
def test_every_verdict_has_a_colour_and_reads_the_same_without(word: Verdict) -> None:
    row = [line(span("web1 "), verdict(word))]
    assert plain(row) == f"web1 {word}\n"
    assert ansi(row).replace("\x1b[0m", "").endswith(f"m{word}\n")


def test_changes_are_merged_over_hosts() -> None:
    merged = packages.merge(
        {
            "web1": [("openssl", "1", "2"), ("perl", "5", "6"), ("new", "", "1")],
            "web2": [("openssl", "1", "2"), ("perl", "4", "6"), ("old", "1", "")],
        }
    )
    assert [(str(entry.change), entry.hosts) for entry in merged] == [
        ("openssl 1 → 2", ("web1", "web2")),
        ("new 1 (new)", ("web1",)),
        ("old 1 (removed)", ("web2",)),
        ("perl 4 → 6", ("web2",)),
        ("perl 5 → 6", ("web1",)),
    ]
    text = plain(packages.summary(merged, 100))
    assert text == "  openssl 1 → 2 (2 hosts) · new 1 (new) (1 host) · old 1 (removed) (1 host) · 2 more (--all)\n"


def test_what_changed_on_a_host() -> None:
    before = {"packages": {"a": "1", "b": "1", "c": "1"}}
    after = {"packages": {"a": "2", "b": "1", "d": "1"}}
    assert [str(one) for one in packages.changed(before, after)] == ["a 1 → 2", "c 1 (removed)", "d 1 (new)"]
    assert packages.few([]) == "nothing to do"
    assert packages.few(packages.changed({}, {})) == "nothing to do"
    assert packages.few(packages.changed(before, after)) == "3 updated"


def test_what_is_to_be_known_of_many_hosts_of_a_backup_is_said_once() -> None:
    def look(name: str, refused: str = "") -> Look:
        notes = ("sends the controller's restic",)
        items = (("etc", "", "restic to main"),)
        return Look(
            name, Forecast(change={}, count=1, reversible=0, reboot="no", items=items, refused=refused, notes=notes)
        )

    looks = [look(f"web{number}") for number in range(1, 8)]
    out = plain(sources.hosts([*looks, look("db1", "there is no repository main yet"), Look("db2", error="away")], 100))
    assert out.splitlines()[-3:] == [
        "  ! db1: would be refused: there is no repository main yet",
        "  ! db2: away",
        "  · web1, web2, web3, web4, web5 and 3 more: sends the controller's restic",
    ]
