"""`mainstay worker` in processes of their own, each with a folder of its own as on a machine of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fleet.site import MAINSTAY, OperatorSite
from tests.fleet.system import FleetError, wait_until


@dataclass
class Worker:
    """log: what it wrote to stderr, one JSON object a line."""

    process: subprocess.Popen[bytes]
    log: Path

    def events(self, event: str = "", **fields: Any) -> list[dict[str, Any]]:
        found = []
        for line in self.log.read_text().splitlines():
            told = json.loads(line) if line.startswith("{") else {"event": line}
            same = all(told.get(name) == value for name, value in fields.items())
            if same and event in ("", told["event"]):
                found.append(told)
        return found

    def wait_for(self, event: str, **fields: Any) -> dict[str, Any]:
        def there() -> bool:
            if not self.events(event, **fields):
                assert self.process.poll() is None, self.log.read_text()
            return bool(self.events(event, **fields))

        try:
            wait_until(there, f"the worker says {event} {fields}", deadline=120)
        except FleetError as error:
            raise FleetError(f"{error}; it said:\n{self.log.read_text()}") from None
        return self.events(event, **fields)[0]

    def hosts(self) -> set[str]:
        """Those whose work ended here."""
        return {one["host"] for one in self.events("host ended")}

    def signal(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        self.signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def working(
    site: OperatorSite, name: str, *options: str, environment: dict[str, str] | None = None
) -> Iterator[Worker]:
    """One worker, which does not outlive the block."""
    log = site.root.parent / f"{name}.log"
    with log.open("wb") as told:
        argv = [str(MAINSTAY), "worker", "--log-format", "json", *options]
        process = subprocess.Popen(
            argv, cwd=site.root, stdout=told, stderr=told, env={**os.environ, **(environment or {})}
        )
    worker = Worker(process, log)
    try:
        worker.wait_for("worker serves")
        yield worker
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait(30)


def copied(site: OperatorSite, folder: Path) -> OperatorSite:
    """The same site on another machine: its own folder for what it has seen, and the ledger's key brought there."""
    ignore = shutil.ignore_patterns("state")
    shutil.copytree(site.root, folder, ignore=ignore)
    (folder / "state").mkdir(mode=0o700)
    key = site.root / "state" / "ledger.key"
    shutil.copy(key, folder / "state" / "ledger.key")
    return OperatorSite(folder)
