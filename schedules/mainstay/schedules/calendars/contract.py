"""What a calendar is to the schedules, and the ports behind which its text is fetched and kept."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Protocol
from urllib.parse import urlsplit

from pydantic import AfterValidator

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.names import clean
from mainstay.inventory.value import Value

LARGEST = 5 * 2**20
"""Bytes of one calendar; what is larger is not read to its end."""
MAX_AGE = 7 * 86400.0
"""Seconds for which a calendar that can't be fetched any more is still believed, where the site does not say."""


class CalendarFault(MainstayError):
    """A calendar can't be had, or is none. line: in its text, where it is known. Never holds a secret nor a URL's path."""

    kind = "calendar"
    exit_code = 2

    def __init__(self, message: str, *, line: int | None = None, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.line = line


@dataclass(frozen=True, slots=True)
class CalendarSource:
    """Where a calendar comes from. place: a path of the site, or an `https://` URL, or a secret's reference to one.

    header, user, password: for a URL; values of header and the password are secrets' references."""

    name: str
    place: str
    max_age: float = MAX_AGE
    header: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    password: str | None = None
    source: str = ""
    """Where it is declared: `schedules/web.yml:7`."""

    @property
    def key(self) -> str:
        """One for each place and way to get there; a name of a file, too. Tells nothing of what it is made of."""
        told = "\n".join([self.place, self.user or "", self.password or "", *(f"{k}={v}" for k, v in self.header)])
        return hashlib.sha256(told.encode()).hexdigest()[:40]

    @property
    def shown(self) -> str:
        """For messages: its name, and where it comes from without what may be secret."""
        if "://" in self.place:
            parts = urlsplit(self.place)
            return f"{self.name} ({parts.scheme}://{parts.netloc})"
        return f"{self.name} ({clean(self.place)})" if self.name != self.place else clean(self.place)

    @property
    def remote(self) -> bool:
        return "://" in self.place or self.place.startswith(("env:", "file:", "systemd:", "command:"))


def _time(text: str) -> str:
    if text and datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("a time without a zone")
    return text


class Kept(Value):
    """What is kept of a calendar at a URL. Times are RFC 3339 UTC; empty: never."""

    text: str = ""
    """The last one that could be parsed."""
    fetched_at: Annotated[str, AfterValidator(_time)] = ""
    """When the server last gave `text`, or said that it is still the same."""
    etag: str = ""
    last_modified: str = ""
    fault: str = ""
    """What was wrong at the last try; empty where it went well."""
    tried_at: Annotated[str, AfterValidator(_time)] = ""
    tries: int = 0
    """In vain since it last went well."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer. content None: it is what is known already (HTTP 304)."""

    content: bytes | None
    etag: str = ""
    last_modified: str = ""


class Fetcher(Protocol):
    def fetch(self, source: CalendarSource, *, etag: str = "", last_modified: str = "") -> Fetched:
        """Within the limits of size and time. Raises CalendarFault."""


class Shelf(Protocol):
    """What was fetched, by calendar. A source whose place, user or header changed is another one."""

    def load(self, source: CalendarSource) -> Kept:
        """An empty one where nothing (or nothing that can be read) is kept."""

    def save(self, source: CalendarSource, kept: Kept) -> None:
        """Wholly or not at all. Raises OSError."""

    def stamp(self, source: CalendarSource) -> object:
        """Another one (by ==) after every `save`, also by another process. Cheap."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """One event. Aware UTC, half open. summary: cleaned, one line. unknown: no event, but time of which nothing is known;
    summary says why."""

    starts_at: datetime
    ends_at: datetime
    summary: str = ""
    unknown: bool = False
