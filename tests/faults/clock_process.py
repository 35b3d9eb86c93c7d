"""`mainstay serve` by a clock that a file says: `python clock_process.py SITE FILE`. Everything else is as it is served.

FILE: `monotonic wall rate`: what the machine's own clock showed when the wall clock showed that (seconds since 1970), and how
fast the wall clock goes on from there. Whoever writes it moves the clock of every daemon that reads it.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from mainstay.console import bootstrap, worker
from mainstay.console.serve import Serve
from mainstay.console.worker import leave

LOST = 75


class FileClock:
    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self) -> datetime:
        monotonic, wall, rate = map(float, self._file.read_text().split())
        return datetime.fromtimestamp(wall + (time.monotonic() - monotonic) * rate, UTC)


def set_clock(file: Path, wall: datetime, rate: float) -> None:
    """What it shows from now on."""
    draft = file.with_name(f".{file.name}.new")
    draft.write_text(f"{time.monotonic()} {wall.timestamp()} {rate}")
    draft.rename(file)


def main() -> int:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format=f"%(relativeCreated)d {os.getpid()} %(message)s")
    worker.TEND_EVERY = 0.5  # so that it is not what a test waits for
    site, file = Path(sys.argv[1]), Path(sys.argv[2])
    with bootstrap.load(site) as app:
        app.__dict__["clock"] = FileClock(file)
        ended = Serve(app, every=0.25, grace=20.0).serve()
        if ended == "lost":
            os._exit(LOST)
    return leave(0)


if __name__ == "__main__":
    sys.exit(main())
