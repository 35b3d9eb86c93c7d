"""How an artifact's content lies in a store, whatever the store is.

A name is the SHA-256 of what was given. A package lies as it is. What is compressed begins with a line of our own: the
SHA-256 of the content that follows, which differs from the name only where an output was capped.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from typing import BinaryIO

from mainstay.runner.artifacts.trim import is_trimmed, trim, trim_file

KINDS = ("output", "package", "json")
PLAIN = frozenset({"package"})
"""Kinds that lie as they are, so that their file can be handed to a host."""

HASH = re.compile(r"[0-9a-f]{64}")
_HEADER = 65  # a hash and a newline


def packed(data: bytes, kind: str) -> bytes:
    if kind in PLAIN:
        return data
    return _compressed(trim(data) if kind == "output" else data)


def packed_file(file: BinaryIO, kind: str) -> bytes:
    """The same of a file's content; of a kind that is compressed."""
    if kind == "output":
        return _compressed(trim_file(file))
    file.seek(0)
    return _compressed(file.read())


def unpacked(data: bytes, name: str, kind: str) -> bytes | None:
    """The content, or None where it is not what it was: neither what the name says nor a capped form of it."""
    if kind in PLAIN:
        return data if hashlib.sha256(data).hexdigest() == name else None
    try:
        content = zlib.decompress(data[_HEADER:])
    except zlib.error:
        return None
    found = hashlib.sha256(content).hexdigest()
    if found == name or (found.encode() + b"\n" == data[:_HEADER] and is_trimmed(content)):
        return content
    return None


class Hashing:
    """Hashes what is written through it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _compressed(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + zlib.compress(content)
