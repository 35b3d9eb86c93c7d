"""Calendars that are fetched, kept and believed for a while; and files that change."""

from __future__ import annotations

import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mainstay.schedules.calendars.adapters.files import FileShelf
from mainstay.schedules.calendars.contract import CalendarFault, CalendarSource, Fetched, Kept, Shelf
from mainstay.schedules.calendars.keeping import EVERY, LONGEST_PAUSE, UNSERVED, Calendars
from mainstay.schedules.calendars.memory import MemoryShelf, ToldFetcher

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
URL = "https://cal.example/c.ics"
SOURCE = CalendarSource("ops", URL, max_age=7 * 86400.0)
DAY = timedelta(days=1)


def ics(*days: str) -> bytes:
    events = "".join(f"BEGIN:VEVENT\r\nDTSTART;VALUE=DATE:{day}\r\nSUMMARY:{day}\r\nEND:VEVENT\r\n" for day in days)
    return f"BEGIN:VCALENDAR\r\n{events}END:VCALENDAR\r\n".encode()


class World:
    """A clock that the test turns, and what the server says."""

    def __init__(self, root: Path, shelf: Shelf | None = None, *answers: bytes | CalendarFault) -> None:
        self.now = NOW
        self.root = root
        self.shelf = shelf or MemoryShelf()
        self.fetcher = ToldFetcher({URL: list(answers)})
        self.calendars = self.again()

    def again(self) -> Calendars:
        """As another process would see it."""
        return Calendars(self.root, BERLIN, self.shelf, self.fetcher, lambda: self.now)

    def summaries(self, calendars: Calendars | None = None) -> list[str]:
        spans = (calendars or self.calendars).spans(SOURCE, NOW, NOW + 60 * DAY)
        return [span.summary for span in spans]

    @property
    def fetches(self) -> int:
        return len(self.fetcher.asked)

    def later(self, **more: float) -> None:
        self.now += timedelta(**more)


@pytest.fixture(params=["memory", "files"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Shelf:
    return MemoryShelf() if request.param == "memory" else FileShelf(tmp_path / "calendars")


# The shelf's contract


def test_a_shelf_gives_back_what_it_was_given(shelf: Shelf) -> None:
    other = CalendarSource("ops", URL, header=(("X-Key", "env:KEY"),))
    assert shelf.load(SOURCE) == Kept()
    empty = shelf.stamp(SOURCE)
    kept = Kept(text="BEGIN:VCALENDAR…", fetched_at="2026-11-22T12:00:00.000Z", etag='"x"', tries=3, fault="é\n")
    shelf.save(SOURCE, kept)
    first = shelf.stamp(SOURCE)
    assert shelf.load(SOURCE) == kept
    assert first != empty
    shelf.save(SOURCE, kept.model_copy(update={"tries": 4}))
    assert shelf.load(SOURCE).tries == 4
    assert shelf.stamp(SOURCE) != first
    assert shelf.load(other) == Kept(), "another way to get there is another calendar"


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "state/calendars"
    FileShelf(folder).save(SOURCE, Kept(text="x"))
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "cal.example" not in file.name


@pytest.mark.parametrize("content", [b"", b"{", b'{"text": 3}', b'{"fetched_at": "yesterday"}', b"\xff", b'{"x": 1}'])
def test_a_file_that_can_not_be_read_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    shelf = FileShelf(tmp_path)
    shelf.save(SOURCE, Kept(text="x"))
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert shelf.load(SOURCE) == Kept()


def test_a_save_that_fails_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = FileShelf(tmp_path)
    shelf.save(SOURCE, Kept(text="old"))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        shelf.save(SOURCE, Kept(text="new"))
    assert shelf.load(SOURCE).text == "old"
    assert len(list(tmp_path.iterdir())) == 1


# Fetching


def test_one_that_was_never_had_is_fetched_when_it_is_asked_for(tmp_path: Path) -> None:
    world = World(tmp_path, None, ics("20261224"))
    assert world.summaries() == ["20261224"]
    assert world.calendars.refused(SOURCE, world.now) == ""
    assert world.calendars.trouble(SOURCE, world.now) == ""
    assert world.summaries() == ["20261224"]
    assert world.fetches == 1


def test_one_that_can_not_be_had_at_all_refuses(tmp_path: Path) -> None:
    world = World(tmp_path, None, CalendarFault("cal.example can't be reached"))
    assert world.summaries() == []
    told = "the calendar ops (https://cal.example) was never had: cal.example can't be reached"
    assert world.calendars.refused(SOURCE, world.now) == told
    assert world.calendars.trouble(SOURCE, world.now) == told
    assert world.fetches == 1, "not again at each question"
    world.later(seconds=1.3 * EVERY)
    world.calendars.refused(SOURCE, world.now)
    assert world.fetches == 2


def test_its_last_content_is_kept_with_a_warning_until_its_limit(tmp_path: Path, shelf: Shelf) -> None:
    world = World(tmp_path, shelf, ics("20261224"), CalendarFault("cal.example answers with HTTP 503"))
    world.calendars.refresh([SOURCE])
    world.later(days=6)
    world.calendars.refresh([SOURCE])
    for calendars in (world.calendars, world.again()):
        assert world.summaries(calendars) == ["20261224"]
        assert calendars.refused(SOURCE, world.now) == ""
        assert calendars.trouble(SOURCE, world.now) == (
            "the calendar ops (https://cal.example) can't be had since 2026-11-22T12:00:00.000Z, "
            "and its last content is used: cal.example answers with HTTP 503"
        )
    world.later(days=1, seconds=1)
    for calendars in (world.calendars, world.again()):
        assert calendars.refused(SOURCE, world.now) == (
            "the calendar ops (https://cal.example) is older than its limit of 7d, not had since 2026-11-22T12:00:00.000Z: "
            "cal.example answers with HTTP 503"
        )
    assert world.summaries() == ["20261224"], "what was known of freezes is still shown"


def test_it_is_right_again_once_it_answers(tmp_path: Path) -> None:
    world = World(tmp_path, None, ics("20261224"), CalendarFault("away"), ics("20261225"))
    for _ in range(3):
        world.calendars.refresh([SOURCE])
        world.later(days=8)
    world.now -= timedelta(days=8)
    assert world.calendars.trouble(SOURCE, world.now) == ""
    assert world.summaries() == ["20261225"]


def test_unchanged_is_as_good_as_fetched(tmp_path: Path) -> None:
    world = World(tmp_path, None, ics("20261224"))
    world.calendars.refresh([SOURCE])
    world.later(days=6)
    world.calendars.refresh([SOURCE])
    assert [etag != "" for _, etag, _ in world.fetcher.asked] == [False, True]
    world.later(days=6)
    assert world.again().refused(SOURCE, world.now) == ""


def test_what_does_not_parse_takes_nothings_place(tmp_path: Path) -> None:
    world = World(tmp_path, None, ics("20261224"), b"<html>Sign in</html>")
    world.calendars.refresh([SOURCE])
    world.later(hours=1)
    world.calendars.refresh([SOURCE])
    assert world.summaries() == ["20261224"]
    assert "is no calendar" in world.calendars.trouble(SOURCE, world.now)
    assert world.shelf.load(SOURCE).etag != "", "the marks are those of what is kept"
    assert world.again().trouble(SOURCE, world.now) == world.calendars.trouble(SOURCE, world.now)


def test_not_changed_though_never_had_is_no_answer(tmp_path: Path) -> None:
    class Confused(ToldFetcher):
        def fetch(self, source: CalendarSource, *, etag: str = "", last_modified: str = "") -> Fetched:
            return Fetched(None)

    world = World(tmp_path)
    calendars = Calendars(tmp_path, BERLIN, world.shelf, Confused(), lambda: NOW)
    assert "never had" in calendars.refused(SOURCE, NOW)


def test_a_chore_looks_every_so_often(tmp_path: Path) -> None:
    world = World(tmp_path, None, ics("20261224"))
    for _ in range(10):
        world.calendars.refresh([SOURCE])
        world.later(seconds=EVERY / 3)
    assert world.fetches == 4


def test_one_that_fails_is_asked_ever_more_rarely(tmp_path: Path) -> None:
    world = World(tmp_path, None, ics("20261224"), CalendarFault("away"))
    at: list[datetime] = []
    for _ in range(3 * 24 * 12):
        before = world.fetches
        world.calendars.refresh([SOURCE])
        if world.fetches > before:
            at.append(world.now)
        world.later(minutes=5)
    pauses = [(b - a).total_seconds() for a, b in pairwise(at[1:])]
    assert pauses[0] <= 1.2 * EVERY + 300
    assert max(pauses) <= 1.2 * LONGEST_PAUSE + 300
    assert len(at) < 25
    assert all(later > 1.2 * earlier for earlier, later in pairwise(pauses[:4]))


def test_several_that_fail_do_not_come_back_together(tmp_path: Path) -> None:
    sources = [CalendarSource(f"c{n}", f"https://cal.example/{n}") for n in range(20)]
    world = World(tmp_path)
    came: dict[str, datetime] = {}
    for _ in range(40):
        before = world.fetches
        world.calendars.refresh(sources)
        for place, _, _ in world.fetcher.asked[before:]:
            came[place] = world.now
        world.later(minutes=1)
        if world.now - NOW > timedelta(minutes=20):
            break
    assert len(set(came.values())) > 3


def test_where_nobody_serves_it_is_looked_for_by_whoever_asks(tmp_path: Path) -> None:
    world = World(tmp_path, None, ics("20261224"), ics("20261225"))
    assert world.summaries() == ["20261224"]
    world.later(seconds=UNSERVED - 1)
    assert world.summaries() == ["20261224"]
    world.later(seconds=2)
    assert world.summaries() == ["20261225"]


def test_what_another_process_fetched_is_seen(tmp_path: Path, shelf: Shelf) -> None:
    world = World(tmp_path, shelf, ics("20261224"), ics("20261225"))
    reader = world.again()
    assert world.summaries(reader) == ["20261224"]
    world.later(seconds=EVERY)
    world.calendars.refresh([SOURCE])
    assert world.summaries(reader) == ["20261225"]


def test_a_clock_that_was_set_back_does_not_stop_the_looking(tmp_path: Path) -> None:
    world = World(tmp_path, None, ics("20261224"))
    world.calendars.refresh([SOURCE])
    world.later(hours=-5)
    world.calendars.refresh([SOURCE])
    assert world.fetches == 2


def test_a_full_disk_loses_the_keeping_and_not_the_calendar(tmp_path: Path) -> None:
    class Full(MemoryShelf):
        def save(self, source: CalendarSource, kept: Kept) -> None:
            raise OSError(28, "No space left on device")

    world = World(tmp_path, Full(), ics("20261224"))
    assert world.summaries() == ["20261224"]
    assert world.summaries() == ["20261224"]
    assert world.fetches == 1
    assert "can't be kept: No space left" in world.calendars.trouble(SOURCE, world.now)


def test_many_threads_ask_once(tmp_path: Path) -> None:
    world = World(tmp_path, None, ics("20261224"))
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(world.summaries())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [["20261224"]] * 16
    assert world.fetches == 1


# Files


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    file = CalendarSource("freezes", "freezes.ics")
    (tmp_path / "freezes.ics").write_bytes(ics("20261224"))
    world = World(tmp_path)

    def summaries() -> list[str]:
        return [span.summary for span in world.calendars.spans(file, NOW, NOW + 60 * DAY)]

    assert summaries() == ["20261224"]
    (tmp_path / "freezes.ics").write_bytes(ics("20261224", "20261225"))
    assert summaries() == ["20261224", "20261225"]
    assert world.calendars.trouble(file, NOW) == ""
    (tmp_path / "freezes.ics").write_bytes(b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n")
    assert summaries() == ["20261224", "20261225"], "the last good content"
    assert "breaks off" in world.calendars.trouble(file, NOW)
    assert world.calendars.refused(file, NOW) == ""
    (tmp_path / "freezes.ics").unlink()
    assert summaries() == ["20261224", "20261225"]
    assert "can't be read" in world.calendars.trouble(file, NOW)
    (tmp_path / "freezes.ics").write_bytes(ics("20261226"))
    assert summaries() == ["20261226"]
    assert world.calendars.trouble(file, NOW) == ""


def test_a_file_that_never_parsed_refuses(tmp_path: Path) -> None:
    (tmp_path / "freezes.ics").write_bytes(b"nothing")
    world = World(tmp_path)
    assert "was never had" in world.calendars.refused(CalendarSource("freezes", "freezes.ics"), NOW)


def test_what_can_not_be_worked_out_freezes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = CalendarSource("freezes", "freezes.ics")
    (tmp_path / "freezes.ics").write_bytes(ics(*(f"202701{day:02}" for day in range(1, 32))))
    world = World(tmp_path)
    assert world.calendars.refused(file, NOW) == ""
    monkeypatch.setattr("mainstay.schedules.calendars.events.MOST_SPANS", 10)
    moment = datetime(2027, 1, 10, tzinfo=UTC)
    (span,) = world.calendars.spans(file, moment, moment + timedelta(hours=1))
    assert span.summary.startswith("unknown: the calendar has more than 10 events")
    assert span.starts_at <= moment < span.ends_at
