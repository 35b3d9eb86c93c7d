"""A look at the engine from a process that runs nothing. Reading needs no DBOS, whose import takes half a second."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from mainstay.runner.engine.contract import EngineUnusable, JsonValue, WorkflowFailed
from mainstay.runner.engine.liveness import Liveness

FILE = "engine.db"
EXECUTORS = "executors"
UNFINISHED = ("PENDING", "ENQUEUED", "DELAYED")
TAKEN_OVER = "taken-over-by-"
"""Prefix of the queue that a takeover goes through; the rest is the id of the executor that takes over."""


def url(directory: Path) -> str:
    return f"sqlite:///{(directory / FILE).absolute()}"


def owner(status: str, queue: str | None, executor: str | None) -> str:
    """The executor that a workflow belongs to; one that waits to be taken over belongs to whoever takes it over."""
    if status != "PENDING" and queue is not None and queue.startswith(TAKEN_OVER):
        return queue.removeprefix(TAKEN_OVER)
    return executor or ""


def check_library() -> None:
    """DBOS picks its time function by Python's version where SQLite's matters: 3.12 with SQLite before 3.42 fails."""
    if sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < (3, 42):
        raise EngineUnusable(
            f"the engine needs SQLite 3.42 or newer under Python {sys.version_info.major}.{sys.version_info.minor}; "
            f"this one brings {sqlite3.sqlite_version}",
            hint="Run mainstay with Python 3.11, or with a Python built against a newer SQLite.",
        )


class DbosClient:
    """Never launches, recovers nothing, makes no file. Raises EngineUnusable where nothing has ever been run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        path = directory / FILE
        if not path.exists() or path.stat().st_size == 0:
            raise EngineUnusable(f"{path} is empty or not there", hint="Nothing has been run with this state yet.")
        self._liveness = Liveness(directory / EXECUTORS)

    def unfinished(self) -> dict[str, str]:
        """id → executor id of every workflow that has not ended."""
        query = (
            "SELECT workflow_uuid, status, queue_name, executor_id FROM workflow_status "
            "WHERE status IN (?, ?, ?) ORDER BY created_at, workflow_uuid"
        )
        try:
            with closing(sqlite3.connect(self._directory / FILE, timeout=30)) as connection:
                rows = connection.execute(query, UNFINISHED).fetchall()
        except sqlite3.Error as error:
            raise EngineUnusable(f"{self._directory / FILE}: {error}") from error
        return {id: owner(status, queue, executor) for id, status, queue, executor in rows}

    def alive(self, executor: str) -> bool:
        return self._liveness.alive(executor)

    def signal(self, id: str, topic: str, message: JsonValue) -> None:
        from dbos import DBOSClient  # here, so that looking stays quick
        from dbos import error as dbos_errors

        from mainstay.runner.engine.adapters.dbos_store import JsonSerializer, quiet

        quiet()
        client = DBOSClient(
            system_database_url=url(self._directory), serializer=JsonSerializer(), application_name="mainstay"
        )
        try:
            client.send(id, message, topic)
        except dbos_errors.DBOSNonExistentWorkflowError as error:
            raise WorkflowFailed(f"{id}: there is no such workflow") from error
        finally:
            client.destroy()

    def close(self) -> None:
        """Nothing is held between two questions."""
