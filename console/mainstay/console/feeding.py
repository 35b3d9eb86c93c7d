"""The feed: a calendar file of what comes, kept up to date for programs that subscribe to it."""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mainstay.inventory.errors import UsageError

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application

EVERY = 300.0
"""Seconds between two looks whether something has changed."""
FRESH = timedelta(hours=1)
"""The file is written anew after that, changed or not: its age says whether somebody still keeps it."""
AHEAD = timedelta(days=180)
MOST = 10_000
"""Events of a feed."""
LARGEST = 64 * 2**20


def feed(app: Application) -> None:
    """Write the site's feed where it has changed or become old; nothing where the site has none. Work for a chore.
    Raises UsageError where something else lies in its place, OSError where it can't be written."""
    path = app.site.feed
    if path is None:
        return
    from mainstay.console.outlooking import outlook_of
    from mainstay.console.render.ics import calendar, content

    now = app.clock.now()
    ics = calendar(app.site.name, islice(outlook_of(app).coming(now, now + AHEAD), MOST), now)
    there = _there(path)
    if there is not None:
        age = now.timestamp() - path.stat().st_mtime
        if content(there) == content(ics) and 0 <= age < FRESH.total_seconds():
            return
    _put(path, ics, now.timestamp())


def _there(path: Path) -> bytes | None:
    """What is in its place; None where there is nothing. Raises UsageError where it is none of ours."""
    from mainstay.console.render.ics import PRODUCT

    try:
        with path.open("rb") as file:
            found = file.read(LARGEST)
    except FileNotFoundError:
        return None
    if found and f"PRODID:{PRODUCT}".encode() not in found[:4096]:
        hint = "Name another file in mainstay.yml, or remove this one if nobody needs it."
        raise UsageError(f"feed: {path} is not a feed of mainstay, and is left alone.", hint=hint)
    return found


def _put(path: Path, content: bytes, written: float) -> None:
    """All or nothing, readable for everybody. A link in its place is replaced, never followed."""
    number, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        os.utime(draft, (written, written))
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
