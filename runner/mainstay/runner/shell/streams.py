"""What is kept of a stream, and where it begins."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

_NOISE = 1 << 16


class Kept:
    """The head and the tail of a stream, at most `limit` bytes of both."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self.dropped = 0

    def __call__(self, data: bytes) -> None:
        room = self._limit - self._limit // 2 - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if not data:
            return
        self._tail.append(data)
        self._tail_size += len(data)
        while self._tail_size > self._limit // 2:
            first = self._tail.popleft()
            extra = min(len(first), self._tail_size - self._limit // 2)
            self._tail_size -= extra
            self.dropped += extra
            if extra < len(first):
                self._tail.appendleft(first[extra:])

    def value(self) -> bytes:
        return bytes(self._head) + b"".join(self._tail)


class Framed:
    """Drops what comes before the token's line, keeps that line, hands on the rest."""

    def __init__(self, token: bytes, sink: Callable[[bytes], None]) -> None:
        self._token = token
        self._sink = sink
        self.noise = bytearray()
        self.line: bytes | None = None

    def __call__(self, data: bytes) -> None:
        if self.line is not None:
            self._sink(data)
            return
        self.noise += data
        start = self.noise.find(self._token)
        end = self.noise.find(b"\n", start) if start >= 0 else -1
        if end >= 0:
            self.line = bytes(self.noise[start + len(self._token) : end]).strip()
            rest = bytes(self.noise[end + 1 :])
            del self.noise[start:]
            if rest:
                self._sink(rest)
        elif len(self.noise) > 2 * _NOISE and start < 0:
            del self.noise[:-_NOISE]
