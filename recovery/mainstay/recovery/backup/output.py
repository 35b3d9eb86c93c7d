"""What a backup's job has printed: the markers of the job, and between them what restic said of each item. Pure.

Written for output that is hostile or cut off: what is no marker of this job's is restic's, and every list has a bound.
"""

from __future__ import annotations

from collections.abc import Iterator

from mainstay.inventory.value import Value
from mainstay.recovery.backup.change import BackupChange
from mainstay.recovery.backup.script import UNREADY
from mainstay.recovery.judging import Dump
from mainstay.recovery.restic.messages import Reader, Said
from mainstay.recovery.words import sized
from mainstay.runner.shell.printable import printable

NAMED = 100
"""So many unreadable or missing paths of an item are kept for the record; all that the job printed is an artifact."""
WORDS = 10


class Taken(Value):
    """What the job tells of one item."""

    unit: str
    begun_at: int = 0
    """Unix seconds, by the host's clock."""
    ended_at: int = 0
    code: int | None = None
    """Exit status of restic, of timeout (124) or of what came before restic; None: not known, the job was cut short."""
    said: Said = Said()
    missing: tuple[str, ...] = ()
    """Declared, and not there when the job looked."""
    links: tuple[str, ...] = ()
    """Declared, and only symbolic links: what they lead to is not taken."""
    live: tuple[str, ...] = ()
    """Paths that were read as they were, and why no snapshot could be read instead."""
    filled: tuple[str, ...] = ()
    """Snapshots that had run out of room before they had been read."""
    cannot: str = ""
    """Why restic was not even begun."""
    dump: Dump | None = None
    pid: int = 0
    """restic's on the host; 0 where not known."""
    stopped: bool = False
    """It was told to stop, because the run is cancelled, and had not done it all."""


class Dead(Value):
    """A restic of an earlier job, which does not run any more."""

    job: str
    pid: int


class JobSaid(Value):
    """All of it."""

    hostname: str = ""
    """As restic writes it into its locks."""
    items: tuple[Taken, ...] = ()
    """Those that were begun, in order."""
    dead: tuple[Dead, ...] = ()
    busy: tuple[str, ...] = ()
    """Jobs of earlier runs whose restic still works."""
    full: str = ""
    """The folder of the cache, where its disk was too full for one."""
    left: tuple[str, ...] = ()
    """Snapshots of filesystems that could not be removed."""
    unready: bool = False
    """There were no secrets for it."""
    stopped: bool = False
    """It was told to stop, because the run is cancelled: what it had not begun it did not begin."""
    whole: bool = False
    """It came to its end."""


def read(output: bytes, change: BackupChange) -> JobSaid:
    hostname, dead, busy, left, unready, whole = "", [], [], [], False, False
    full, stopped, items = "", False, list[_Item]()
    for words, line in _lines(output, change.token):
        if not words:
            if items and items[-1].code is None:
                items[-1].reader.take(line)
            continue
        word, rest = words[0], words[1:]
        if word == "job":
            hostname = " ".join(rest)[:255]
        elif word == "dead" and rest:
            dead.append(Dead(job=rest[0][:300], pid=_number(rest[1]) if len(rest) > 1 and rest[1] else 0))
        elif word == "busy" and rest:
            busy.append(rest[0][:300])
        elif word == "full":
            full = printable(" ".join(rest), 300)
        elif word == "left":
            left.append(printable(" ".join(rest), 300))
        elif word == "begin" and rest and _number(rest[0]) < len(change.items):
            items.append(_Item(change.items[_number(rest[0])].unit, _number(" ".join(rest[1:]))))
        elif word in ("unready", "done"):
            unready, whole = unready or word == "unready", whole or word == "done"
        elif word == "stopped":
            stopped = True
            if items and rest != ["-"]:
                items[-1].note(word, rest[1:])
        elif items:
            items[-1].note(word, rest[1:])
    return JobSaid(
        hostname=hostname,
        items=tuple(item.taken() for item in items),
        dead=tuple(dead[:NAMED]),
        busy=tuple(busy[:NAMED]),
        full=full,
        left=tuple(left[:NAMED]),
        unready=unready,
        stopped=stopped,
        whole=whole,
    )


class _Item:
    def __init__(self, unit: str, begun_at: int) -> None:
        self.unit, self.begun_at = unit, begun_at
        self.reader = Reader()
        self.code: int | None = None
        self._more: dict[str, object] = {}
        self._missing: list[str] = []
        self._links: list[str] = []
        self._live: list[str] = []
        self._filled: list[str] = []

    def note(self, word: str, rest: list[str]) -> None:
        """rest: what follows the item's number."""
        text = " ".join(rest)
        if word == "missing" and len(self._missing) < NAMED:
            self._missing.append(text[:4096])
        elif word == "link" and len(self._links) < NAMED:
            self._links.append(text[:4096])
        elif word == "nosnap" and len(self._live) < NAMED:
            self._live.append(printable(text, 500))
        elif word == "filled" and len(self._filled) < NAMED:
            self._filled.append(printable(text, 300))
        elif word == "cannot":
            self._more["cannot"] = printable(text, 500)
        elif word == "stopped":
            self._more["stopped"] = True
        elif word == "pid":
            self._more["pid"] = _number(text)
        elif word == "producer" and rest:
            seen = {"yes": True, "no": False}.get(rest[1] if len(rest) > 1 else "")
            self._more["dump"] = Dump(producer=_number(rest[0]), trailer=seen)
        elif word == "end" and rest:
            self.code = _number(rest[0])
            self._more["ended_at"] = _number(" ".join(rest[1:]))

    def taken(self) -> Taken:
        said = self.reader.said
        said = said.model_copy(
            update={
                "unreadable": said.unreadable[:NAMED],
                "missing": said.missing[:NAMED],
                "words": said.words[-WORDS:],
            }
        )
        return Taken.model_validate(
            {
                "unit": self.unit,
                "begun_at": self.begun_at,
                "code": self.code,
                "said": said,
                "missing": tuple(self._missing),
                "links": tuple(self._links),
                "live": tuple(self._live),
                "filled": tuple(self._filled),
                **self._more,
            }
        )


def progress(output: bytes, change: BackupChange) -> str:
    """`db/orders (3 of 5): 12,345 of 20,000 files, 1.2 of 3.4 GB`, from the end of what was printed so far."""
    number, last = -1, None
    for words, line in _lines(output, change.token):
        if words[:1] == ["begin"] and len(words) > 1 and _number(words[1]) < len(change.items):
            number, last = _number(words[1]), None
        elif not words and b'"status"' in line:
            last = line
    where = f"{change.items[number].unit} ({number + 1} of {len(change.items)})" if number >= 0 else ""
    if last is None:
        return where
    reader = Reader()
    reader.take(last)
    now = reader.progress
    if now is None:
        return where
    known = f" of {now.files_total:,}" if now.files_total > now.files else ""
    of = f" of {sized(now.bytes_total)}" if now.bytes_total > now.bytes else ""
    return f"{where}{': ' if where else ''}{now.files:,}{known} files, {sized(now.bytes)}{of}"


def never_begun(exit: int | None) -> bool:
    """Whether the job ended before it could take anything, because its secrets were not there."""
    return exit == UNREADY


def _lines(output: bytes, token: str) -> Iterator[tuple[list[str], bytes]]:
    """(words of a marker, or none, and the line as it came)"""
    start = f"@mainstay {token} ".encode()
    for line in output.split(b"\n"):
        if line.startswith(start):
            # Split at single blanks: a path may hold several.
            yield line[len(start) :].decode("utf-8", "replace").split(" "), line
        elif line:
            yield [], line


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else 1 << 40
