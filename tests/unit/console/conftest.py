"""A command line over an application that is played."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.unit.console.fakes import FakeApplication, write_site

from mainstay.console import bootstrap, cli


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Mainstay = Callable[..., Result]


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeApplication:
    """The application that every command line of this test gets."""
    application = FakeApplication(write_site(tmp_path / "site"))
    monkeypatch.setattr(bootstrap, "load", lambda given: application)
    monkeypatch.setattr("mainstay.console.forecasting.forecast", application.ask)
    monkeypatch.setattr("mainstay.console.verbs._following.EVERY", 0.005)
    return application


@pytest.fixture
def mainstay(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mainstay:
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> Result:
        capsys.readouterr()
        code = cli.run(list(arguments))
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return run
