"""What whatever remembers for the clock promises. The real one and its fake pass the same suite."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.servers.postgres import Postgres
from tests.servers.state import lent, opened

from mainstay.runner.state.adapters.database import Database
from mainstay.runner.state.adapters.sql import SqlState
from mainstay.runner.state.adapters.sqlite import SqliteDatabase
from mainstay.schedules.store.adapters.sql import SqlSchedules
from mainstay.schedules.store.contract import Approval, Carried, Notice, ScheduleStore, Vote
from mainstay.schedules.store.memory import MemorySchedules

ODD = "\udce4 ü \0 'x' %"
"""Text from outside: half a surrogate pair, a NUL, what SQL reads as its own."""


@pytest.fixture(params=["sqlite", "postgres", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ScheduleStore]:
    if request.param == "memory":
        yield MemorySchedules()
        return
    with ExitStack() as until:
        database: Database = SqliteDatabase(tmp_path / "mainstay.db")
        if request.param == "postgres":
            server: Postgres = request.getfixturevalue("postgres")
            database = opened(server, until.enter_context(lent(server)))
        until.callback(SqlState(database).close)
        yield SqlSchedules(database)


def at(minute: int) -> str:
    return f"2026-11-22T02:{minute:02}:00.000Z"


def approval(hash: str = "h1", **other: object) -> Approval:
    data = {"run": "r1", "hash": hash, "plan": "p", "need": 2, "asked_at": at(0), "expires_at": at(30)}
    return Approval.model_validate({**data, "preview": {"ü": [1.5, None, ODD]}, **other})


def vote(by: str = "anna", **other: object) -> Vote:
    return Vote.model_validate({"run": "r1", "hash": "h1", "by": by, "at": at(1), "says": "yes", **other})


def notice(id: str = "n1", **other: object) -> Notice:
    data = {"id": id, "channel": "command", "event": "failed", "body": {"text": ODD}, "made_at": at(0)}
    return Notice.model_validate({**data, "next_try_at": at(0), **other})


def test_a_schedule_begins_where_it_was_first_seen(store: ScheduleStore) -> None:
    assert store.begin("p/w", at(5)) == at(5)
    assert store.begin("p/w", at(9)) == at(5)
    assert store.begin("p/w", at(1)) == at(5)
    assert store.watermarks() == {"p/w": at(5)}


def test_a_watermark_moves_forward_only(store: ScheduleStore) -> None:
    store.begin("p/w", at(5))
    store.advance("p/w", at(7))
    store.advance("p/w", at(6))
    assert store.watermarks() == {"p/w": at(7)}
    store.advance("q/w", at(3))
    assert store.watermarks() == {"p/w": at(7), "q/w": at(3)}


def test_many_begin_and_advance_together(store: ScheduleStore) -> None:
    store.begin("a/w", at(5))
    store.begin_all(["b/w", "a/w", "c/w"], at(7))
    store.begin_all([], at(8))
    assert store.watermarks() == {"a/w": at(5), "b/w": at(7), "c/w": at(7)}
    store.advance_all({"a/w": at(9), "b/w": at(6), "d/w": at(3)})
    store.advance_all({})
    assert store.watermarks() == {"a/w": at(9), "b/w": at(7), "c/w": at(7), "d/w": at(3)}


def test_watermarks_of_many_threads_end_at_the_latest(store: ScheduleStore) -> None:
    began: list[str] = []

    def work(number: int) -> None:
        began.append(store.begin("p/w", at(number)))
        for minute in range(number, 40, 4):
            store.advance("p/w", at(minute))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.watermarks() == {"p/w": at(39)}
    assert len(began) == 4


def test_a_host_is_carried_once_and_the_older_stays(store: ScheduleStore) -> None:
    first = Carried(plan="p", host="b", run="r1", at=at(2), reason=ODD)
    store.carry(first)
    store.carry(first.model_copy(update={"run": "r2", "at": at(3)}))
    other = Carried(plan="p", host="a", run="r1", at=at(4), reason="no time left")
    store.carry(other)
    elsewhere = Carried(plan="q", host="b", run="r3", at=at(1), reason="no time left")
    store.carry(elsewhere)
    assert store.carried("p") == [first, other]
    assert store.carried() == [elsewhere, first, other]
    store.settle("p", "b")
    store.settle("p", "b")
    assert store.carried("p") == [other]
    assert store.carried("q") == [elsewhere]


def test_one_request_for_approval_stands(store: ScheduleStore) -> None:
    assert store.approval("r1") is None
    store.ask(approval())
    store.ask(approval(asked_at=at(1)))
    assert store.approval("r1") == approval()
    changed = approval("h2", asked_at=at(2))
    store.ask(changed)
    assert store.approval("r1") == changed
    assert store.approvals() == [approval(withdrawn_at=at(2)), changed]
    assert store.approvals(open_at=at(29)) == [changed]
    assert store.approvals(open_at=at(30)) == []


def test_a_plan_that_is_changed_back_asks_for_what_was_asked_before(store: ScheduleStore) -> None:
    store.ask(approval())
    store.ask(approval("h2", asked_at=at(2)))
    store.ask(approval(asked_at=at(3)))
    assert store.approval("r1") == approval()
    assert [one.withdrawn_at for one in store.approvals()] == [None, at(3)]


def test_requests_of_other_runs_are_left_alone(store: ScheduleStore) -> None:
    store.ask(approval())
    store.ask(approval("h9", run="r2", asked_at=at(2)))
    assert store.approval("r1") == approval()


def test_each_says_one_thing_once(store: ScheduleStore) -> None:
    first, late = vote(ODD, reason=ODD), vote("bert", at=at(3), says="no")
    store.vote(late)
    store.vote(first)
    store.vote(vote(ODD, at=at(2), says="no"))
    anew = vote(ODD, hash="h2", at=at(4))
    store.vote(anew)
    store.vote(vote("carl", run="r2"))
    assert store.votes("r1") == [first, late, anew]
    assert store.votes("r9") == []


def test_a_notice_is_put_down_once_and_tried_until_it_is_delivered(store: ScheduleStore) -> None:
    store.put_notice(notice())
    store.put_notice(notice(made_at=at(5), body={}))
    store.put_notice(notice("n0", made_at=at(1), next_try_at=at(10)))
    assert store.due_notices(at(0)) == [notice()]
    store.note_try("n1", at=at(1), error=ODD, next_try_at=at(4))
    tried = notice(tries=1, error=ODD, next_try_at=at(4))
    assert store.due_notices(at(3)) == []
    assert store.due_notices(at(4)) == [tried]
    assert [one.id for one in store.undelivered()] == ["n1", "n0"]
    store.note_try("n1", at=at(4))
    assert [one.id for one in store.undelivered()] == ["n0"]
    store.note_try("n1", at=at(5), error="late", next_try_at=at(6))
    store.put_notice(notice())
    assert store.due_notices(at(9)) == []
    store.note_try("unheard-of", at=at(5))


def test_marks(store: ScheduleStore) -> None:
    assert store.mark("serve.heartbeat") is None
    store.set_mark("serve.heartbeat", at(1))
    store.set_mark("serve.heartbeat", at(0))
    store.set_mark("serve.site", "ok")
    store.set_mark("SERVE.site", "another")
    store.set_mark("serve_site", "another")
    assert store.mark("serve.heartbeat") == at(0)
    assert store.marks("serve.") == {"serve.heartbeat": at(0), "serve.site": "ok"}
    assert store.marks("serve_") == {"serve_site": "another"}


def test_a_mark_is_raised_and_never_lowered(store: ScheduleStore) -> None:
    assert store.raise_mark("notify.seq", at(5))
    assert not store.raise_mark("notify.seq", at(5))
    assert not store.raise_mark("notify.seq", at(4))
    assert store.raise_mark("notify.seq", at(6))
    assert store.mark("notify.seq") == at(6)


def test_of_many_who_raise_a_mark_to_the_same_one_does(store: ScheduleStore) -> None:
    raised: list[bool] = []
    threads = [threading.Thread(target=lambda: raised.append(store.raise_mark("m", at(1)))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(raised) == [False] * 5 + [True]


def test_a_duty_is_held_by_one(store: ScheduleStore) -> None:
    assert store.lease("duty", "a", now=at(0), until=at(2))
    assert not store.lease("duty", "b", now=at(1), until=at(3))
    assert store.lease("duty", "a", now=at(1), until=at(3))
    assert not store.lease("duty", "b", now=at(2), until=at(4))
    assert store.lease("duty", "b", now=at(3), until=at(5))
    assert not store.lease("duty", "a", now=at(3), until=at(6))
    assert store.lease("other", "a", now=at(3), until=at(6))


def test_a_duty_that_a_wrong_clock_took_for_a_year_is_free(store: ScheduleStore) -> None:
    assert store.lease("duty", "a", now="2031-11-22T01:00:00.000Z", until="2031-11-22T01:15:00.000Z")
    assert store.lease("duty", "b", now=at(0), until=at(2))
    assert not store.lease("duty", "a", now=at(1), until=at(3)), "the one of now counts"
