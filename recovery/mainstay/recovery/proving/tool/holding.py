"""A program in a scratch place of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from mainstay.recovery.proving import scratch
from mainstay.recovery.proving.waiting import until

TERM_SECONDS = 60.0
"""What works in a place has for its end: restic waits for its repository when it takes its lock away."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signalled(BaseException):
    """We are to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


@contextmanager
def signals() -> Iterator[None]:
    """The first of SIGNALS raises Signalled; what comes after it doesn't disturb the cleaning."""

    def told(number: int, frame: FrameType | None) -> NoReturn:
        _hear_no_more()
        raise Signalled(number)

    before = {one: signal.signal(one, told) for one in SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _hear_no_more() -> None:
    for one in SIGNALS:
        signal.signal(one, signal.SIG_IGN)


def hold(root: Path, name: str, argv: Sequence[str]) -> int:
    """Its exit status, 128 + n where it was ended by a signal. Raises Unclean, Signalled, FileNotFoundError."""
    with scratch.place(root, name) as place:
        env = {**os.environ, "MAINSTAY_PLACE": str(place.folder)}
        try:
            status = subprocess.Popen(argv, cwd=place.folder, env=env).wait()
        except Signalled:
            _ask_to_end(place.folder)
            raise
        _hear_no_more()
    return 128 - status if status < 0 else status


def _ask_to_end(folder: Path) -> None:
    """Everybody once, those too who are started meanwhile. Whoever stays is killed when the place is cleaned."""
    told: set[int] = set()

    def ended() -> bool:
        there = set(scratch.working_in([folder]))
        for pid in there - told:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        told.update(there)
        return not there

    end = time.monotonic() + TERM_SECONDS
    until(ended, lambda: end - time.monotonic())
