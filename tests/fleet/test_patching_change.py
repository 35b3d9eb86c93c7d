"""Patches of real Debian hosts, from the forecast to the proof: what is installed is what was meant, whatever comes between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mainstay.inventory.errors import Refused
from mainstay.inventory.facts import Facts, Filesystem
from mainstay.runner.patching.change import Change
from tests.fleet import Fleet, FleetError
from tests.fleet import Host as Machine
from tests.fleet.patching import Bench, bench, operation
from tests.fleet.system import wait_until

WEB = {"only": ["demo-web"], "select": "all"}
LOCK = """
import fcntl, time
file = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(file, fcntl.LOCK_EX)
open("/run/held", "w")
time.sleep(300)
"""


@pytest.fixture
def one(fleet: Fleet, host: Machine) -> Iterator[Bench]:
    host.install("demo-web", "1.0")
    with bench(fleet, host) as made:
        yield made


def wants(version: str) -> dict[str, object]:
    return {"packages": {"demo-web": version}, "only": ["demo-web"]}


def test_the_real_security_updates_go_in_and_come_back_exactly(fleet: Fleet, host: Machine) -> None:
    with bench(fleet, host) as one:
        op, before, marks = operation(), host.installed(), host.exec(["apt-mark", "showauto"])

        done = one.change(op, keep=True)

        assert (done.outcome.ok, done.wrong) == (True, ())
        assert host.installed() == {**before, **fleet.repository.updates()}
        assert host.exec(["apt-mark", "showauto"]) == marks
        assert op.readiness(done.undo) == (len(done.change.items), len(done.change.items))
        assert set(one.artifacts.hashes("package")) == {item.sha256 for item in done.change.items}
        assert done.before["packages_digest"] != done.after["packages_digest"]

        back = one.back(op, done.undo)

        assert (back.outcome.ok, back.wrong) == (True, ())
        assert host.installed() == before
        assert host.exec(["apt-mark", "showauto"]) == marks
        assert back.after["packages_digest"] == done.before["packages_digest"]


def test_a_failing_postinst_fails_and_the_way_back_repairs(fleet: Fleet, one: Bench) -> None:
    fleet.repository.publish("demo-web", "1.3")
    op = operation(updates=wants("1.3"))

    done = one.change(op)

    assert not done.outcome.ok and "demo-web" in done.outcome.detail
    assert done.wrong == ("demo-web is half-configured",)

    back = one.back(op, done.undo)

    assert "could not be repaired" in back.repaired[0]
    assert (back.outcome.ok, back.wrong) == (True, ())
    assert one.machine.installed()["demo-web"] == "1.0"
    assert one.machine.exec(["dpkg", "--audit"]) == ""


def test_an_edited_conffile_is_kept_and_reported_and_nothing_is_asked(fleet: Fleet, one: Bench) -> None:
    fleet.repository.publish("demo-web", "1.4")
    one.machine.exec(["tee", "/etc/demo-web/demo-web.conf"], stdin=b"greeting = mine\n")
    op = operation(updates=wants("1.4"))

    done = one.change(op)

    assert done.outcome.ok and done.wrong == ()
    assert op.kept(done.output) == ("/etc/demo-web/demo-web.conf",)
    assert one.machine.exec(["cat", "/etc/demo-web/demo-web.conf"]) == "greeting = mine\n"

    back = one.back(op, done.undo)

    assert back.outcome.ok and one.machine.exec(["cat", "/etc/demo-web/demo-web.conf"]) == "greeting = mine\n"


def test_an_interrupted_dpkg_is_repaired_and_said(one: Bench) -> None:
    one.machine.exec(["sh", "-c", "cd /tmp && apt-get -q download demo-web=1.0 && dpkg --unpack ./demo-web_*.deb"])
    with one.working() as work:
        found = operation().prepare(work, wait=5)

    assert found == ["dpkg was interrupted (demo-web); repaired with dpkg --configure -a"]
    assert one.machine.exec(["dpkg", "--audit"]) == ""


def test_a_package_whose_files_are_half_there_is_brought_back_whole(one: Bench) -> None:
    """As a power cut leaves it in the middle of unpacking: dpkg alone can't end that."""
    status = "/^Package: demo-web$/,/^$/ s/^Status: .*/Status: install reinstreq half-installed/"
    one.machine.exec(["sed", "-i", status, "/var/lib/dpkg/status"])
    one.machine.exec(["rm", "/usr/lib/demo-web/serve"])
    with one.working() as work:
        found = operation().prepare(work, wait=5)

    assert found == ["dpkg was interrupted (demo-web); repaired with apt-get install --reinstall"]
    assert one.machine.exec(["dpkg", "--audit"]) == "" and one.machine.installed()["demo-web"] == "1.0"
    one.machine.exec(["test", "-x", "/usr/lib/demo-web/serve"])


def test_a_repair_that_would_remove_something_is_left_to_somebody(one: Bench) -> None:
    one.machine.exec(["sh", "-c", "echo 'Package: needs-gone\nStatus: install ok unpacked\nVersion: 1\nArchitecture: all\n"
                      "Maintainer: x <x@invalid>\nDepends: not-to-be-had\nDescription: x\n' >>/var/lib/dpkg/status"])  # fmt: skip
    before = one.machine.installed()
    with one.working() as work:
        found = operation().prepare(work, wait=5)

    assert "needs-gone" in found[0] and "could not be repaired" in found[0]
    assert one.machine.installed() == before


def test_what_cannot_be_repaired_is_refused_before_anything_changes(fleet: Fleet, one: Bench) -> None:
    fleet.repository.publish("demo-web", "1.3")
    with pytest.raises(FleetError):
        one.machine.install("demo-web", "1.3")
    before, forecast = one.machine.installed(), one.preview(operation())

    with one.working() as work:
        found = operation().prepare(work, wait=5)
        with pytest.raises(Refused, match="demo-web"):
            operation().resolve(work, forecast, None)

    assert "could not be repaired" in found[0]
    assert one.machine.installed() == before


def test_a_held_lock_names_its_holder(one: Bench) -> None:
    one.machine.exec(["systemd-run", "-q", "--unit=holder", "python3", "-c", LOCK])
    wait_until(lambda: "held" in one.machine.exec(["ls", "/run"]), "the lock is held", deadline=30)
    with (
        one.working() as work,
        pytest.raises(Refused, match=r"busy: \S*python3 .*\(pid \d+\) holds /var/lib/dpkg/lock-front"),
    ):
        operation().prepare(work, wait=1)

    assert any("python3" in line and line.startswith("waiting: ") for line in one.said)


def test_a_dead_mirror_refuses_before_anything_changes(fleet: Fleet, one: Bench) -> None:
    fleet.repository.break_it("error")
    with one.working() as work, pytest.raises(Refused, match="not every repository answers"):
        operation().prepare(work, wait=1)


@pytest.mark.parametrize("place", [{"free_bytes": 10**8}, {"read_only": True}, {"free_inodes": 10}])
def test_a_host_without_room_is_refused(one: Bench, place: dict[str, object]) -> None:
    one.facts = Facts(filesystems=(Filesystem.model_validate({"path": "/", "free_bytes": 10**11, **place}),))
    with one.working() as work, pytest.raises(Refused):
        operation().prepare(work, wait=1)


def test_a_newer_version_that_appears_is_not_taken(fleet: Fleet, one: Bench) -> None:
    fleet.repository.publish("demo-web", "1.1")
    op = operation(updates=WEB)
    forecast = one.preview(op)
    fleet.repository.publish("demo-web", "1.4")

    with one.working() as work:
        op.prepare(work, wait=5)
        change = op.stage(work, op.resolve(work, forecast, None), keep=False)
        outcome, _ = one.apply(work, op, change)
        assert outcome.ok and op.verify(work, change) == ()

    assert one.machine.installed()["demo-web"] == "1.1"


def test_a_version_that_vanished_comes_from_the_capture(fleet: Fleet) -> None:
    first, second = fleet.pristine(2)
    for machine in (first, second):
        machine.install("demo-web", "1.0")
    fleet.repository.publish("demo-web", "1.1")
    op = operation(updates=WEB)
    with bench(fleet, first) as one, bench(fleet, second) as two:
        later = two.preview(op)
        tested = op.freeze([one.change(op, keep=True).change])
        fleet.repository.withdraw("demo-web", "1.1")
        fleet.repository.publish("demo-web", "1.5")
        two.artifacts = one.artifacts

        with two.working() as work:
            op.prepare(work, wait=5)
            change = op.stage(work, op.resolve(work, later, tested), keep=False)
            op.capture(work, change)
            outcome, _ = two.apply(work, op, change)
            wrong = op.verify(work, change)

        assert (outcome.ok, wrong, change.items[0].pushed) == (True, (), True)
        assert second.installed()["demo-web"] == "1.1"
        assert second.exec(["ls", "/var/lib/mainstay/debs"]) == ""


def test_a_version_that_vanished_and_was_not_captured_is_refused(fleet: Fleet, one: Bench) -> None:
    fleet.repository.publish("demo-web", "1.1")
    op = operation(updates=WEB)
    forecast = one.preview(op)
    fleet.repository.withdraw("demo-web", "1.1")

    with one.working() as work:
        op.prepare(work, wait=5)
        with pytest.raises(Refused, match=r"demo-web 1\.1 is in no repository any more and was not captured"):
            op.resolve(work, forecast, None)


def test_what_is_newer_already_stays_and_is_reported(fleet: Fleet, one: Bench) -> None:
    fleet.repository.publish("demo-web", "1.1")
    op = operation(updates=WEB)
    forecast = one.preview(op)
    fleet.repository.publish("demo-web", "1.4")
    one.machine.install("demo-web", "1.4")

    with one.working() as work:
        op.prepare(work, wait=5)
        change = op.resolve(work, forecast, None)

    assert op.changes(change) == 0
    assert [(left.item, left.reason) for left in op.left_out(change) if left.item == "demo-web"] == [
        ("demo-web", "newer")
    ]


def test_untested_is_marked_or_left_out(fleet: Fleet, one: Bench) -> None:
    fleet.repository.publish("demo-web", "1.1")
    forecast, nothing = one.preview(operation(updates=WEB)), {"version": 1, "packages": {}}

    with one.working() as work:
        operation().prepare(work, wait=5)
        taken = operation(updates=WEB).resolve(work, forecast, nothing)
        left = operation(updates=WEB, untested="refuse").resolve(work, forecast, nothing)

    assert [item.untested for item in taken.items] == [True]
    assert left.items == () and "untested" in {one.reason for one in left.left_out}


def test_an_old_version_that_is_nowhere_is_rebuilt_and_goes_back(fleet: Fleet, one: Bench) -> None:
    fleet.repository.publish("demo-web", "1.1")
    fleet.repository.withdraw("demo-web", "1.0")
    one.machine.exec(["apt-get", "clean"])
    before = one.machine.exec(["sha256sum", "/usr/lib/demo-web/serve"])
    op = operation(updates=WEB)

    done = one.change(op)
    one.machine.exec(["tee", "/etc/demo-web/demo-web.conf"], stdin=b"greeting = mine\n")
    back = one.back(op, done.undo)

    assert [item.where for item in done.undo.items] == ["rebuilt"]
    assert one.machine.exec(["cat", "/etc/demo-web/demo-web.conf"]) == "greeting = mine\n"
    assert "/etc/demo-web/demo-web.conf" in one.machine.exec(["dpkg-query", "-W", "-f", "${Conffiles}", "demo-web"])
    assert (back.outcome.ok, back.wrong) == (True, ())
    assert one.machine.installed()["demo-web"] == "1.0"
    assert one.machine.exec(["sha256sum", "/usr/lib/demo-web/serve"]) == before
    assert one.machine.exec(["systemctl", "is-active", "demo-web"]) == "active\n"
    with one.working() as work:
        assert op.manager.rebuild(work, "demo-web"), "what was rebuilt once can be rebuilt again"


def test_an_old_version_that_only_the_host_has_is_captured(fleet: Fleet, one: Bench) -> None:
    fleet.repository.publish("demo-web", "1.1")
    fleet.repository.withdraw("demo-web", "1.0")
    op = operation(updates=WEB)

    done = one.change(op)
    one.machine.exec(["apt-get", "clean"])

    assert [(item.where, one.artifacts.has(item.sha256 or "")) for item in done.undo.items] == [("captured", True)]
    assert one.back(op, done.undo).outcome.ok and one.machine.installed()["demo-web"] == "1.0"


def test_what_somebody_changes_between_the_set_and_the_apply_stops_it(fleet: Fleet, one: Bench) -> None:
    fleet.repository.publish("demo-web", "1.1")
    op = operation(updates=WEB)
    forecast = one.preview(op)
    with one.working() as work:
        op.prepare(work, wait=5)
        change = op.stage(work, op.resolve(work, forecast, None), keep=False)
        one.machine.exec(["apt-mark", "hold", "demo-web"])
        outcome, _ = one.apply(work, op, change)

    assert not outcome.ok and "nothing was installed" in outcome.detail
    assert one.machine.exec(["dpkg-query", "-W", "demo-web"]) == "demo-web\t1.0\n"


def test_changes_of_others_are_seen_and_ours_are_not(fleet: Fleet, one: Bench) -> None:
    fleet.repository.publish("demo-web", "1.1")
    op = operation(updates=WEB)
    with one.working() as work:
        mark = op.log_mark(work.shell)
    done = one.change(op)
    openssl = fleet.repository.updates()["openssl"]
    one.machine.install("openssl", openssl)

    with one.working() as work:
        found = op.changed_by_others(work, mark, done.change)
        nobody = op.changed_by_others(work, op.log_mark(work.shell), Change())

    assert any(line.startswith("upgrade openssl:amd64") and line.endswith(f"→ {openssl}") for line in found)
    assert not any("demo-web" in line for line in found)
    assert nobody == ()


def test_the_log_is_followed_over_a_rotation(fleet: Fleet, one: Bench) -> None:
    op = operation(updates=WEB)
    with one.working() as work:
        mark = op.log_mark(work.shell)
    fleet.repository.publish("demo-web", "1.1")
    one.machine.install("demo-web", "1.1")
    one.machine.exec(["mv", "/var/log/dpkg.log", "/var/log/dpkg.log.1"])
    one.machine.exec(["apt-get", "-y", "remove", "demo-web"])

    with one.working() as work:
        found = op.changed_by_others(work, mark, Change())

    assert found == ("upgrade demo-web:all 1.0 → 1.1", "remove demo-web:all 1.1 → gone")
