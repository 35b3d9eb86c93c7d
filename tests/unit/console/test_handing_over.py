"""Where a process serves, runs are handed over to it: the same screen, and the end of the terminal is not the run's."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

import pytest
from tests.unit.console.conftest import LetGo, Mainstay, press, until
from tests.unit.console.fakes import FakeApplication, part
from tests.unit.console.test_runs import in_flight

from mainstay.console.working import Works, where
from mainstay.runner.verdict import EXIT_CODES, Verdict

WORKER = "ops3-99-k3q7x2mb"


@pytest.fixture
def served(app: FakeApplication) -> FakeApplication:
    app.serving = (WORKER,)
    return app


@pytest.mark.parametrize("verdict", [Verdict.SUCCEEDED, Verdict.FAILED, Verdict.DEGRADED, Verdict.UNKNOWN])
def test_a_run_is_handed_over_and_followed_to_its_verdict(
    served: FakeApplication, mainstay: Mainstay, verdict: Verdict
) -> None:
    served.ending = lambda host: part(host.name, verdict)
    result = mainstay("run", "patch-web", "--hosts", "web1", "--json")
    run = served.runs.requests[0].id
    assert served.runs.handed == [run]
    assert result.code == EXIT_CODES[verdict]
    assert (result.json["id"], result.json["verdict"]) == (run, str(verdict))
    assert f"Run {run} is handed over: on ops3-99." in result.err
    assert re.search(rf"^web1: {verdict}", result.err, re.M)


def test_with_here_it_is_executed_in_this_process(served: FakeApplication, mainstay: Mainstay) -> None:
    assert mainstay("run", "patch-web", "--hosts", "web1", "--here").code == 0
    assert served.runs.handed == []
    assert len(served.runs.requests) == 1


def test_where_nobody_serves_it_is_executed_in_this_process(app: FakeApplication, mainstay: Mainstay) -> None:
    assert mainstay("run", "patch-web", "--hosts", "web1").code == 0
    assert app.runs.handed == []


def test_the_first_ctrl_c_asks_the_worker_to_stop(
    served: FakeApplication, mainstay: Mainstay, asked: threading.Event
) -> None:
    def during(run: str) -> None:
        press()
        until(asked)

    served.during = during
    result = mainstay("run", "patch-web", "--hosts", "web1")
    row = served.state.run(served.runs.requests[0].id)
    assert row is not None
    assert (row.wish, row.wish_reason) == ("cancel", "Ctrl-C")
    assert "Stopping: nothing new starts" in result.err


def test_the_second_ctrl_c_lets_go_and_says_that_the_run_goes_on(
    served: FakeApplication,
    mainstay: Mainstay,
    pressed_twice: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    served.during = pressed_twice
    with pytest.raises(LetGo):
        mainstay("run", "patch-web", "--hosts", "web1")
    told = capsys.readouterr().err
    assert "It goes on elsewhere" in told
    assert "runs resume" not in told, "nobody has to take it up"


def test_who_follows_is_told_when_nobody_serves_any_more(served: FakeApplication, mainstay: Mainstay) -> None:
    served_again, told = threading.Event(), served.works
    looks: list[int] = []

    def works(runs: object = ()) -> Works:
        looks.append(1)
        if len(looks) > 6:
            served_again.set()
        now = told(runs)
        return now if len(looks) < 3 or served_again.is_set() else Works(version="1")

    served.works = works  # type: ignore[method-assign]  # what a real one would say
    served.during = lambda run: until(served_again)
    result = mainstay("run", "patch-web", "--hosts", "web1")
    assert result.code == 0
    assert result.err.count("No process serves on this state any more") == 1


def test_resume_of_a_run_that_only_waits_is_followed(served: FakeApplication, mainstay: Mainstay) -> None:
    row = in_flight(served)
    from mainstay.runner.request import RunRequest

    served.runs.requests.append(RunRequest.from_json(row.request))
    served.left = {row.id}
    result = mainstay("runs", "resume", row.id, "--json")
    assert (result.code, result.json["id"]) == (0, row.id)
    assert served.runs.handed == [row.id]
    assert served.runs.recovered == 0


def test_a_run_of_another_version_is_not_taken_up(app: FakeApplication, mainstay: Mainstay) -> None:
    row = in_flight(app)
    app.left, app.needs = {row.id}, {row.id: "0"}
    result = mainstay("runs", "resume", row.id)
    assert result.code == 4
    assert "another version" in result.err
    assert app.runs.recovered == 0
    assert "start a worker of that version" in re.sub(r"\s+", " ", mainstay("runs").out)
    assert mainstay("runs", "--json").json[0]["needs_version"] == "0"


def test_who_works_on_it_in_words() -> None:
    works = Works(
        owners={"a": WORKER, "b": "gone", "c": ""},
        alive=frozenset({WORKER}),
        versions={"a": "2", "b": "2", "c": "2", "d": "1"},
        serving={"2": (WORKER,), "1": ()},
        version="2",
    )
    assert [works.standing(run) for run in "abcde"] == ["in-hand", "waiting", "waiting", "left-behind", "waiting"]
    assert [where(works, run) for run in "acd"] == ["on ops3-99", "waiting for a worker", ""]
    assert works.foreign("d") == "1" and works.foreign("e") == ""
    other = Works(versions={"a": "1"}, serving={"1": ("x",)}, version="2")
    assert where(other, "a") == "waiting for a worker of version 1"
    assert not other.served and works.served
