"""Engines on DBOS, made for one test and closed after it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainstay.runner.engine.adapters.dbos import DbosEngine
from mainstay.runner.engine.contract import Context, JsonValue

Body = Callable[[Context, JsonValue], JsonValue]
WAIT = 60.0


class Makes:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.engines: list[DbosEngine] = []

    def __call__(self, **workflows: Body) -> DbosEngine:
        engine = DbosEngine(self.directory)
        for name, body in workflows.items():
            engine.register(name, body)
        engine.launch()
        self.engines.append(engine)
        return engine


@pytest.fixture
def makes(tmp_path: Path) -> Iterator[Makes]:
    one = Makes(tmp_path / "state")
    yield one
    for engine in one.engines:
        engine.close()
