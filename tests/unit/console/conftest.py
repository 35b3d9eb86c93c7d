"""A command line over an application that is played."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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


class LetGo(BaseException):
    """In the place of the end of the process."""


def press() -> None:
    """Ctrl-C, as the terminal sends it."""
    os.kill(os.getpid(), signal.SIGINT)


def until(condition: threading.Event) -> None:
    assert condition.wait(60), "it did not happen"


@pytest.fixture
def asked(app: FakeApplication, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once something was asked of the run."""
    event = threading.Event()
    real = app._state.wish

    def listen(id: str, wish: Literal["", "pause", "cancel"], *, by: str, reason: str) -> None:
        real(id, wish, by=by, reason=reason)
        event.set()

    monkeypatch.setattr(app._state, "wish", listen)
    return event


@pytest.fixture
def pressed_twice(asked: threading.Event, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What happens during a run: Ctrl-C, and once that was heard another one, which ends the process (LetGo)."""
    gone = threading.Event()

    def leave(code: int) -> None:
        assert code == 130
        gone.set()
        raise LetGo

    monkeypatch.setattr(os, "_exit", leave)

    def during(run: str) -> None:
        press()
        until(asked)
        press()
        until(gone)

    return during
