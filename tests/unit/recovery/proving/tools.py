"""The tool as another machine has it: one file, run by a Python without site-packages and with nothing else of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mainstay.recovery.proving.attempt import Tried
from mainstay.recovery.proving.files import PointAttempt
from mainstay.recovery.proving.tool.archive import build
from mainstay.runner.verdict import Verdict

PYTHON = [sys.executable, "-I", "-S"]


class Tool:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "tool.pyz"
        self.path.write_bytes(build())
        self.root = folder / "places"

    def argv(self, *words: str | Path) -> list[str]:
        return [*PYTHON, str(self.path), *map(str, words)]

    def run(self, *words: str | Path, status: int = 0, path: str | None = None) -> subprocess.CompletedProcess[str]:
        """path: its PATH."""
        env = {"PATH": os.environ["PATH"] if path is None else path}
        done = subprocess.run(self.argv(*words), env=env, capture_output=True, text=True, check=False)
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done

    def order(self, file: Path, **more: Any) -> Path:
        """Written down; place: one named `place`."""
        base = {"unit": "db/app", "item": "app", "at": "2026-11-22T12:00:00+00:00", "seconds": 300}
        size = file.stat().st_size if file.exists() else 0
        return self.write({"file": str(file), "size": size, "place": str(self.root / "place"), **base, **more})

    def write(self, order: Any) -> Path:
        path = self.folder / "order.json"
        path.write_text(json.dumps(order))
        return path

    def held(self, *argv: str) -> list[str]:
        """The argv of that program in the place named `place`."""
        return self.argv("hold", self.root, "place", "--", *argv)

    def prove(self, file: Path, path: str | None = None, **more: Any) -> dict[str, Any]:
        """In a place of its own."""
        order = self.order(file, **more)
        done = self.run("hold", self.root, "place", "--", *self.argv("prove", order), path=path)
        (line,) = done.stdout.splitlines()
        assert list(self.root.iterdir()) == []
        answer: dict[str, Any] = json.loads(line)
        return answer


def by_tool(attempt: PointAttempt) -> Tried:
    """In the place of try_out."""
    brought = attempt.dump()
    tool = Tool(attempt.place.folder)
    order = tool.order(
        brought.path,
        kind=attempt.kind,
        unit=attempt.unit,
        item=attempt.item,
        at=attempt.at,
        made_at=attempt.made_at,
        place=str(attempt.place.folder),
        seconds=attempt.left(),
        checks=[
            {name: getattr(one, name) for name in ("source", "database", "query", "equals", "at_least", "newer_than")}
            for one in attempt.checks
        ],
        roles=list(attempt.roles),
        superuser=attempt.superuser,
        machine=attempt.machine,
    )
    attempt.end()
    answer = json.loads(tool.run("prove", order).stdout)
    attempt.measures.update(answer["measures"])
    return Tried(
        Verdict(answer["verdict"]),
        reason=answer["reason"],
        scope=answer["scope"],
        left_out=tuple(answer["left_out"]),
        bytes=brought.size,
        roles=tuple(answer["roles"]),
    )
