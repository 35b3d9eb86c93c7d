"""An operator's site on the fleet's hosts, worked with as an operator does: through the command line alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fleet import Fleet, Host
from tests.fleet.system import wait_until

MAINSTAY = Path(sys.executable).parent / "mainstay"


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit status, JSON on stdout where it was asked for, what it told people."""

    status: int
    out: str
    told: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def verdicts(self) -> dict[str, str]:
        return {host["host"]: host["verdict"] for host in self.json["hosts"]}

    def host(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(host for host in self.json["hosts"] if host["host"] == name)
        return found


@dataclass(frozen=True)
class OperatorSite:
    """environ: what mainstay's environment holds beside that of the tests."""

    root: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *argv: str, timeout: float = 280) -> Ended:
        """One command, to its end."""
        done = subprocess.run(
            [MAINSTAY, *argv],
            cwd=self.root,
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def meanwhile(self, *argv: str) -> Iterator[subprocess.Popen[str]]:
        """One command in a process of its own, which does not outlive the block."""
        process = subprocess.Popen(
            [MAINSTAY, *argv],
            cwd=self.root,
            env={**os.environ, **self.environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            process.communicate()

    def plan(self, name: str, text: str) -> None:
        """A file of its own for a plan, given as the lines below its name."""
        lines = "".join(f"    {line}\n" for line in text.strip().splitlines())
        (self.root / "schedules" / f"{name}.yml").write_text(f"plans:\n  {name}:\n{lines}")

    def in_flight(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self("runs", "--json").json
        return found

    def wait_for_step(self, host: Host, seen: Callable[[], bool], what: str) -> None:
        wait_until(seen, f"{host.name}: {what}", deadline=60)


def make_site(
    folder: Path, fleet: Fleet, hosts: Sequence[Host], *, name: str = "acme", more: dict[str, str] | None = None
) -> OperatorSite:
    """A site with those hosts, their keys pinned. more: host → what stands beside its address."""
    for room in ("inventory", "schedules"):
        (folder / room).mkdir(parents=True, exist_ok=True)
    settings = f'ssh: {{user: ops, key: "file:{fleet.key}", known_hosts: inventory/known_hosts}}'
    (folder / "mainstay.yml").write_text(f"site: {name}\ntimezone: UTC\n{settings}\n")
    entries = "".join(
        f"  {host.name}: {{address: {host.address}, tags: {{role: web}}{(more or {}).get(host.name, '')}}}\n"
        for host in hosts
    )
    (folder / "inventory" / "hosts.yml").write_text(f"hosts:\n{entries}")
    site = OperatorSite(folder)
    pinned = site("hosts", "trust", "all", "--from", str(fleet.known_hosts), "--yes")
    assert pinned.status == 0, pinned.told
    return site
