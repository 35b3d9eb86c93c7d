"""`engine.db` as DBOS keeps it: the file, the format of what goes in, who owns what, and a look from outside."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

from dbos import DBOSClient, Serializer, WorkflowStatus
from dbos import error as dbos_errors
from sqlalchemy.exc import DBAPIError

from mainstay.runner.engine.contract import EngineUnusable, JsonValue, WorkflowFailed
from mainstay.runner.engine.liveness import Liveness

FILE = "engine.db"
EXECUTORS = "executors"
UNFINISHED = ["PENDING", "ENQUEUED", "DELAYED"]
TAKEN_OVER = "taken-over-by-"
"""Prefix of the queue that a takeover goes through; the rest is the id of the executor that takes over."""

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


def check_library() -> None:
    """DBOS picks its time function by Python's version where SQLite's matters: 3.12 with SQLite before 3.42 fails."""
    if sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42):
        raise EngineUnusable(
            f"the engine needs SQLite 3.42 or newer under Python {sys.version_info.major}.{sys.version_info.minor}; "
            f"this one brings {sqlite3.sqlite_version}",
            hint="Run mainstay with Python 3.11, or with a Python built against a newer SQLite.",
        )


def prepare(directory: Path) -> str:
    """Make `engine.db` (0600, write-ahead log) in the folder where it is not; returns its URL."""
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


def url(directory: Path) -> str:
    return f"sqlite:///{(directory / FILE).absolute()}"


def owner(status: WorkflowStatus) -> str:
    """The executor that a workflow belongs to; one that waits to be taken over belongs to whoever takes it over."""
    queue = status.queue_name or ""
    if status.status != "PENDING" and queue.startswith(TAKEN_OVER):
        return queue.removeprefix(TAKEN_OVER)
    return status.executor_id or ""


class DbosClient:
    """A look at the engine from a process that runs nothing: never launches, recovers nothing, makes no file."""

    def __init__(self, directory: Path) -> None:
        quiet()
        if not (directory / FILE).exists():
            raise EngineUnusable(f"{directory / FILE} is not there", hint="Nothing has been run with this state yet.")
        self._liveness = Liveness(directory / EXECUTORS)
        self._client = DBOSClient(
            system_database_url=url(directory), serializer=JsonSerializer(), application_name="mainstay"
        )

    def unfinished(self) -> dict[str, str]:
        """id → executor id of every workflow that has not ended."""
        rows = self._client.list_workflows(status=UNFINISHED, load_input=False, load_output=False)
        return {row.workflow_id: owner(row) for row in rows}

    def alive(self, executor: str) -> bool:
        return self._liveness.alive(executor)

    def signal(self, id: str, topic: str, message: JsonValue) -> None:
        try:
            self._client.send(id, message, topic)
        except dbos_errors.DBOSNonExistentWorkflowError as error:
            raise WorkflowFailed(f"{id}: there is no such workflow") from error

    def close(self) -> None:
        self._client.destroy()
