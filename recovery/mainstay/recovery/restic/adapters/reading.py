"""What a process writes, put together from pieces, within bounds."""

from __future__ import annotations

from collections.abc import Callable

from mainstay.recovery.repository import Access
from mainstay.recovery.restic.contract import ResticError
from mainstay.recovery.restic.messages import LONGEST

MOST = 512 * 1024 * 1024
"""Bytes of an answer that is kept as a whole: a million snapshots are about that."""


class Lines:
    """Gives whole lines to `take`, without their ends. Of one that is longer than LONGEST, its beginning."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        if whole:
            self._take(self._rest + whole[0])
            for line in whole[1:]:
                self._take(line)
            self._rest = rest
        elif len(self._rest) <= LONGEST:
            self._rest += rest

    def end(self) -> None:
        if self._rest:
            self._take(self._rest)
            self._rest = b""


class Collected:
    """An answer, kept as a whole."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        self._size += len(data)
        if self._size <= MOST:
            self._pieces.append(data)

    def data(self, access: Access) -> bytes:
        """Raises ResticError where it was too much: part of an answer is none."""
        if self._size > MOST:
            raise ResticError(access, f"restic's answer is {self._size} bytes long, more than can be read")
        return b"".join(self._pieces)
