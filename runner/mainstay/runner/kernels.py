"""Which kernel is newer than which. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import zip_longest

_PART = re.compile(r"(\D*)(\d*)")
_STEP = re.compile(r"(rc|rpi)\d+")
"""Components after a dash that begin with letters and are still part of the version (6.9-rc3, 6.1.0-rpi7-rpi-v8)."""


def split(release: str) -> tuple[str, str]:
    """`6.1.0-18-cloud-amd64` → (`6.1.0-18`, `cloud-amd64`): version and flavour of what uname -r says."""
    parts = release.split("-")
    at = next((i for i, part in enumerate(parts) if not part[:1].isdigit() and not _STEP.fullmatch(part)), len(parts))
    version, flavour = "-".join(parts[:at]), "-".join(parts[at:])
    if not flavour:
        # Red Hat's: 5.14.0-362.el9.x86_64+rt, and plain 5.14.0-362.el9.x86_64
        found = re.fullmatch(r"(.*\.(?:x86_64|aarch64|ppc64le|s390x))\+(.+)", version)
        if found:
            version, flavour = found[1], found[2]
    return version, flavour


def _order(char: str) -> int:
    """dpkg's: a tilde sorts before the end, letters before everything else (deb-version(7))."""
    if char == "~":
        return -1
    return ord(char) if char.isalpha() else ord(char) + 256


def compare(a: str, b: str) -> int:
    """-1, 0 or 1: versions in Debian's order, numbers as numbers. deb-version(7), without epoch."""
    for (text_a, number_a), (text_b, number_b) in zip_longest(_PART.findall(a), _PART.findall(b), fillvalue=("", "")):
        for char_a, char_b in zip_longest(text_a, text_b, fillvalue=""):
            order_a, order_b = (_order(char) if char else 0 for char in (char_a, char_b))
            if order_a != order_b:
                return -1 if order_a < order_b else 1
        value_a, value_b = int(number_a or "0"), int(number_b or "0")
        if value_a != value_b:
            return -1 if value_a < value_b else 1
    return 0


def newest_of_flavour(running: str, installed: Iterable[str]) -> str | None:
    """The newest of those installed that have the running one's flavour; None where there is none to compare with."""
    flavour = split(running)[1]
    newest: str | None = None
    for release in installed:
        version, other = split(release)
        if other == flavour and (newest is None or compare(version, split(newest)[0]) > 0):
            newest = release
    return newest
