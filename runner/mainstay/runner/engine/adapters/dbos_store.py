"""`engine.db` as DBOS keeps it: the file, and the format of what goes in."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

from dbos import Serializer
from sqlalchemy.exc import DBAPIError

from mainstay.runner.engine.adapters.dbos_client import FILE, DbosClient, check_library, url
from mainstay.runner.engine.contract import EngineUnusable, JsonValue

__all__ = ["FILE", "DbosClient", "JsonSerializer", "check_library", "log", "prepare", "quiet", "unusable"]

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


def prepare(directory: Path) -> str:
    """Make `engine.db` (0600, write-ahead log) in the folder where it is not; returns its URL. Raises EngineUnusable."""
    check_library()
    path = directory / FILE
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, timeout=30)
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as error:
        raise EngineUnusable(f"{path} can't be opened: {error}") from error
    if mode != "wal":
        raise EngineUnusable(
            f"{path}: SQLite refuses its write-ahead log here (it says {mode!r})",
            hint="Put the state on a local file system.",
        )
    return url(directory)


def unusable(directory: Path, error: DBAPIError) -> EngineUnusable:
    hint = None
    if "locked" in str(error.orig):
        hint = "Another process holds it for writing; is one stopped, or in a debugger?"
    return EngineUnusable(f"{directory / FILE}: {error.orig}", hint=hint)
