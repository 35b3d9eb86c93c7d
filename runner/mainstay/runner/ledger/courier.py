"""Brings every seal to the anchors on other machines. A dead one holds nobody up, and loses nothing: what it has not got
is in the local anchor, and how far each has come is kept beside it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from mainstay.inventory.errors import MainstayError
from mainstay.runner.ledger.anchors import AnchorUnusable, RemoteAnchor
from mainstay.runner.ledger.seals import Anchor, now

log = logging.getLogger("mainstay.runner.ledger")

BATCH = 200
"""Seals that are handed over at once; after each batch it is written down how far the anchor has come."""
AGAIN, LONGEST = 5.0, 300.0
"""Seconds until a dead anchor is tried again; twice as long each time, up to the longest."""
LATE = timedelta(hours=1)
PARTING = 10.0
"""Seconds that the end of a process waits for what is on its way."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far an anchor is behind the local one. behind: seals; since: when the oldest of them was made, RFC 3339 UTC;
    error: why, when it was last tried; failing_since: of the first try that failed, since one that did not."""

    name: str
    delivered: int
    behind: int
    since: str | None = None
    error: str = ""
    failing_since: str | None = None

    def late(self, now: datetime) -> bool:
        """Whether somebody should look: it failed, or nothing has brought the seals for an hour."""
        if not self.behind or self.error or self.since is None:
            return bool(self.behind)
        try:
            return now - datetime.fromisoformat(self.since) > LATE
        except (ValueError, TypeError):  # the local anchor says what was written into it
            return True


@dataclass(frozen=True, slots=True)
class _Mark:
    """What is kept of an anchor in a file of its own. delivered: -1 before the first time."""

    name: str
    delivered: int = -1
    error: str = ""
    failing_since: str | None = None


class Courier:
    """One thread for each anchor, begun when there is something to bring. folder: where it is kept how far they are."""

    def __init__(self, local: Anchor, anchors: Sequence[RemoteAnchor], folder: Path) -> None:
        self.anchors = tuple(anchors)
        self._local = local
        self._folder = folder
        self._lock = threading.Lock()
        self._rounds: dict[str, _Round] = {}

    def wake(self) -> None:
        """There may be something to bring. Returns at once."""
        with self._lock:
            for anchor in self.anchors:
                if anchor.name not in self._rounds:
                    self._rounds[anchor.name] = _Round(self, anchor)
                self._rounds[anchor.name].wake()

    def flush(self, within: float = PARTING) -> list[Lag]:
        """Try everything now, for so many seconds; what is left then."""
        self.wake()
        self._end(within)
        return self.lags()

    def close(self, within: float = PARTING) -> None:
        """Wait so long for what is on its way. What can't be delivered stays to be delivered."""
        self._end(within)
        for anchor in self.anchors:
            with suppress(MainstayError):
                anchor.close()

    def _end(self, within: float) -> None:
        with self._lock:
            rounds, self._rounds = list(self._rounds.values()), {}
        end = time.monotonic() + within
        for one in rounds:
            one.end()
        for one in rounds:
            one.join(max(0.0, end - time.monotonic()))

    def lags(self) -> list[Lag]:
        """From what is kept here; asks nobody. Raises LedgerBehind, LedgerUnusable where the local anchor can't be read."""
        return [self._lag(anchor.name) for anchor in self.anchors]

    def _lag(self, name: str) -> Lag:
        mark = self._read(name)
        waiting = self._local.after(max(mark.delivered, 0))
        since = min((seal.time for seal in waiting), default=None)
        return Lag(name, max(mark.delivered, 0), len(waiting), since, mark.error, mark.failing_since)

    def deliver(self, anchor: RemoteAnchor) -> None:
        """Everything that it has not got. Raises AnchorUnusable after writing down that, and why, it failed."""
        try:
            with self._alone(anchor.name):
                mark = self._read(anchor.name)
                waiting = self._local.after(max(mark.delivered, 0))
                if mark.delivered < 0 and waiting:
                    anchor.make()
                while waiting:
                    batch, waiting = waiting[:BATCH], waiting[BATCH:]
                    anchor.append(batch)
                    self._write(_Mark(anchor.name, max(seal.seq for seal in batch)))
                if mark.error:
                    self._write(_Mark(anchor.name, self._read(anchor.name).delivered))
        except AnchorUnusable as error:
            mark = self._read(anchor.name)
            self._write(_Mark(anchor.name, mark.delivered, error.message, mark.failing_since or now()))
            raise

    def _path(self, name: str) -> Path:
        return self._folder / hashlib.sha256(name.encode()).hexdigest()[:16]

    def _read(self, name: str) -> _Mark:
        """The mark; one that is damaged or gone means that everything is brought once more, which does no harm."""
        try:
            mark = _Mark(**json.loads(self._path(name).with_suffix(".json").read_text()))
        except (OSError, ValueError, TypeError):
            return _Mark(name)
        return mark if type(mark.delivered) is int else _Mark(name)

    def _write(self, mark: _Mark) -> None:
        path = self._path(mark.name).with_suffix(".json")
        with suppress(OSError):  # a full disk: what was brought is brought once more
            draft = path.with_suffix(f".{os.getpid()}.new")
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(json.dumps(asdict(mark)))
            draft.replace(path)

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """One process at a time brings something to this anchor."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            number = os.open(self._path(name).with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise AnchorUnusable(f"anchor {name}: {self._folder} can't be written: {error.strerror}") from error
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
            yield
        finally:
            os.close(number)


class _Round:
    """The thread of one anchor: woken by every seal, tries a dead one again and again, ends when it is told to."""

    def __init__(self, courier: Courier, anchor: RemoteAnchor) -> None:
        self._courier = courier
        self._anchor = anchor
        self._condition = threading.Condition()
        self._asked = False
        self._ending = False
        self._wait: float | None = None
        """Seconds until it is tried again; None while it answers."""
        self._thread = threading.Thread(target=self._go, name=f"anchor {anchor.name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        with self._condition:
            self._asked = True
            self._condition.notify()

    def end(self) -> None:
        with self._condition:
            self._ending = True
            self._condition.notify()

    def join(self, within: float) -> None:
        self._thread.join(within)

    def _go(self) -> None:
        while self._next():
            try:
                self._courier.deliver(self._anchor)
                self._wait = None
            except Exception as error:  # whatever it is, what was not delivered is tried again
                if not isinstance(error, MainstayError):
                    log.exception("anchor %s", self._anchor.name)
                self._wait = min(LONGEST, self._wait * 2 if self._wait else AGAIN)

    def _next(self) -> bool:
        """Wait until there is something to do; whether there is."""
        with self._condition:
            # While it is dead, a new seal is no reason to try it sooner.
            self._condition.wait_for(lambda: self._ending or (self._asked and self._wait is None), self._wait)
            if self._ending and (self._wait is not None or not self._asked):
                return False
            self._asked = False
            return True
