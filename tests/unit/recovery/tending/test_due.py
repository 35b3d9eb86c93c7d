"""What of a plan's errands is due."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.unit.recovery.points import NOW, before, point

from mainstay.inventory.host import Host
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.points.contract import Tended, Tending
from mainstay.recovery.points.memory import MemoryPoints
from mainstay.recovery.tending.due import Due, due, errand_request, task
from mainstay.recovery.tending.errand import CANCELLED, FAILED
from mainstay.runner.request import Asking

HOSTS = [Host(name=name, address="10.0.0.1") for name in ("web1", "web2", "web3")]
OWN = {"url": "/srv/{host}", "password": "file:p/{host}", "name": "main"}
AWAY = {"url": "/away/{host}", "password": "file:q/{host}", "name": "away"}
SHARED = {"url": "/srv/all", "password": "file:p", "name": "main", "shared": "accepted"}


def plan(main: dict[str, Any] = OWN, **more: Any) -> BackupPlan:
    given = {"targets": "all", "repository": "main", "sources": {"etc": {"paths": "/etc"}}, "retention": {"daily": 7}}
    repositories = {"main": main, "away": AWAY}
    return BackupPlan.model_validate({"name": "nightly", **given, "repositories": repositories, **more})


def store(*hosts: str) -> MemoryPoints:
    made = MemoryPoints()
    for host in hosts:
        made.add_point(point(before(hours=3), host=host))
    return made


def note(
    made: MemoryPoints,
    what: str,
    hours: float,
    host: str = "web1",
    part: str = "",
    repository: str = "main",
    tries: int = 0,
) -> None:
    subject = "nightly" if what in ("retention", "copy") else ""
    at = before(hours=hours)
    made.note_tended(Tended(repository, host, what, subject, part, "R1", at, "succeeded", tries=tries))  # type: ignore[arg-type]


def found(one: BackupPlan, made: MemoryPoints, **more: Any) -> list[tuple[str, str, list[str]]]:
    return [(d.what, d.repository, [host.name for host in d.hosts]) for d in due(one, HOSTS, made, NOW, **more)]


def test_nothing_is_due_of_a_host_without_a_point() -> None:
    assert found(plan(), store()) == []
    assert found(plan(), store("web2")) == [(what, "main", ["web2"]) for what in ("retention", "prune", "check")]


def test_what_was_done_is_due_again_after_its_time() -> None:
    made = store("web1")
    note(made, "retention", 25)
    note(made, "prune", 6 * 24)
    note(made, "check", 23, part="3/24")
    assert found(plan(), made) == [("retention", "main", ["web1"])]


def test_what_went_wrong_is_tried_again_after_a_while_and_not_at_once() -> None:
    made = store("web1")
    for what in ("retention", "prune", "check"):
        note(made, what, 8 * 24)
    note(made, "prune", 0.9, part=FAILED)
    note(made, "check", 1, part=FAILED)
    assert found(plan(), made) == [("retention", "main", ["web1"]), ("check", "main", ["web1"])]


def test_the_longer_it_goes_wrong_the_later_it_is_tried_again_and_never_later_than_its_time() -> None:
    def again(tries: int, hours: float, what: str = "prune") -> bool:
        made = store("web1")
        note(made, what, hours, part=FAILED, tries=tries)
        return any(one == (what, "main", ["web1"]) for one in found(plan(), made))

    assert [again(tries, hours) for tries, hours in ((1, 1), (2, 1.9), (2, 2), (4, 7.9), (4, 8))] == [
        True,
        False,
        True,
        False,
        True,
    ]
    assert (again(40, 23.9, "check"), again(40, 24, "check")) == (False, True)


def test_what_was_called_off_is_begun_at_its_next_time_and_not_before() -> None:
    made = store("web1")
    note(made, "check", 25)
    note(made, "check", 3, part=CANCELLED)
    assert "check" not in [what for what, _, _ in found(plan(), made)]
    note(made, "check", 24, part=CANCELLED)
    assert "check" in [what for what, _, _ in found(plan(), made)]


def test_a_shared_repository_is_pruned_once_and_each_host_has_its_own_retention() -> None:
    made = store("web1", "web2", "web3")
    assert found(plan(SHARED), made) == [
        ("retention", "main", ["web1", "web2", "web3"]),
        ("prune", "main", ["web1"]),
        ("check", "main", ["web1"]),
    ]


def test_retention_of_one_host_in_a_shared_repository_says_nothing_of_another() -> None:
    made = store("web1", "web2")
    note(made, "retention", 2, host="web1")
    assert found(plan(SHARED), made)[0] == ("retention", "main", ["web2"])


def test_copies_are_due_in_their_window_and_tended_like_the_plans_own() -> None:
    one = plan(copies=[{"to": "away", "window": "night", "keep": "all"}])
    made = store("web1")
    whats = [(what, place) for what, place, _ in found(one, made, is_open=lambda window: window == "night")]
    assert whats == [
        ("copy", "away"),
        ("retention", "main"),
        ("prune", "main"),
        ("check", "main"),
        ("prune", "away"),
        ("check", "away"),
    ]
    assert ("copy", "away") not in [(w, p) for w, p, _ in found(one, made, is_open=lambda window: False)]


def test_a_plan_that_keeps_everything_has_no_retention() -> None:
    assert [what for what, _, _ in found(plan(retention=None), store("web1"))] == ["prune", "check"]


def test_a_note_from_the_future_keeps_nothing_from_being_done() -> None:
    made = store("web1")
    note(made, "prune", -48)
    assert ("prune", "main", ["web1"]) in found(plan(), made)


def test_the_run_is_an_errand_with_no_hooks_that_carries_the_plan_as_it_is() -> None:
    one = plan(before="stop app", health=[{"service": "app"}])
    asking = Asking(requested_by="clock", asked_at=(NOW - timedelta(seconds=1)).isoformat(), trigger="clock")
    request = errand_request(one, "prune", "main", HOSTS[:1], asking)
    assert (request.kind, request.plan, request.errand) == ("prune", "nightly", True)
    assert (request.careful.before, request.careful.health, request.timing) == ((), (), {})
    assert BackupPlan.from_json(request.operation["plan"]).repositories["main"].url == "/srv/{host}"
    assert Due("prune", "main", request.hosts).hosts == tuple(HOSTS[:1])


def test_what_a_run_in_flight_does_is_not_asked_for_once_more_by_whichever_plan() -> None:
    made = store("web1", "web2")
    whats: tuple[Tending, ...] = ("retention", "prune", "check")
    busy = {task(plan(), what, "main", "web1") for what in whats}
    assert found(plan(), made, busy=busy) == [(what, "main", ["web2"]) for what in whats]
    made.add_point(point(before(hours=3), host="web1", plan="weekly"))
    assert found(plan(name="weekly"), made, busy=busy) == [("retention", "main", ["web1"])]


def test_no_host_stops_the_others_whatever_the_plan_says_of_its_backups() -> None:
    one = plan(budget=0, strict=True, unreachable=0, copies=["away"])
    asking = Asking(requested_by="clock", asked_at=NOW.isoformat(), trigger="clock")
    request = errand_request(one, "prune", "away", HOSTS, asking)
    assert (request.careful.budget.of(3), request.careful.unreachable.of(3), request.careful.strict) == (3, 3, False)
    assert request.shares == {"repository away": 10}, "its own places are asked for, not those of the plan's repository"


def test_what_was_tended_is_read_once_and_not_once_for_each_host() -> None:
    reads: list[str] = []

    class Counted(Tended):
        __slots__ = ()

        def __getattribute__(self, name: str) -> Any:
            reads.append(name)
            return super().__getattribute__(name)

    names = [f"web{number}" for number in range(100)]
    notes = [Counted("main", name, "prune", "", "", "R1", before(hours=1), "succeeded") for name in names]

    class Fleet(MemoryPoints):
        def tended(self, **given: Any) -> list[Tended]:
            return list(notes)

    made = Fleet()
    for name in names:
        made.add_point(point(before(hours=3), host=name))
    hosts = [Host(name=name, address="10.0.0.1") for name in names]
    whats = [one.what for one in due(plan(), hosts, made, NOW)]
    assert whats == ["retention", "check"]
    assert len(reads) < 10 * len(notes)
