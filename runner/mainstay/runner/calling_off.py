"""Whether the run that this thread works for was cancelled: asked by whatever works for long on the controller itself.

The standard library alone: what proves dumps takes it along to other machines, where nobody is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

EVERY = 2.0
"""Seconds between two looks: each reads a line of the state."""


class Cancelled(Exception):
    """The run was cancelled, and what a step was about to do or was at work with was not done, or ended in order. Says by whom and
    why. No MainstayError: whoever takes those for an answer about what is looked at must not take this one for it."""


class _Asking:
    def __init__(self, ask: Callable[[], str], now: Callable[[], float]) -> None:
        self._ask, self._now = ask, now
        self._next = 0.0
        self._by = ""

    def look(self) -> None:
        if not self._by and (now := self._now()) >= self._next:
            self._next, self._by = now + EVERY, self._ask()
        if self._by:
            raise Cancelled(self._by)


_asking: ContextVar[_Asking | None] = ContextVar("calling_off", default=None)


def look() -> None:
    """As often as one likes. Raises Cancelled; nothing where nobody is asked."""
    asking = _asking.get()
    if asking is not None:
        asking.look()


@contextmanager
def heard(ask: Callable[[], str], now: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """What this thread does meanwhile can be called off. ask: by whom and why; empty where it is not. now: seconds."""
    token = _asking.set(_Asking(ask, now))
    try:
        yield
    finally:
        _asking.reset(token)


@contextmanager
def unheard() -> Iterator[None]:
    """What this thread does meanwhile is brought to its end."""
    token = _asking.set(None)
    try:
        yield
    finally:
        _asking.reset(token)
