"""What restic says, line by line: JSON where it was asked for it, with plain text between (warnings, a Go panic).

Source: https://restic.readthedocs.io/en/stable/075_scripting.html#json-output, and restic 0.18.0 and 0.19.1 themselves. Written
for output that is hostile, cut off, or of a version to come: what can't be read is text, and everything has a bound.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from mainstay.inventory.value import Value
from mainstay.recovery.words import sized
from mainstay.runner.shell.printable import printable
from mainstay.runner.steps import rfc3339

LISTED = 1000
"""So many unreadable or missing items are kept by name; the rest is counted."""
WORDS = 200
"""So many lines of plain text are kept: half of them from the beginning, half from the end."""
LONGEST = 1 << 20
"""Bytes of a line; a longer one is text, and its end is lost."""

_MISSING = re.compile(r"^(.*) does not exist, skipping$", re.DOTALL)
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)


class Unreadable(Value):
    """Something that restic could not read, write or find."""

    item: str
    """A path as restic names it, or empty."""
    during: str = ""
    """`archival`, `scan`, `restore`."""
    message: str = ""


class BackupSummary(Value):
    """The last line of a backup. Moments are RFC 3339 UTC."""

    snapshot: str = ""
    """Its full id; empty where none was made (`--skip-if-unchanged`, or a dry run)."""
    files: int = 0
    bytes: int = 0
    """Of the data."""
    files_new: int = 0
    files_changed: int = 0
    files_unmodified: int = 0
    added: int = 0
    """Bytes that were new to the repository, before compression."""
    stored: int = 0
    """The same after compression."""
    began_at: str = ""
    ended_at: str = ""
    """Empty where restic does not know it (0.18 when it made no snapshot)."""
    seconds: float = 0.0


class Progress(Value):
    """A line of status. Totals grow while restic still looks."""

    percent: float = 0.0
    """0 to 100."""
    files: int = 0
    files_total: int = 0
    bytes: int = 0
    bytes_total: int = 0

    def __str__(self) -> str:
        return f"{self.percent:.0f} %, {sized(self.bytes)} of {sized(self.bytes_total)}" if self.bytes_total else "…"


class Said(Value):
    """All that one restic process has said, in order of weight: what it did, what went wrong, what else it printed."""

    summary: BackupSummary | None = None
    unreadable: tuple[Unreadable, ...] = ()
    """At most LISTED."""
    unreadable_count: int = 0
    missing: tuple[str, ...] = ()
    """Sources that were given and are not there. 0.18 ends with 0 all the same if there is another."""
    fatal: str = ""
    """The message that it ended with, fit for a sentence; empty where there was none."""
    code: int | None = None
    """The exit status that it announced with that (0.18 and later)."""
    words: tuple[str, ...] = ()
    """Plain text, one line each, fit for a sentence; at most WORDS."""


class Reader:
    """Takes the output of one restic process line by line, in any pieces of whole lines; `said` at any time."""

    def __init__(self, touched: Callable[[str, str], None] | None = None) -> None:
        """touched: hears of each file that restic tells of one by one: what was done with it, and its path."""
        self._touched = touched
        self.progress: Progress | None = None
        """The newest."""
        self.objects: list[dict[str, Any]] = []
        """JSON objects that are no message of a known type, at most LISTED."""
        self._summary: dict[str, Any] | None = None
        self._unreadable: list[Unreadable] = []
        self._count = 0
        self._missing: dict[str, None] = {}
        self._fatal = ""
        self._code: int | None = None
        self._words: list[str] = []

    @property
    def summary(self) -> dict[str, Any] | None:
        """The last `summary`, as it came."""
        return self._summary

    @property
    def said(self) -> Said:
        return Said(
            summary=backup_summary(self._summary) if self._summary is not None else None,
            unreadable=tuple(self._unreadable),
            unreadable_count=self._count,
            missing=tuple(self._missing),
            fatal=self._fatal or next((word for word in reversed(self._words) if word.startswith("Fatal:")), ""),
            code=self._code,
            words=tuple(self._words),
        )

    def take(self, line: bytes) -> None:
        """One line, with or without its end."""
        message = _object(line)
        if message is None:
            self._plain(line)
            return
        kind = message.get("message_type")
        if kind == "status":
            self.progress = _progress(message)
        elif kind == "verbose_status" and self._touched is not None:
            self._touched(text_of(message.get("action")), text_of(message.get("item")))
        elif kind == "summary":
            self._summary = message
        elif kind == "error":
            self._error(message)
        elif kind == "exit_error":
            self._fatal = printable(text_of(message.get("message")), 500)
            self._code = count_of(message.get("code"))
        elif len(self.objects) < LISTED:
            self.objects.append(message)

    def _error(self, message: dict[str, Any]) -> None:
        inner = message.get("error")
        said = inner.get("message") if isinstance(inner, dict) else message.get("message")
        self._count += 1
        if len(self._unreadable) < LISTED:
            item, during = text_of(message.get("item"))[:4096], text_of(message.get("during"))
            self._unreadable.append(
                Unreadable(item=item, during=printable(during, 40), message=printable(text_of(said), 500))
            )

    def _plain(self, line: bytes) -> None:
        text = line[:LONGEST].decode("utf-8", "replace").rstrip("\r\n")
        if (found := _MISSING.match(text)) and len(self._missing) < LISTED:
            self._missing[found[1][:4096]] = None
        words = printable(text, 500)
        if not words:
            return
        if len(self._words) >= WORDS:
            del self._words[WORDS // 2]
        self._words.append(words)


def read(lines: bytes | Iterable[bytes]) -> Said:
    """The whole output of one process: stdout, stderr, or both in the order written."""
    reader = Reader()
    for line in lines.splitlines() if isinstance(lines, bytes) else lines:
        reader.take(line)
    return reader.said


def backup_summary(message: dict[str, Any]) -> BackupSummary:
    """Of a line of type `summary`, or of what a snapshot says of its own making."""
    began, ended = moment(message.get("backup_start")), moment(message.get("backup_end"))
    seconds = _float(message.get("total_duration"))
    if not seconds and began and ended:
        seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds()
    return BackupSummary(
        snapshot=_id(message.get("snapshot_id")),
        files=count_of(message.get("total_files_processed")),
        bytes=count_of(message.get("total_bytes_processed")),
        files_new=count_of(message.get("files_new")),
        files_changed=count_of(message.get("files_changed")),
        files_unmodified=count_of(message.get("files_unmodified")),
        added=count_of(message.get("data_added")),
        stored=count_of(message.get("data_added_packed")),
        began_at=began,
        ended_at=ended,
        seconds=max(seconds, 0.0),
    )


def moment(stamp: Any) -> str:
    """restic's time (nanoseconds, the zone of the machine that wrote it) as RFC 3339 UTC; empty where it is none, or its zero."""
    found = _STAMP.fullmatch(stamp) if isinstance(stamp, str) else None
    if not found or found[1].startswith("0001-"):
        return ""
    fraction = (found[2] or "0")[:6].ljust(6, "0")
    zone = "+00:00" if found[3] == "Z" else found[3]
    try:
        return rfc3339(datetime.fromisoformat(f"{found[1]}.{fraction}{zone}").astimezone(UTC))
    except (ValueError, OverflowError):
        return ""


def values(data: bytes | str) -> Iterator[Any]:
    """The JSON values in what a command printed, whole ones alone: 0.18 appends plain text to them, 0.19 an empty line."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    decoder = json.JSONDecoder()
    at = 0
    while (at := _begins(text, at)) >= 0:
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("\n", at)
            if at < 0:
                return
            continue
        yield value


def _begins(text: str, at: int) -> int:
    """Where the next line that begins with an object or an array does; -1: nowhere."""
    while at < len(text):
        if text[at] in "[{":
            return at
        if text[at].isspace():
            at += 1
            continue
        at = text.find("\n", at)
        if at < 0:
            return -1
    return -1


def _object(line: bytes) -> dict[str, Any] | None:
    if not line.lstrip().startswith(b"{") or len(line) > LONGEST:
        return None
    try:
        message = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def _progress(message: dict[str, Any]) -> Progress:
    files = count_of(message.get("files_done")) or count_of(message.get("files_restored"))
    done = count_of(message.get("bytes_done")) or count_of(message.get("bytes_restored"))
    return Progress(
        percent=min(max(_float(message.get("percent_done")) * 100, 0.0), 100.0),
        files=files,
        files_total=count_of(message.get("total_files")),
        bytes=done,
        bytes_total=count_of(message.get("total_bytes")),
    )


def count_of(value: Any) -> int:
    """Counts are never negative; what is none is 0."""
    whole = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1 << 63
    return int(value) if whole else 0


def _float(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e18 else 0.0


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _id(value: Any) -> str:
    """A full id, or the eight digits of an old restic; empty where it is none."""
    return value if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{8,64}", value) else ""
