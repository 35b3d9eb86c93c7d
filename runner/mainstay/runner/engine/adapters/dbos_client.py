"""A look at the engine from a process that runs nothing. Reading needs no DBOS, whose import takes half a second."""

from __future__ import annotations

from pathlib import Path

from mainstay.runner.engine.adapters.place import owners
from mainstay.runner.engine.adapters.places import place
from mainstay.runner.engine.contract import VERSION, EngineUnusable, JsonValue, WorkflowFailed
from mainstay.runner.engine.liveness import Timing


class DbosClient:
    """Never launches, recovers nothing, makes no file. Raises EngineUnusable where nothing has ever been run, or where the
    database can't be asked.

    directory: the state's folder; url: `postgresql://…` where the engine's store is there."""

    def __init__(self, directory: Path, url: str = "") -> None:
        self._place = place(directory, url)
        if not self._place.exists():
            where = "the database" if self._place.shared else directory / "engine.db"
            raise EngineUnusable(f"{where} is empty or not there", hint="Nothing has been run with this state yet.")
        self._liveness = self._place.liveness(Timing())

    def unfinished(self) -> dict[str, str]:
        """id → executor id of every workflow that has not ended; "" for one that waits for whoever serves."""
        return owners(self._place.rows())

    def versions(self) -> dict[str, str]:
        """id → the version that can go on with it, of every workflow that has not ended."""
        return {row.id: row.version for row in self._place.rows()}

    def alive(self, executor: str) -> bool:
        return self._liveness.alive(executor)

    def serving(self, version: str = VERSION) -> list[str]:
        """Executors that are alive, serve, and run this version."""
        return sorted(executor for executor, theirs in self._liveness.serving().items() if theirs == version)

    def signal(self, id: str, topic: str, message: JsonValue) -> None:
        from dbos import DBOSClient  # here, so that looking stays quick
        from dbos import error as dbos_errors

        from mainstay.runner.engine.adapters.dbos_store import NAME, JsonSerializer, quiet

        quiet()
        client = DBOSClient(system_database_url=self._place.url, serializer=JsonSerializer(), application_name=NAME)
        try:
            client.send(id, message, topic)
        except dbos_errors.DBOSNonExistentWorkflowError as error:
            raise WorkflowFailed(f"{id}: there is no such workflow") from error
        finally:
            client.destroy()

    def close(self) -> None:
        self._place.close()
