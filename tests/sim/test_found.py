"""What the simulator has found, each once more by itself: the worlds in which it showed are other ones after every change."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mainstay.runner import places
from mainstay.runner.engine.memory import Crash
from mainstay.runner.phases import prepare
from mainstay.runner.runs import record
from mainstay.runner.steps import StepIO
from mainstay.runner.track import Track
from tests.unit.runner.world import World, verdicts

pytestmark = pytest.mark.no_cover


def track(asked: list[str]) -> Track:
    """As much of one as a host needs that asks for its place again."""

    def step(name: str, work: Callable[[StepIO], Any]) -> Any:
        asked.append(name)
        return work(StepIO(output=lambda data: None, progress=lambda line: None))

    hands = SimpleNamespace(hold=lambda id: None)
    tools = SimpleNamespace(hands=hands, doze=lambda seconds: None, sleep=lambda seconds: None)
    recorder = SimpleNamespace(context=SimpleNamespace(id="r1/h1/undo"))
    return cast(
        Track, SimpleNamespace(request=SimpleNamespace(timing={}), host=None, step=step, tools=tools, recorder=recorder)
    )


@pytest.mark.parametrize(
    ("answers", "looks"),
    [
        ([("waiting for a place", False), ("waiting for a place", False), None], 3),
        ([("only hosts that are unknown hold it", True)], 1),
        ([None], 1),
    ],
)
def test_a_host_that_is_taken_back_waits_for_a_place_and_not_for_one_that_nobody_gives_back(
    monkeypatch: pytest.MonkeyPatch, answers: list[Any], looks: int
) -> None:
    """It was the other way round: it went on where others were in flight, and waited for ever for one that was unknown."""
    left, asked = list(answers), list[str]()
    monkeypatch.setattr(prepare, "_place", lambda track: left.pop(0))
    monkeypatch.setattr(places, "scopes", lambda request, host: {"site": 1, "host a": 1})
    prepare.admit_again(track(asked))
    assert (len(answers) - len(left), asked) == (looks, ["undo.admit"])


def test_a_run_whose_process_dies_after_the_seal_is_not_shown_as_running_again() -> None:
    """The next process goes over its checkpoints once more, and said that wave 1 was under way: for ever."""
    counting = World("w1 w2")
    counting.run()
    for before_the_end in range(3):
        world = World("w1 w2")
        runs = world.runs(crash=(counting.store.checkpoints - before_the_end, "after"))
        request = world.request()
        runs.submit(request)
        with pytest.raises(Crash):
            runs.start(request.id)
        after = world.runs()
        after.resume()
        after.start(request.id).result()
        row = world.state.run(request.id)
        assert row is not None and row.state == "ended", f"it died {before_the_end} checkpoints before the end"
        assert verdicts(record(after.tools, request.id)) == {"w1": "succeeded", "w2": "succeeded"}
