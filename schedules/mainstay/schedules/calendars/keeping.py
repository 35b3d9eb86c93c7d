"""The calendars of a site, ready to be asked: files read again when they change, URLs fetched now and then and believed
for as long as their limit says when they can't be fetched any more."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from mainstay.runner.steps import rfc3339
from mainstay.schedules.calendars.contract import LARGEST, CalendarFault, CalendarSource, Fetcher, Kept, Shelf, Span

if TYPE_CHECKING:
    from mainstay.schedules.calendars.events import Timetable

EVERY = 900.0
"""Seconds between two looks at a calendar's URL, where somebody serves."""
UNSERVED = 3600.0
"""Seconds after which whoever needs a calendar looks itself: nobody else seems to."""
LONGEST_PAUSE = 6 * 3600.0
"""Seconds between two tries of a calendar that can't be fetched."""
_STRETCH = timedelta(days=64)
_START = datetime(2000, 1, 1, tzinfo=UTC)
_MOST_STRETCHES = 2000


@dataclass(slots=True)
class _Book:
    """A calendar as it was last read. table None: it was never had."""

    stamp: object
    kept: Kept = field(default_factory=Kept)
    digest: str = ""
    table: Timetable | None = None
    fault: str = ""


class Calendars:
    """Of one site. Safe to use from several threads; nothing is fetched while others wait for an answer, but for a
    calendar that was never had."""

    def __init__(self, root: Path, zone: ZoneInfo, shelf: Shelf, fetcher: Fetcher, now: Callable[[], datetime]) -> None:
        self._root = root
        self._zone = zone
        self._shelf = shelf
        self._fetcher = fetcher
        self._now = now
        self._lock = threading.RLock()
        self._looking = threading.Lock()
        self._books: dict[str, _Book] = {}
        self._stretches: OrderedDict[tuple[str, str, int], tuple[Span, ...]] = OrderedDict()

    def spans(self, source: CalendarSource, start: datetime, end: datetime) -> list[Span]:
        """Events that overlap [start, end), sorted; none where the calendar was never had (see `missing`).

        Where they can't be worked out, one that is `unknown` covers all the time in question."""
        first, last = ((moment - _START) // _STRETCH for moment in (start, end))
        book = self._book(source)
        found: set[Span] = set()
        with self._lock:
            for number in range(first, last + 1):
                stretch = self._stretch(source, book, number)
                found.update(span for span in stretch if span.starts_at < end and start < span.ends_at)
        return sorted(found)

    def missing(self, source: CalendarSource) -> str:
        """Why nothing is known of it; empty where something is, of whatever age."""
        return _never_had(source, self._book(source))

    def refused(self, source: CalendarSource, now: datetime) -> str:
        """Why nothing that depends on it may start; empty where it may."""
        return self.missing(source) or _outdated(source, self._book(source), now)

    def trouble(self, source: CalendarSource, now: datetime) -> str:
        """What is wrong with it, though it may be used; empty where nothing is known to be. Fetches nothing, and opens no
        file that was not opened before: for those who tell how things stand."""
        with self._lock:
            if source.remote:
                book = self._shelved(source)
            elif source.key in self._books:
                book = self._file(source)
            else:
                return ""
        if source.remote and not book.kept.tried_at:
            return ""
        if why := _never_had(source, book) or _outdated(source, book, now):
            return why
        if not book.fault:
            return ""
        since = f" since {book.kept.fetched_at}" if source.remote else ""
        return f"the calendar {source.shown} can't be had{since}, and its last content is used: {book.fault}"

    # Fetching

    def refresh(self, sources: Iterable[CalendarSource], *, older: float = EVERY) -> None:
        """Look at the URLs of those that were not looked at for `older` seconds, those that fail ever more rarely."""
        for source in sources:
            if source.remote and self._due(self._kept(source), source, older):
                with self._looking:
                    kept = self._kept(source)
                    if self._due(kept, source, older):  # nobody else has looked meanwhile
                        self._look(source, kept)

    def _due(self, kept: Kept, source: CalendarSource, older: float) -> bool:
        if not kept.tried_at:
            return True
        pause = older
        if kept.tries:
            # by a share of its own each, so that many do not come back together
            share = int(hashlib.sha256(f"{source.key}{kept.tries}".encode()).hexdigest()[:4], 16) / 0xFFFF
            pause = min(LONGEST_PAUSE, EVERY * 2 ** min(kept.tries - 1, 10)) if kept.text else EVERY
            pause *= 0.8 + 0.4 * share
        since = (self._now() - _moment(kept.tried_at)).total_seconds()
        return since >= pause or since < 0  # less than nothing: the clock was set back

    def _look(self, source: CalendarSource, kept: Kept) -> None:
        # Not at the top: every run asks for freezes, and few sites have a calendar.
        from mainstay.schedules.calendars.events import timetable

        now = self._now()
        try:
            answer = self._fetcher.fetch(source, etag=kept.etag, last_modified=kept.last_modified)
            if answer.content is None and not kept.text:
                raise CalendarFault("answers that it has not changed, though it was never had")
            text, table = kept.text, None
            if answer.content is not None:
                # what can't be used does not take the place of what can
                table = timetable(answer.content, self._zone, now)
                text = answer.content.decode("utf-8-sig")
        except CalendarFault as error:
            line = f" (line {error.line})" if error.line else ""
            told = {"fault": f"{error.message}{line}", "tried_at": rfc3339(now), "tries": kept.tries + 1}
            self._save(source, kept.model_copy(update=told))
            return
        at = rfc3339(now)
        etag, modified = (answer.etag or kept.etag, answer.last_modified or kept.last_modified)
        if answer.content is not None:
            etag, modified = answer.etag, answer.last_modified
        self._save(source, Kept(text=text, fetched_at=at, etag=etag, last_modified=modified, tried_at=at), table)

    def _save(self, source: CalendarSource, kept: Kept, table: Timetable | None = None) -> None:
        fault = ""
        try:
            self._shelf.save(source, kept)
        except OSError as error:
            fault = f"it can't be kept: {error.strerror}"
        with self._lock:
            book = self._books.setdefault(source.key, _Book(None))
            book.stamp = self._shelf.stamp(source)
            if table is not None:
                book.table, book.digest = table, _digest(kept.text.encode())
            self._take(book, kept)
            book.fault = book.fault or fault

    # Reading

    def _book(self, source: CalendarSource) -> _Book:
        """The calendar as it is now; looked for first where nobody else seems to."""
        if not source.remote:
            with self._lock:
                return self._file(source)
        kept = self._kept(source)
        if self._due(kept, source, UNSERVED) and (not kept.text or not self._looking.locked()):
            self.refresh([source], older=UNSERVED)
        with self._lock:
            return self._shelved(source)

    def _kept(self, source: CalendarSource) -> Kept:
        with self._lock:
            return self._shelved(source).kept

    def _shelved(self, source: CalendarSource) -> _Book:
        stamp = self._shelf.stamp(source)
        book = self._books.get(source.key)
        if book is None or book.stamp != stamp:
            book = self._books.setdefault(source.key, _Book(None))
            book.stamp = stamp
            self._take(book, self._shelf.load(source))
        return book

    def _take(self, book: _Book, kept: Kept) -> None:
        book.kept, book.fault = kept, kept.fault
        if kept.text:
            self._parse(book, kept.text.encode())

    def _file(self, source: CalendarSource) -> _Book:
        path = self._root / source.place
        book = self._books.setdefault(source.key, _Book(None))
        try:
            found = path.stat()
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp != book.stamp:
                book.stamp, book.fault = stamp, ""
                with path.open("rb") as handle:
                    self._parse(book, handle.read(LARGEST + 1))
        except OSError as error:
            book.stamp, book.fault = None, f"it can't be read: {error.strerror}"
        return book

    def _parse(self, book: _Book, content: bytes) -> None:
        from mainstay.schedules.calendars.events import timetable

        digest = _digest(content)
        if digest == book.digest:
            return
        try:
            book.table = timetable(content, self._zone, self._now())
            book.digest = digest
        except CalendarFault as error:
            book.fault = f"{error.message}{f' (line {error.line})' if error.line else ''}"

    def _stretch(self, source: CalendarSource, book: _Book, number: int) -> tuple[Span, ...]:
        if book.table is None:
            return ()
        key = (source.key, book.digest, number)
        if key not in self._stretches:
            start = _START + number * _STRETCH
            end = start + _STRETCH
            try:
                self._stretches[key] = tuple(book.table.between(start, end))
            except CalendarFault as error:
                self._stretches[key] = (Span(start, end, f"unknown: the calendar {error.message}", unknown=True),)
            while len(self._stretches) > _MOST_STRETCHES:
                self._stretches.popitem(last=False)
        self._stretches.move_to_end(key)
        return self._stretches[key]


def _never_had(source: CalendarSource, book: _Book) -> str:
    if book.table is not None:
        return ""
    return f"the calendar {source.shown} was never had: {book.fault or 'it was not fetched yet'}"


def _outdated(source: CalendarSource, book: _Book, now: datetime) -> str:
    kept = book.kept
    if not source.remote or now - _moment(kept.fetched_at) <= timedelta(seconds=source.max_age):
        return ""
    because = f": {kept.fault}" if kept.fault else ""
    limit = _days(source.max_age)
    return f"the calendar {source.shown} is older than its limit of {limit}, not had since {kept.fetched_at}{because}"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _days(seconds: float) -> str:
    return f"{seconds / 86400:g}d" if seconds >= 86400 else f"{seconds / 3600:g}h"
