"""Debian's names and versions: their grammar and their order (Debian Policy 5.6.7 and 5.6.12, deb-version(7))."""

from __future__ import annotations

import re
from functools import cmp_to_key

NAME = re.compile(r"[a-z0-9][a-z0-9+.-]{1,127}(?::[a-z0-9][a-z0-9-]{1,31})?")
VERSION = re.compile(r"(?:[0-9]{1,9}:)?[0-9A-Za-z][0-9A-Za-z.+~-]{0,200}")


def valid(name: str, version: str | None) -> bool:
    """A name with or without its architecture, and a version or none. Nothing else reaches a host."""
    return bool(NAME.fullmatch(name)) and (version is None or bool(VERSION.fullmatch(version)))


def compare(left: str, right: str) -> int:
    """-1, 0 or 1, as dpkg --compare-versions says it."""
    left_epoch, left_upstream, left_revision = _parts(left)
    right_epoch, right_upstream, right_revision = _parts(right)
    if left_epoch != right_epoch:
        return 1 if left_epoch > right_epoch else -1
    return _compare(left_upstream, right_upstream) or _compare(left_revision, right_revision)


key = cmp_to_key(compare)


def _parts(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return int(epoch) if epoch.isdigit() else 0, upstream, revision


def _order(character: str) -> int:
    if character == "~":
        return -1
    if character.isalpha():
        return ord(character)
    return ord(character) + 256


def _compare(left: str, right: str) -> int:
    while left or right:
        head_left, left = _split(left, r"[^0-9]*")
        head_right, right = _split(right, r"[^0-9]*")
        # The end of a text sorts before letters and after ~
        for index in range(max(len(head_left), len(head_right))):
            one = _order(head_left[index]) if index < len(head_left) else 0
            two = _order(head_right[index]) if index < len(head_right) else 0
            if one != two:
                return 1 if one > two else -1
        number_left, left = _split(left, r"[0-9]*")
        number_right, right = _split(right, r"[0-9]*")
        one, two = int(number_left or 0), int(number_right or 0)
        if one != two:
            return 1 if one > two else -1
    return 0


def _split(text: str, pattern: str) -> tuple[str, str]:
    found = re.match(pattern, text)
    assert found, "both patterns match the empty text"
    return found[0], text[found.end() :]
