"""Going back from a patch on real hosts, as an operation of its own: previewed, exact, safe to ask twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mainstay.inventory.errors import Refused
from mainstay.runner.patching.apt.manager import Apt
from mainstay.runner.patching.change import Undo
from mainstay.runner.patching.operation import PatchOperation
from mainstay.runner.patching.reversal import ReversalOperation
from mainstay.runner.plan import PatchPlan
from tests.fleet import Fleet
from tests.fleet import Host as Machine
from tests.fleet.patching import Bench, Done, bench, operation, plan

WEB = {"only": ["demo-web"], "select": "all"}


@pytest.fixture
def one(fleet: Fleet, host: Machine) -> Iterator[Bench]:
    host.install("demo-web", "1.0")
    with bench(fleet, host) as made:
        yield made


def patched(fleet: Fleet, one: Bench, version: str = "1.1") -> Done:
    fleet.repository.publish("demo-web", version)
    return one.change(operation(updates=WEB))


def reversal(one: Bench, undo: Undo, *, force: bool = False) -> ReversalOperation:
    """Made as another process would another day: from JSON alone."""
    data = {"undoes": plan(updates=WEB).to_json(), "undo": {one.machine.name: undo.to_json()}, "force": force}
    return ReversalOperation.of(data, lambda made: PatchOperation(PatchPlan.from_json(made), Apt()))


def test_back_forth_and_twice(fleet: Fleet, one: Bench) -> None:
    done = patched(fleet, one)
    back = reversal(one, done.undo)

    gone = one.change(back)

    assert gone.forecast and gone.forecast.items == (("demo-web", "1.1", "1.0"),)
    assert (gone.outcome.ok, gone.wrong, one.machine.installed()["demo-web"]) == (True, (), "1.0")
    assert gone.after["packages_digest"] == done.before["packages_digest"]

    again = one.preview(back)
    assert (again.count, again.refused) == (0, "") and "back already" in again.notes[0]
    with one.working() as work:
        assert back.changes(back.resolve(work, again, None)) == 0

    forth = one.change(reversal(one, gone.undo))  # the rollback itself is undone
    assert (forth.outcome.ok, one.machine.installed()["demo-web"]) == (True, "1.1")


@pytest.mark.long  # of the two parts, one is in the test above, and the other in test_patching_change.py
def test_the_real_security_updates_go_back_by_their_stored_undo(fleet: Fleet, host: Machine) -> None:
    with bench(fleet, host) as one:
        before = host.installed()
        done = one.change(operation())
        data = {"undoes": plan().to_json(), "undo": {host.name: done.undo.to_json()}}
        back = one.change(ReversalOperation.of(data, lambda made: PatchOperation(PatchPlan.from_json(made), Apt())))

    assert (back.outcome.ok, back.wrong) == (True, ())
    assert host.installed() == before


def test_a_later_change_by_somebody_else_is_refused_by_name_unless_forced(fleet: Fleet, one: Bench) -> None:
    done = patched(fleet, one)
    fleet.repository.publish("demo-web", "1.4")
    one.machine.install("demo-web", "1.4")

    refused = one.preview(reversal(one, done.undo))

    assert "demo-web is 1.4, the run had brought 1.1" in refused.refused
    with one.working() as work, pytest.raises(Refused, match=r"demo-web is 1\.4"):
        reversal(one, done.undo).resolve(work, refused.model_copy(update={"refused": ""}), None)
    forced = one.change(reversal(one, done.undo, force=True))
    assert (forced.outcome.ok, one.machine.installed()["demo-web"]) == (True, "1.0")


def test_limits_name_configuration_changed_by_hand_since(fleet: Fleet, one: Bench) -> None:
    one.machine.exec(["tee", "/etc/demo-web/demo-web.conf"], stdin=b"greeting = ours before\n")
    done = patched(fleet, one)
    quiet = one.preview(reversal(one, done.undo)).limits
    one.machine.exec(["tee", "/etc/demo-web/demo-web.conf"], stdin=b"greeting = by hand since\n")

    loud = one.preview(reversal(one, done.undo)).limits

    assert quiet == ()
    assert loud == ("configuration changed by hand since is kept: demo-web /etc/demo-web/demo-web.conf",)


def test_a_held_package_stays_and_is_said(fleet: Fleet, one: Bench) -> None:
    done = patched(fleet, one)
    one.machine.exec(["apt-mark", "hold", "demo-web"])

    forecast = one.preview(reversal(one, done.undo))

    assert (forecast.count, [left.reason for left in forecast.left_out]) == (0, ["held"])
    assert "demo-web stays as it is" in forecast.limits[0]
    forced = one.change(reversal(one, done.undo, force=True))
    assert forced.outcome.ok
    assert one.machine.exec(["dpkg-query", "-W", "demo-web"]) == "demo-web\t1.0\n"


def test_an_old_version_lost_by_the_repository_comes_from_the_hosts_cache_or_is_refused(
    fleet: Fleet, one: Bench
) -> None:
    done = patched(fleet, one)
    fleet.repository.withdraw("demo-web", "1.0")
    back = reversal(one, done.undo)

    lost = one.preview(back)
    assert "demo-web 1.0" not in lost.refused and "1.0 is in no repository any more" in lost.irreversible[0][1]
    with one.working() as work:
        back.prepare(work, wait=5)
        change = back.resolve(work, lost, None)
        assert change.items[0].pushed
        outcome, _ = one.apply(work, back, back.stage(work, change, keep=False))

    assert (outcome.ok, one.machine.installed()["demo-web"]) == (True, "1.0")


def test_a_failed_patch_is_taken_back(fleet: Fleet, one: Bench) -> None:
    done = patched(fleet, one, "1.3")
    assert not done.outcome.ok

    back = one.change(reversal(one, done.undo))

    assert (back.outcome.ok, back.wrong) == (True, ())
    assert one.machine.installed()["demo-web"] == "1.0" and one.machine.exec(["dpkg", "--audit"]) == ""


def test_a_host_that_nothing_was_captured_for_is_refused(one: Bench) -> None:
    nothing = ReversalOperation(operation(), {})

    assert "nothing to go back to" in one.preview(nothing).refused


def test_the_way_back_of_a_run_itself_survives_a_repository_that_lost_the_old_version_meanwhile(
    fleet: Fleet, one: Bench
) -> None:
    done = patched(fleet, one)
    assert [item.where for item in done.undo.items] == ["repository"]
    fleet.repository.withdraw("demo-web", "1.0")

    back = one.back(operation(updates=WEB), done.undo)

    assert (back.outcome.ok, back.wrong, one.machine.installed()["demo-web"]) == (True, (), "1.0")
    assert [item.pushed for item in back.change.items] == [True]
