"""The format of what DBOS keeps, and the way of what it has to say."""

from __future__ import annotations

import json
import logging
from typing import Any

from dbos import Serializer

from mainstay.runner.engine.contract import JsonValue

NAME = "mainstay"
"""Of the application, as DBOS calls it."""

log = logging.getLogger("mainstay.runner.engine")
log.addHandler(logging.NullHandler())


class JsonSerializer(Serializer):
    """JSON both ways: what can write to the store must not be able to run code here, as it could with pickle."""

    def name(self) -> str:
        return "mainstay-json"

    def serialize(self, data: Any) -> str:
        return json.dumps(data, default=_foreign, separators=(",", ":"))

    def deserialize(self, serialized_data: str) -> Any:
        data = json.loads(serialized_data)
        if isinstance(data, dict) and data.keys() == {"__exception__"}:
            return RuntimeError(data["__exception__"])
        return data


def _foreign(value: object) -> JsonValue:
    # Only DBOS's own exceptions come here: ours are JSON before DBOS sees them.
    if isinstance(value, Exception):
        return {"__exception__": f"{type(value).__name__}: {value}"}
    raise TypeError(f"{type(value).__name__} is not JSON")


class _Forward(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.handle(record)


def quiet() -> None:
    """What DBOS has to say goes to our logger, from warnings up. A handler of ours keeps it from adding its console."""
    theirs = logging.getLogger("dbos")
    if not any(isinstance(handler, _Forward) for handler in theirs.handlers):
        theirs.addHandler(_Forward())
    theirs.propagate = False
    theirs.setLevel(logging.WARNING)
