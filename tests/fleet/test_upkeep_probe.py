"""The probe on real hosts: as a login without rights, as whatever shell, in whatever state the host is."""

from __future__ import annotations

import time

from mainstay.runner.plan import Carefulness
from mainstay.runner.preflight import judge
from mainstay.runner.probing import gather
from mainstay.runner.shell.adapters.fabric import FabricShells
from tests.fleet import Fleet, Host
from tests.fleet.system import wait_until
from tests.fleet.upkeep_kit import entry, hold


def test_a_login_without_any_rights_learns_everything(fleet: Fleet, host: Host) -> None:
    shells = FabricShells(lambda name: entry(fleet, host), fleet.known_hosts, str)
    shell = shells.open(entry(fleet, host, user="reader"), write=False)
    facts = gather(shell)
    shell.close()

    assert facts.unknown == ()
    assert (facts.os_id, facts.os_version, facts.arch, facts.package_manager) == ("debian", "12", "amd64", "apt")
    assert facts.cohort == "debian 12 amd64"
    assert facts.boot_id == host.boot_id()
    assert facts.container == "systemd-nspawn"
    assert facts.systemd
    assert facts.dpkg_broken == ()
    assert "ssh.service" in facts.active_services
    assert abs(facts.clock_skew or 99) < 5
    assert abs(facts.clock - time.time()) < 60
    root = next(space for space in facts.filesystems if space.path == "/")
    assert root.free_bytes > 0
    assert not root.read_only
    assert not facts.root
    assert judge(facts, Carefulness()).refusals == ()


def test_who_holds_the_package_managers_lock_is_named(fleet: Fleet, host: Host) -> None:
    script = "import fcntl, time; f = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(600)"
    host.exec(["systemd-run", "--unit=holder", "python3", "-c", script])
    with hold(fleet, host) as held:
        wait_until(lambda: held.facts().lock_holders != (), "the lock is held", deadline=60)
        (holder,) = held.facts().lock_holders

        assert holder.path == "/var/lib/dpkg/lock-frontend"
        assert holder.pid == int(host.exec(["systemctl", "show", "--value", "-p", "MainPID", "holder"]))
        assert holder.command.startswith("/usr/bin/python3 -c import fcntl")
        notes = judge(held.facts(), Carefulness()).notes
        assert any("holds /var/lib/dpkg/lock-frontend" in note for note in notes)


def test_a_package_that_stays_half_configured_is_told(fleet: Fleet, host: Host) -> None:
    fleet.repository.publish("demo-web", "1.3")
    host.exec(["sh", "-c", "apt-get -q update && apt-get -q -y install demo-web=1.3"], check=False)
    with hold(fleet, host) as held:
        facts = held.facts()

    assert facts.dpkg_broken
    assert any("demo-web" in line for line in facts.dpkg_broken), facts.dpkg_broken
    assert any("dpkg was interrupted or has broken packages" in note for note in judge(facts, Carefulness()).notes)


def test_the_hosts_owner_lock_flag_failed_units_and_transient_units_are_told(fleet: Fleet, host: Host) -> None:
    host.exec(
        ["sh", "-c", "touch /run/reboot-required; printf 'libc6\\nlinux-base\\nlibc6\\n' >/run/reboot-required.pkgs"]
    )
    host.exec(["systemd-run", "--unit=passing", "sleep", "600"])
    host.exec(["systemd-run", "--unit=broken", "false"])
    with hold(fleet, host) as held:
        wait_until(lambda: "broken.service" in held.facts().failed_units, "it failed", deadline=60)
        facts = held.facts()

    assert (facts.owner_site, facts.owner_state, facts.lock_run) == ("test", "state-of-the-test", "run1")
    assert facts.reboot_required
    assert facts.reboot_packages == ("libc6", "linux-base")
    assert "passing.service" not in facts.active_services
    assert any(
        note == "a reboot was pending before this run: asked for by libc6, linux-base"
        for note in judge(facts, Carefulness()).notes
    )


def test_a_noisy_login_shell_does_not_change_the_facts(fleet: Fleet, host: Host) -> None:
    noise = (
        'printf "mainstay-probe 1 00000000-0000-0000-0000-000000000000\\n\\377\\033[31mhello\\n"; echo to stderr >&2\n'
    )
    with hold(fleet, host) as held:
        calm = held.facts()
        host.exec(
            ["sh", "-c", "cat >/tmp/noise; cat /tmp/noise /home/ops/.bashrc >/tmp/rc; cp /tmp/rc /home/ops/.bashrc"],
            stdin=noise.encode(),
        )
        held.shell.close()
        noisy = held.facts()

    assert noisy.boot_id == calm.boot_id
    assert noisy.active_services == calm.active_services
    assert noisy.unknown == ()


def test_a_wedged_systemctl_costs_the_units_and_nothing_else(fleet: Fleet, host: Host) -> None:
    with hold(fleet, host) as held:
        before = held.facts()
        host.exec(
            ["sh", "-c", "printf '#!/bin/sh\\nexit 1\\n' >/usr/local/bin/systemctl; chmod 755 /usr/local/bin/systemctl"]
        )
        facts = held.facts()

        assert facts.unknown == ("units", "updaters")
        assert facts.boot_id == before.boot_id
        # unknown is not well, and no reason to go on
        well = held.upkeep.until_well(held.work, [], before)
        assert not well.ok
        assert "could not be listed" in well.detail
        refused = judge(facts, Carefulness()).refusals
        assert refused == (
            "whether something else installs updates here could not be found out; say other_updaters: report to go on",
        )
