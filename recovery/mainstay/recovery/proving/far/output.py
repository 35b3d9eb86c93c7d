"""What a drill's job has printed. Pure; hostile or cut off, every list has a bound."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mainstay.inventory.value import Json, Value
from mainstay.recovery.proving.far.change import DrillChange
from mainstay.recovery.restic.messages import Reader, Said
from mainstay.runner.shell.printable import printable

NAMED = 100
"""So many words of a list are kept."""
LONGEST = 1000
"""Characters of a text."""


class TakeSaid(Value):
    """Of one point. Codes are exit statuses; None: not known."""

    late: bool = False
    room: int | None = None
    """Bytes that were free, where they were too few."""
    unheld: int | None = None
    """Of what should have held a scratch place."""
    watched: int | None = None
    """Of what looked at how much was written; None: not known."""
    written: int | None = None
    """Bytes that were written, where they were too many."""
    free: int | None = None
    """Bytes that were free meanwhile, where they were too few."""
    restored: int | None = None
    compared: int | None = None
    same: int = 0
    other: tuple[str, ...] = ()
    """Of what was to be restored, what the second restic would still have written."""
    linked: tuple[str, ...] = ()
    """Among those: further names of files that are well."""
    said: Said = Said()
    """By the restic that restored; where that went well, by the other."""
    proved: int | None = None
    """Of the tool."""
    answer: Json = {}
    gone: int | None = None
    """Of what held the place, when that was gone."""
    seconds: int = 0
    """By the host's clock, to the place's end."""


class JobSaid(Value):
    hostname: str = ""
    """The change's."""
    takes: dict[str, TakeSaid] = {}
    """number → what was said of it."""
    swept: tuple[str, ...] = ()
    """Names of places that were left over by others."""
    unswept: int | None = None
    stopped: bool = False
    """It was told to stop, and has left something out for that."""
    unready: bool = False
    done: bool = False
    last: str = ""
    """The last line that is no restic's message."""


@dataclass(slots=True)
class _Take:
    began: int
    asked: frozenset[str]
    told: dict[str, Any] = field(default_factory=dict)
    other: set[str] = field(default_factory=set)
    links: str = ""
    restoring: Reader = field(default_factory=Reader)
    comparing: Reader | None = None

    def touched(self, action: str, path: str) -> None:
        if path in self.asked:
            self.other.add(path)

    def said(self) -> TakeSaid:
        reader = self.restoring if self.told.get("restored") or self.comparing is None else self.comparing
        linked = tuple(sorted(_linked(self.links, self.asked, self.other)))
        return TakeSaid(**self.told, other=tuple(sorted(self.other)), linked=linked, said=reader.said)


def read(output: bytes, change: DrillChange) -> JobSaid:
    takes: dict[int, _Take] = {}
    found: dict[str, Any] = {}
    now: _Take | None = None
    marker = re.compile(rb"@mainstay " + re.escape(change.token.encode()) + rb" (.*)")
    *lines, rest = output.split(b"\n")
    # The rest has no end: of a marker that was cut off nothing is known.
    for line in [*lines, b"" if b"@mainstay" in rest else rest]:
        if marked := marker.fullmatch(line):
            word, *words = marked[1].decode("ascii", "replace").split() or [""]
            if word in ("unready", "done"):
                found[word] = True
            elif word == "halted":
                found["stopped"] = True
            elif word == "swept":
                found[word] = _swept(_bytes(words[0] if words else ""))
            elif word == "unswept":
                found[word] = _number(words)
            elif words and words[0].isdigit() and int(words[0]) < len(change.takes):
                number = int(words[0])
                asked = frozenset(node.path for node in change.takes[number].files)
                now = takes.setdefault(number, _Take(0, asked))
                _marked(now, word, words[1:])
        elif now is not None and line.startswith(b"{"):
            (now.comparing or now.restoring).take(line)
        elif line.strip():
            found["last"] = printable(line, 300)
            if now is not None:
                (now.comparing or now.restoring).take(line)
    return JobSaid(hostname=change.hostname, takes={str(number): one.said() for number, one in takes.items()}, **found)


def _marked(now: _Take, word: str, words: Sequence[str]) -> None:
    match word:
        case "begin":
            now.began = _number(words) or 0
        case "late":
            now.told["late"] = True
        case "room":
            now.told["room"] = (_number(words) or 0) * 1024
        case "unheld" | "restored":
            now.told[word] = _number(words)
        case "compared":
            now.told |= {"compared": _number(words), "same": _number(words[1:]) or 0}
        case "watched":
            found = _object(_bytes(words[1] if len(words) > 1 else ""))
            counts = {key: found[key] for key in ("written", "free") if isinstance(found.get(key), int)}
            now.told |= {"watched": _number(words), **counts}
        case "links":
            now.links = words[0] if words else ""
        case "proved":
            now.told |= {"proved": _number(words), "answer": _answer(_bytes(words[1] if len(words) > 1 else ""))}
        case "gone":
            ended = _number(words[1:]) or now.began
            now.told |= {"gone": _number(words), "seconds": max(0, ended - now.began)}
        case _:
            pass
    if word == "restored":
        now.comparing = Reader(now.touched)


def _number(words: Sequence[str]) -> int | None:
    return int(words[0]) if words and re.fullmatch(r"\d{1,15}", words[0], re.ASCII) else None


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _linked(links: str, asked: frozenset[str], other: set[str]) -> set[str]:
    """restic calls each further name of a file one that it would write; what is the same file as one that is well, is well."""
    inodes: dict[str, bytes] = {}
    for entry in _bytes(links).split(b"\0"):
        inode, _, path = entry.partition(b" ")
        if path:
            inodes[f"/{path.decode('utf-8', 'replace')}"] = inode
    well = {inode for path, inode in inodes.items() if path in asked and path not in other}
    return {path for path in other if inodes.get(path) in well}


def _swept(text: bytes) -> tuple[str, ...]:
    names = []
    for line in text.splitlines():
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(data, dict):
            names.append(printable(str(data.get("removed", "")), 100))
    return tuple(names[:NAMED])


def _object(text: bytes) -> dict[str, Any]:
    """Empty where it is none."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _answer(text: bytes) -> Json:
    """What is known of its shape, cleaned: the host that prints it may be hostile."""
    data = _object(text)
    if not data:
        return {}
    left, measures = data.get("left_out"), data.get("measures")
    return {
        **{key: printable(str(data.get(key, "")), LONGEST) for key in ("verdict", "reason", "scope")},
        "left_out": [printable(str(one), LONGEST) for one in left[:NAMED]] if isinstance(left, list) else [],
        "measures": {
            key: measures[key]
            for key in ("recover", "verify", "files", "bytes")
            if isinstance(measures, dict) and _is_number(measures.get(key))
        },
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1 << 53
