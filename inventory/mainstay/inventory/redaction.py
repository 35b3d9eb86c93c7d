"""What must not be written down or shown: every secret value that this process has resolved, in the forms it usually takes.

A value counts once it has been resolved here (`secrets.resolve` says so by itself): what nobody asked for yet is not known.
Values shorter than SHORTEST characters are not looked for, they would blank out ordinary text; `doctor` names them. Not found
is what somebody disguises on purpose (reversed, encrypted, one character per line).
"""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import threading
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, AnyStr, overload

SHORTEST = 4
"""Characters of a value, and of each of its forms, from which on it is looked for."""
MASK = "***"

_PIECE = 500
"""Characters; a longer value (a key, a certificate) is looked for in pieces, so that the pattern stays small."""
_LEAST_LINE = 12
"""Characters of a line of a value with several, from which on the line is looked for by itself."""


class Redactor:
    """Finds values and replaces them by MASK. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._levels: tuple[_Level, ...] = ()
        """Each larger than the one after it: a value more costs little, however many there are already."""

    def add(self, value: str) -> bool:
        """Look for this value from now on. False: it is too short for that."""
        if len(value.strip()) < SHORTEST:
            return False
        with self._lock:
            if value not in self._known:
                self._known.add(value)
                newest = _Level(1, frozenset().union(*(_forms(part) for part in _parts(value))))
                levels = list(self._levels)
                while levels and levels[-1].values <= newest.values:
                    larger = levels.pop()
                    newest = _Level(larger.values + newest.values, larger.forms | newest.forms)
                self._levels = (*levels, newest)
        return True

    @overload
    def __call__(self, text: str) -> str: ...
    @overload
    def __call__(self, text: bytes) -> bytes: ...
    def __call__(self, text: str | bytes) -> str | bytes:
        """The same text without any of the values; bytes are taken as UTF-8. Give it whole texts, not chunks of one."""
        levels = self._levels
        if not levels or not text:
            return text
        if isinstance(text, bytes):
            return _masked(text, MASK.encode(), [span for level in levels for span in _spans(level.data, text)])
        return _masked(text, MASK, [span for level in levels for span in _spans(level.text, text)])

    def deeply(self, value: Any) -> Any:
        """The same of every text in a structure, keys too. What is neither text, number nor structure becomes its own text."""
        if isinstance(value, (str, bytes)):
            return self(value)
        if value is None or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, Mapping):
            return {self.deeply(key): self.deeply(item) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [self.deeply(item) for item in value]
        return self(repr(value))


class _Level:
    """The forms of some values, as an expression that is made when it is first used."""

    def __init__(self, values: int, forms: frozenset[str]) -> None:
        self.values = values
        self.forms = forms

    @cached_property
    def text(self) -> re.Pattern[str]:
        return re.compile(_pattern(sorted(self.forms)))

    @cached_property
    def data(self) -> re.Pattern[bytes]:
        return re.compile(_pattern(sorted(_raw(form) for form in self.forms)).encode("latin-1"))


def _spans(pattern: re.Pattern[AnyStr], text: AnyStr) -> Iterator[tuple[int, int]]:
    """Of every match, those that overlap too."""
    found = pattern.search(text)
    while found:
        yield found.span()
        found = pattern.search(text, found.start() + 1)


def _masked(text: AnyStr, mask: AnyStr, spans: list[tuple[int, int]]) -> AnyStr:
    """What lies in any of the spans replaced, by one mask where they overlap."""
    if not spans:
        return text
    kept: list[AnyStr] = []
    end = 0
    for start, stop in sorted(spans):
        if start >= end:
            kept += [text[end:start], mask]
        end = max(end, stop)
    kept.append(text[end:])
    return text[:0].join(kept)


redact = Redactor()
"""The one of this process: `redact(text)`."""
remember = redact.add


def _parts(value: str) -> Iterator[str]:
    """The value itself, and the lines of one that has several; a long one in pieces."""
    lines = value.splitlines()
    long = [line for line in lines if len(line) >= _LEAST_LINE and not line.startswith("-----")]
    for part in [value, value.strip(), *(long if len(lines) > 1 else [])]:
        if len(part) <= _PIECE:
            yield part
        else:
            pieces = [part[at : at + _PIECE] for at in range(0, len(part), _PIECE)]
            yield from (piece for piece in pieces if len(piece) >= _LEAST_LINE)


def _forms(value: str) -> set[str]:
    data = value.encode("utf-8", "surrogatepass")
    url = [urllib.parse.quote(data, safe=safe) for safe in ("", "/", " +")] + [urllib.parse.quote_plus(data)]
    forms = [
        value,
        *url,
        *(re.sub(r"%..", lambda found: found[0].lower(), form) for form in url),
        shlex.quote(value)[1:-1] if shlex.quote(value) != value else value,
        value.replace("'", "'\\''"),
        re.sub(r'(["\\$`])', r"\\\1", value),
        re.sub(r"([^\w./:@%+,=-])", r"\\\1", value, flags=re.ASCII),
        *(json.dumps(value, ensure_ascii=ascii)[1:-1] for ascii in (True, False)),
        json.dumps(value)[1:-1].replace("/", "\\/"),
        repr(value)[1:-1],
        repr(data)[2:-1],
        html.escape(value),
        data.hex(),
        data.hex().upper(),
        *_base64(data),
    ]
    return {form for form in forms if len(form) >= SHORTEST}


def _base64(data: bytes) -> Iterator[str]:
    """As it is encoded by itself, and as part of something longer: there it may begin at any of three places."""
    for whole in (base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()):
        yield from (whole, whole.rstrip("="))
    for before in range(3):
        padded = b"\0" * before + data
        # Only what is made of the value's own bits alone.
        first, last = -(-before * 8 // 6), len(padded) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            core = encode(padded).decode()[first:last]
            if len(core) >= 2 * SHORTEST:
                yield core


def _raw(word: str) -> str:
    """Its UTF-8 bytes, one character each."""
    return word.encode("utf-8", "surrogatepass").decode("latin-1")


def _pattern(words: Iterable[str]) -> str:
    """One expression for all of these, the longest first, with what several begin with written once: an alternation of
    hundreds would be tried one by one at every character. words: sorted, not empty."""
    groups: dict[str, list[str]] = {}
    for word in words:
        groups.setdefault(word[0], []).append(word)
    found = []
    for group in groups.values():
        prefix = _shared(group[0], group[-1])  # sorted: what these share, all of them share
        rest = [word[len(prefix) :] for word in group]
        longer = [word for word in rest if word]
        more = f"(?:{_pattern(longer)})" if longer else ""
        found.append(re.escape(prefix) + more + ("?" if more and "" in rest else ""))
    return "|".join(found)


def _shared(first: str, second: str) -> str:
    length = next((at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
    return first[:length] if length is not None else min(first, second, key=len)
