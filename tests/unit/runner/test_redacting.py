"""Secrets are gone from everything that a step leaves behind, before it is kept: in the checkpoint, the record, the output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.redaction import remember
from mainstay.runner.artifacts.adapters.files import FileArtifacts
from mainstay.runner.engine.answers import answer
from mainstay.runner.hooks import run_here
from mainstay.runner.ports import Quiet, SystemClock
from mainstay.runner.record import Step
from mainstay.runner.shell.printable import printable
from mainstay.runner.steps import HostFailed, Recorder, StepIO, Stopped

SECRET = "canary-of-the-records"
remember(SECRET)


class Heard(Quiet):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def step_progress(self, run: str, host: str, step: str, detail: str) -> None:
        self.lines.append(detail)

    def step_finished(self, run: str, host: str, step: Step) -> None:
        self.lines.append(step.detail)


class Kept:
    """A context that keeps its checkpoints as the engine does: as text."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        self.texts.append(json.dumps(answer(work)))
        return json.loads(self.texts[-1])["value"]


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    context: Any = Kept()
    return Recorder(context, "run1", "h1", FileArtifacts(tmp_path), SystemClock(), Heard())


def left_behind(recorder: Recorder) -> str:
    kept: Any = recorder
    outputs = [recorder.artifacts.read(step.output).decode() for step in recorder.steps if step.output]
    steps = [step.to_json() for step in recorder.steps]
    return json.dumps([kept.context.texts, kept.listener.lines, steps, recorder.notes, outputs])


def test_what_a_step_prints_notes_and_tells_is_redacted(recorder: Recorder) -> None:
    def work(io: StepIO) -> None:
        for chunk in (b"the password is cana", b"ry-of-the-", b"records, they say\n"):
            io.output(chunk)
        io.progress(f"using {SECRET}")
        io.notes.append(f"noted {SECRET}")
        io.detail = f"said {SECRET}"

    recorder("before", work)
    found = left_behind(recorder)
    assert SECRET not in found and found.count("***") >= 4
    assert recorder.steps[0].output is not None
    assert recorder.artifacts.read(recorder.steps[0].output) == b"the password is ***, they say\n"


@pytest.mark.parametrize("error", [HostFailed(f"h1: it printed {SECRET}", hint=f"try {SECRET}"), KeyError(SECRET)])
def test_what_a_step_raises_is_redacted(recorder: Recorder, error: Exception) -> None:
    def work(io: StepIO) -> None:
        io.output(SECRET.encode())
        raise error

    with pytest.raises((Stopped, KeyError)) as caught:
        recorder("before", work)
    if isinstance(caught.value, Stopped):
        assert caught.value.reason == "h1: it printed *** (try ***)"
    assert SECRET not in left_behind(recorder)


def test_a_failure_in_the_engines_store_holds_no_secret() -> None:
    def work() -> None:
        error = MainstayError(f"said {SECRET}", hint=f"not {SECRET}")
        error.told = [SECRET]  # type: ignore[attr-defined]  # its plain fields are stored beside it
        raise error

    kept = answer(work)
    assert SECRET not in json.dumps(kept) and kept["error"]["message"] == "said ***"


@pytest.mark.parametrize("before", range(len(SECRET) + 2))
def test_no_part_of_a_secret_is_left_by_cutting(before: int) -> None:
    """Wherever the cut falls."""
    start, end = "x" * (300 - before), "y" * 400
    for said in (f"{start}{SECRET}{end}", f"{start}{SECRET}{end}".encode()):
        shown = printable(said)
        assert not any(SECRET[at : at + 4] in shown for at in range(len(SECRET) - 3)), shown
    tail = b"z" * (8 * 300 - before)
    assert not any(SECRET[at : at + 4] in printable(SECRET.encode() + tail) for at in range(len(SECRET) - 3))


@pytest.mark.parametrize("before", [0, 280, 290, 298])
def test_a_hooks_last_words_hold_no_part_of_one(before: int) -> None:
    program = f"print('x' * {before} + {SECRET!r}); raise SystemExit(3)"
    outcome = run_here((sys.executable, "-c", program), {}, deadline=60, output=lambda data: None)
    assert not outcome.ok
    assert not any(SECRET[at : at + 4] in outcome.detail for at in range(len(SECRET) - 3)), outcome.detail
