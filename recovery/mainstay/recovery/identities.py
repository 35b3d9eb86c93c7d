"""Ids of repositories that were asked for moments ago, or are being asked for: opening one takes restic half a second."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime, timedelta

RECENT = timedelta(seconds=30)
"""So old may an answer be: a run's survey asks, and its first look at the host then need not ask again."""

Place = tuple[str, str]
"""(repository, host)"""
Ask = Callable[[], str | None]
Asked = Future[str | None]


class Identities:
    """Safe for several threads. An error, or that there is no repository, is told to those who wait for it and to nobody later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[Place, tuple[datetime, Asked]] = {}

    def __len__(self) -> int:
        """How many answers there are, or are waited for."""
        return len(self._asked)

    def begin(self, place: Place, now: datetime, ask: Ask) -> None:
        """Ask in a thread of its own, unless it was asked moments ago."""
        asked, ours = self._take(place, now)
        if ours:
            threading.Thread(target=_answer, args=(asked, ask), name="identity", daemon=True).start()

    def answer(self, place: Place, now: datetime, ask: Ask, *, last: bool) -> str | None:
        """Ask, unless it was asked moments ago. What was raised is raised here. last: the answer is forgotten then."""
        asked, ours = self._take(place, now)
        if ours:
            _answer(asked, ask)
        try:
            return asked.result()
        finally:
            if last or _vain(asked):
                with self._lock:
                    if self._asked.get(place, (now, None))[1] is asked:
                        del self._asked[place]

    def _take(self, place: Place, now: datetime) -> tuple[Asked, bool]:
        """(where the answer comes, whether it is for the caller to ask)"""
        with self._lock:
            if place in self._asked:
                at, asked = self._asked[place]
                if timedelta() <= now - at <= RECENT and not _vain(asked):
                    return asked, False
            made: Asked = Future()
            self._asked[place] = now, made
            return made, True


def _vain(asked: Asked) -> bool:
    return asked.done() and (asked.exception() is not None or asked.result() is None)


def _answer(asked: Asked, ask: Ask) -> None:
    try:
        asked.set_result(ask())
    except BaseException as error:  # raised where it is waited for
        asked.set_exception(error)
