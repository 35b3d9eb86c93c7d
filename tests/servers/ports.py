"""Ports of loopback for servers that can't say which one they took."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

# Below those that Linux gives to connections and to servers on port 0 (ip_local_port_range): between the look and the server's
# start, and while a server is down to be started again, nobody else is given one of these.
RANGE = range(20_000, 32_000)


def free_port() -> int:
    """One that nobody has. Raises OSError where all are taken."""
    chance = random.SystemRandom()  # processes that were forked, and those that seed the other, would choose the same
    for _ in range(1000):
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port := chance.choice(RANGE)))
            except OSError:
                continue
            return port
    raise OSError("no free port on loopback")


@contextmanager
def closed_port() -> Iterator[int]:
    """One where nobody listens, and nobody can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        yield port
