"""Events, and what they are about: fields that hold for everything that is logged in the same thread meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

LOGGER = "mainstay.run"
"""What happens in runs. The console leaves it quiet where a screen shows the same."""

_log = logging.getLogger(LOGGER)
_bound: ContextVar[Mapping[str, str]] = ContextVar("bound", default=MappingProxyType({}))


def bound() -> Mapping[str, str]:
    """The fields that hold here: run, host, step."""
    return _bound.get()


@contextmanager
def binding(**fields: str) -> Iterator[None]:
    """These fields hold within the block, beside those that hold already."""
    token = _bound.set(MappingProxyType({**_bound.get(), **fields}))
    try:
        yield
    finally:
        _bound.reset(token)


def tell(level: int, event: str, *, fault: BaseException | None = None, **fields: Any) -> None:
    """One event: a few fixed words, what varies in fields (numbers, texts, lists of them). fault: with its traceback.

    The record carries the fields as `fields`. Whoever writes them has to redact and to clean them.
    """
    if _log.isEnabledFor(level):
        trouble = {"error": f"{type(fault).__name__}: {fault}"} if fault is not None else {}
        _log.log(level, event, exc_info=fault, extra={"fields": {**fields, **trouble}})
