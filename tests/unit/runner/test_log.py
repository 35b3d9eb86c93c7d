"""What runs tell: events in their order, with run, host and step on everything that is logged meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from tests.unit.runner.world import World

from mainstay.runner.engine.memory import Crash
from mainstay.runner.log.events import binding, bound, tell

PLAN = {"waves": [1, "100%"], "parallel": 1, "before": {"command": "drain"}, "on_failure": "rollback-host", "budget": 1}


class Kept(logging.Handler):
    """Every record with what was bound when it was made."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[tuple[logging.LogRecord, dict[str, str]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((record, dict(bound())))

    def events(self, least: int = logging.INFO) -> list[str]:
        return [record.getMessage() for record, _ in self.records if record.levelno >= least]

    def fields(self, event: str) -> list[dict[str, Any]]:
        return [getattr(record, "fields", {}) for record, _ in self.records if record.getMessage() == event]


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler, log = Kept(), logging.getLogger()
    mainstay = logging.getLogger("mainstay")
    log.addHandler(handler)
    mainstay.setLevel(logging.DEBUG)
    yield handler
    log.removeHandler(handler)
    mainstay.setLevel(logging.NOTSET)


def test_a_run_tells_its_course(kept: Kept) -> None:
    world = World("w1 w2", **PLAN)
    world["w2"].wrong = {"health"}
    sealed = world.run()
    events = kept.events()
    assert events[0] == "run started" and events[-1] == "run ended"
    assert [event for event in events if event in ("wave", "host ended")] == ["wave", "host ended"] * 2
    assert kept.fields("run started")[0] == {"run": sealed.summary.id, "plan": "patch-web", "waves": 2, "hosts": 2}
    assert [(f["host"], f["verdict"]) for f in kept.fields("host ended")] == [
        ("w1", "succeeded"),
        ("w2", "rolled-back"),
    ]
    ended = kept.fields("run ended")[0]
    assert (ended["verdict"], ended["counts"], ended["seq"]) == ("rolled-back", {"rolled-back": 1, "succeeded": 1}, 1)
    steps = [(f["host"], f["step"], f["verdict"]) for f in kept.fields("step finished")]
    assert ("w1", "apply", "succeeded") in steps and ("w2", "health", "failed") in steps
    assert len(steps) == len(set(steps)) == sum(len(part.steps) for part in sealed.hosts)
    assert all(isinstance(f["seconds"], float) and f["run"] == sealed.summary.id for f in kept.fields("step finished"))
    levels = {record.levelno for record, _ in kept.records if record.getMessage() == "host ended"}
    assert levels == {logging.INFO, logging.WARNING}


def test_whatever_is_logged_meanwhile_says_of_which_run_host_and_step(kept: Kept) -> None:
    """Also a library's own lines."""
    world = World("w1", **PLAN)
    world["w1"].meanwhile = lambda: logging.getLogger("some.library").warning("odd packet")
    run = world.run().summary.id
    about = [fields for record, fields in kept.records if record.getMessage() == "odd packet"]
    assert about == [{"run": run, "host": "w1", "step": "apply"}]
    assert bound() == {}


def test_a_fault_of_ours_comes_with_its_traceback_and_place(kept: Kept) -> None:
    def fault() -> None:
        raise RuntimeError("a list was empty")

    world = World("w1", **PLAN)
    world["w1"].meanwhile = fault
    world.run()
    record, fields = next((record, fields) for record, fields in kept.records if record.getMessage() == "fault")
    assert record.levelno == logging.ERROR and record.exc_info and record.exc_info[0] is RuntimeError
    assert fields["host"] == "w1" and fields["step"] == "apply"
    assert kept.fields("fault")[0] == {"error": "RuntimeError: a list was empty"}


def test_lost_contact_is_told(kept: Kept) -> None:
    world = World("w1", **PLAN, reboot="always")
    world["w1"].wrong = {"reboot"}
    world.run()
    lost = kept.fields("contact lost")[0]
    assert (lost["host"], lost["step"], lost["verdict"]) == ("w1", "reboot", "unknown")


def test_who_takes_a_run_over_says_so_and_tells_no_step_again(kept: Kept) -> None:
    world = World("w1 w2", **PLAN)
    request = world.request()
    dead = world.runs(crash=(14, "after"))
    dead.submit(request)
    with pytest.raises(Crash):
        dead.start(request.id)
    dead.engine.close()
    before = [(f["host"], f["step"]) for f in kept.fields("step finished")]
    assert before and "run taken over" not in kept.events()
    kept.records.clear()
    after = world.runs()
    after.resume()
    after.start(request.id).result()
    events = kept.events()
    assert events.count("run taken over") == 1 and events.count("run goes on") == 1 and "run started" not in events
    assert kept.fields("run taken over") == [{"run": request.id}]
    again = [(f["host"], f["step"]) for f in kept.fields("step finished")]
    assert again and not set(before) & set(again), "what the dead one finished is not told again"


def test_who_interfered_is_told_with_the_runs_end(kept: Kept) -> None:
    world = World("w1 w2", **PLAN)
    request = world.request()

    def cancel() -> None:
        world.state.wish(request.id, "cancel", by="anna", reason="wrong night")

    world["w1"].meanwhile = cancel
    runs = world.runs()
    runs.submit(request)
    runs.execute(request.id)
    (told,) = kept.fields("intervention")
    assert (told["run"], told["wish"], told["by"], told["reason"]) == (request.id, "cancel", "anna", "wrong night")


def test_what_is_bound_holds_in_its_block_alone() -> None:
    with binding(run="r1"):
        with binding(host="h1", run="r2"):
            assert bound() == {"run": "r2", "host": "h1"}
        assert bound() == {"run": "r1"}
    assert bound() == {}


def test_what_nobody_wants_costs_no_record(kept: Kept) -> None:
    logging.getLogger("mainstay.run").setLevel(logging.ERROR)
    try:
        tell(logging.WARNING, "nobody wants this")
    finally:
        logging.getLogger("mainstay.run").setLevel(logging.NOTSET)
    assert kept.records == []
