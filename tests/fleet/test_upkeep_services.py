"""What runs replaced code on a real host is found without needrestart, restarted where it may be, and named otherwise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mainstay.runner.health.checking import check_all
from mainstay.runner.plan import Carefulness, Check
from mainstay.runner.services import finding, restarting
from mainstay.runner.shell.contract import Command
from tests.fleet import Fleet, Host
from tests.fleet.upkeep_kit import Hold, hold

LIBSSL = "libssl3"


def replace(machine: Host, library: str) -> None:
    """Replace a file as dpkg does: the new one beside it, then renamed over it."""
    path = f"/usr/lib/x86_64-linux-gnu/{library}"
    machine.exec(["sh", "-c", 'p=$(readlink -f "$1"); cp -p "$p" "$p.new"; mv "$p.new" "$p"', "sh", path])


def test_a_service_that_runs_a_library_from_before_its_update_is_restarted(fleet: Fleet, host: Host) -> None:
    new = fleet.repository.updates()[LIBSSL]
    before = host.exec(["systemctl", "show", "--value", "-p", "MainPID", "ssh.service"])
    with hold(fleet, host) as held:
        assert held.upkeep.stale(held.work) == ()
        host.install(LIBSSL, new)

        stale = finding.find(held.shell)
        assert "ssh.service" in {unit.unit for unit in stale.services}
        assert any("libcrypto" in path for unit in stale.services for path in unit.files)

        done = held.upkeep.restart(held.work, Carefulness())

        assert "ssh.service" in done.restarted
        assert done.failed == ()
        assert not any(line.startswith("ssh.service") for line in done.stale), done.stale
        # the connection that restarted sshd is still the same one
        assert held.shell.run(Command(("true",))).status == 0
    assert host.exec(["systemctl", "show", "--value", "-p", "MainPID", "ssh.service"]) != before


def test_what_is_never_restarted_on_its_own_is_left_and_named_with_the_reason(fleet: Fleet, host: Host) -> None:
    with hold(fleet, host) as held:
        bus = host.exec(["systemctl", "show", "--value", "-p", "MainPID", "dbus.service"])
        replace(host, "libc.so.6")

        done = held.upkeep.restart(held.work, Carefulness())
        need = held.upkeep.reboot_need(held.work)

    assert host.exec(["systemctl", "show", "--value", "-p", "MainPID", "dbus.service"]) == bus
    assert "dbus.service (everything that talks over the bus loses it)" in done.stale
    assert "systemd-journald.service" in done.restarted
    assert not any("systemd (PID 1)" in line for line in done.stale), "PID 1 starts anew in place"
    assert need.needed is True
    assert any("C library" in reason and "dbus.service" in reason for reason in need.reasons)


def test_the_login_manager_is_restarted_unless_somebody_sits_at_the_screen(fleet: Fleet, host: Host) -> None:
    shown = ["systemctl", "show", "--value", "-p", "MainPID", "systemd-logind.service"]
    with hold(fleet, host) as held:
        # A stand-in under its name: the real one is started by the first login, and not on every machine.
        host.exec(["cp", "/usr/bin/sleep", "/usr/bin/doze"])
        held.unit("systemd-logind.service", "[Service]", "ExecStart=/usr/bin/doze 3600")
        host.exec(["systemctl", "restart", "systemd-logind.service"])
        host.exec(["sh", "-c", "cp /usr/bin/sleep /usr/bin/doze.new; mv /usr/bin/doze.new /usr/bin/doze"])
        before = host.exec(shown)
        host.exec(
            ["sh", "-c", "mkdir -p /run/systemd/sessions; printf 'UID=1000\\nSEAT=seat0\\n' >/run/systemd/sessions/9"]
        )
        done = held.upkeep.restart(held.work, Carefulness())
        assert "systemd-logind.service (somebody is logged in at its screen)" in done.stale
        assert host.exec(shown) == before

        host.exec(["rm", "/run/systemd/sessions/9"])
        done = held.upkeep.restart(held.work, Carefulness())
        assert done.restarted == ("systemd-logind.service",)
        assert done.stale == ()


def test_the_plan_can_name_services_that_are_left_alone(fleet: Fleet, host: Host) -> None:
    with hold(fleet, host) as held:
        replace(host, "libcrypto.so.3")

        done = held.upkeep.restart(held.work, Carefulness(restart_never=("systemd-journal*", "ssh", "*login*")))
        nothing = held.upkeep.restart(held.work, Carefulness(restart="none"))

    assert done.restarted == ()
    assert {"ssh.service (the plan says so)", "systemd-journald.service (the plan says so)"} <= set(done.stale)
    assert "ssh.service (restart: none)" in nothing.stale


def test_a_service_that_does_not_come_up_again_is_failed_and_one_that_refuses_is_left(fleet: Fleet, host: Host) -> None:
    with hold(fleet, host) as held:
        host.exec(["sh", "-c", "cp /usr/bin/sleep /usr/bin/doze; cp /usr/bin/sleep /usr/bin/nap"])
        held.unit("doze.service", "[Service]", "ExecStart=/usr/bin/doze 3600")
        held.unit("nap.service", "[Unit]", "RefuseManualStop=yes", "[Service]", "ExecStart=/usr/bin/nap 3600")
        host.exec(["systemctl", "start", "doze", "nap"])
        # replaced by something that can't run
        host.exec(
            ["sh", "-c", "for p in doze nap; do echo broken >/usr/bin/$p.new; mv /usr/bin/$p.new /usr/bin/$p; done"]
        )

        done = held.upkeep.restart(held.work, Carefulness())

    assert done.failed == ("doze.service",)
    assert done.restarted == ()
    assert done.stale == ("nap.service (it refuses to be stopped by hand)",)


def test_a_login_that_runs_old_code_is_told_apart_from_the_service_that_it_came_through(
    fleet: Fleet, host: Host
) -> None:
    with hold(fleet, host) as held, hold(fleet, host) as other:
        replace(host, "libcrypto.so.3")
        restarting.restart(held.shell, held.work.fence, finding.find(held.shell), "affected")

        left = finding.find(held.shell)
        # connections of mainstay's own login are not people's
        assert [unit for unit in left.services if unit.unit == "ssh.service"] == []
        assert left.sessions == ()
        assert other.shell.run(Command(("true",))).status == 0, "and its connection goes on"


@pytest.fixture
def looping(fleet: Fleet, host: Host) -> Iterator[Hold]:
    with hold(fleet, host) as held:
        held.unit("loop.service", "[Service]", "ExecStart=/bin/sleep 0.7", "Restart=always", "RestartSec=50ms")
        held.unit("fine.service", "[Service]", "ExecStart=/bin/sleep 3600")
        held.unit("once.service", "[Service]", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=/bin/true")
        host.exec(["systemctl", "start", "loop", "fine", "once"])
        yield held


def test_a_unit_that_falls_over_and_over_is_not_well_though_it_is_up_at_every_look(looping: Hold) -> None:
    checks = [Check(service=name, retries=2, every="1s") for name in ("loop", "fine", "once", "missing")]

    before = looping.facts()
    well = looping.upkeep.until_well(looping.work, checks, before)

    assert not well.ok
    assert "service loop: " in well.detail
    assert "service missing: missing.service: there is no such unit" in well.detail
    assert "fine" not in well.detail
    assert "once" not in well.detail


def test_a_service_that_was_up_and_is_not_any_more_makes_the_host_unwell(looping: Hold) -> None:
    before = looping.facts()
    assert "fine.service" in before.active_services
    assert "once.service" not in before.active_services
    looping.machine.exec(["systemctl", "stop", "fine", "once", "loop"])
    looping.upkeep.come_back = 1.0

    well = looping.upkeep.until_well(looping.work, [], before)

    assert not well.ok
    assert "was up before and is not now: fine.service" in well.detail


def test_a_check_on_the_host_runs_as_nobody_unless_it_says_who(fleet: Fleet, host: Host) -> None:
    with hold(fleet, host) as held:
        script = 'test "$(id -un)" = "$1"'
        checks = [
            Check(name=user or "default", command=("sh", "-c", script, "sh", user or "nobody"), user=user)
            for user in (None, "root", "ops", "www-data")
        ]
        checks.append(Check(name="gone", command=("/no/such/program",)))
        checks.append(Check(name="slow", command=("sleep", "300"), timeout="1s"))

        results = {result.name: result for result in check_all(checks, held.work.host, held.shell)}

    assert {name for name, result in results.items() if result.ok} == {"default", "root", "ops", "www-data"}
    assert results["gone"].detail == "/no/such/program: not found on this host"
    assert results["slow"].detail == "no answer within 1 s"
    assert results["slow"].seconds < 100
