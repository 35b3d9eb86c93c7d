"""Other updaters on real hosts: found, kept quiet over a reboot, let go; and a fence that nobody takes away ends by itself."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mainstay.inventory.errors import Refused
from mainstay.inventory.facts import Updater
from mainstay.runner import updaters
from mainstay.runner.plan import Carefulness
from mainstay.runner.preflight import judge
from tests.fleet import Fleet, Host
from tests.fleet.system import wait_until
from tests.fleet.upkeep_kit import Hold, hold

DONE = "/var/tmp/updated"


@pytest.fixture
def updating(fleet: Fleet, host: Host) -> Iterator[Hold]:
    """A host whose apt-daily-upgrade does something that can be seen, every boot."""
    host.exec(["sh", "-c", "rm -f /etc/systemd/system/apt-daily*; systemctl daemon-reload"])
    with hold(fleet, host) as held:
        held.unit("apt-daily-upgrade.service", "[Service]", "Type=oneshot", f"ExecStart=/bin/sh -c 'date >>{DONE}'")
        held.unit(
            "apt-daily-upgrade.timer",
            "[Timer]",
            "OnBootSec=1s",
            "AccuracySec=1ms",
            "[Install]",
            "WantedBy=timers.target",
        )
        host.exec(["systemctl", "enable", "apt-daily-upgrade.timer"])
        host.exec(["systemctl", "start", "apt-daily-upgrade.timer"])
        wait_until(lambda: updated(host), "the updater works", deadline=60)
        host.exec(["rm", DONE])
        yield held


def updated(host: Host) -> bool:
    return host.exec(["sh", "-c", f"cat {DONE} || true"]) != ""


def run_updater(host: Host) -> None:
    host.exec(["systemctl", "start", "apt-daily-upgrade.service"])


def our_files(host: Host) -> str:
    return host.exec(["find", "/etc/systemd/system", "-name", "*mainstay*"])


def test_it_is_quiet_over_a_reboot_and_works_again_when_it_is_let_go(fleet: Fleet, updating: Hold) -> None:
    host = updating.machine
    updating.work.facts = updating.facts()
    assert updating.upkeep.fence_updaters(updating.work, 600, 30) == ("apt-daily-upgrade.service", "apt-daily.service")
    run_updater(host)
    assert not updated(host)

    host.reboot()
    shown = ["systemctl", "show", "--value", "-p", "Result", "apt-daily-upgrade"]
    wait_until(lambda: host.exec(shown).strip() == "exec-condition", "its timer starts it at boot", deadline=30)
    assert not updated(host), "and the fence held"

    with hold(fleet, host, number=2, run="run2") as next_one:
        # another process goes on, and fences again
        assert next_one.upkeep.fence_updaters(next_one.work, 600, 30) == (
            "apt-daily-upgrade.service",
            "apt-daily.service",
        )
        assert updaters.fence_left(next_one.shell) != ()
        assert next_one.upkeep.release_updaters(next_one.work) == ()
        assert next_one.upkeep.release_updaters(next_one.work) == (), "again is success"
    assert our_files(host) == ""
    run_updater(host)
    assert updated(host)


def test_a_fence_that_nobody_takes_away_has_no_effect_past_its_end_and_the_next_boot_leaves_nothing_of_it(
    updating: Hold,
) -> None:
    host = updating.machine
    updaters.fence_on(updating.shell, updating.work.fence, ["apt-daily-upgrade.service"], 12, wait=5)
    host.exec(["systemctl", "stop", "mainstay-fence-expiry.timer"])
    run_updater(host)
    assert not updated(host)

    def works() -> bool:
        run_updater(host)
        return updated(host)

    wait_until(works, "the updater works again", deadline=40)

    left = updaters.fence_left(updating.shell)
    assert "/etc/systemd/system/apt-daily-upgrade.service.d/90-mainstay-fence.conf" in left
    # what takes the files away was not there when the time came: it runs at the next boot
    host.power_cut()
    host.boot()
    wait_until(lambda: our_files(host) == "", "the fence's files are gone", deadline=60)
    wait_until(lambda: updaters.fence_left(updating.shell) == (), "nothing is left in memory", deadline=60)


def test_one_that_is_at_work_is_waited_for_and_a_host_that_stays_busy_is_refused(updating: Hold) -> None:
    host = updating.machine
    busy = "ExecStart=/bin/sh -c 'until [ -e /run/let-go ]; do sleep 0.1; done'"
    updating.unit("apt-daily-upgrade.service", "[Service]", "Type=oneshot", busy)
    host.exec(["systemctl", "start", "--no-block", "apt-daily-upgrade"])

    with pytest.raises(Refused, match=r"apt-daily-upgrade\.service is still installing updates"):
        updaters.fence_on(updating.shell, updating.work.fence, ["apt-daily-upgrade.service"], 60, wait=0)
    assert our_files(host) == "", "who is refused leaves no trace"

    def seen(line: str) -> None:
        updating.said.append(line)
        host.exec(["touch", "/run/let-go"])

    updaters.fence_on(updating.shell, updating.work.fence, ["apt-daily-upgrade.service"], 60, wait=60, progress=seen)
    assert "waiting for apt-daily-upgrade.service" in updating.said
    assert updaters.fence_off(updating.shell, updating.work.fence) == ()


def test_what_installs_updates_is_found_and_what_only_looks_is_told_apart(updating: Hold) -> None:
    host = updating.machine
    host.exec(["tee", "/etc/cron.d/nightly"], stdin=b"0 3 * * * root apt-get -y dist-upgrade\n# apt-get upgrade\n")
    host.exec(["tee", "/etc/cron.d/harmless"], stdin=b"# apt-get -y upgrade is done elsewhere\n0 3 * * * root true\n")
    found = {updater.unit: updater for updater in updating.facts().updaters}

    assert found["apt-daily-upgrade.timer"] == Updater(
        unit="apt-daily-upgrade.timer", enabled=True, active=True, installs=False
    )
    assert found["/etc/cron.d/nightly"].installs is None
    assert "/etc/cron.d/harmless" not in found

    # unattended-upgrades is there and switched on
    host.exec(["sh", "-c", "printf '#!/bin/sh\\n' >/usr/bin/unattended-upgrade; chmod 755 /usr/bin/unattended-upgrade"])
    host.exec(["tee", "/etc/apt/apt.conf.d/20auto-upgrades"], stdin=b'APT::Periodic::Unattended-Upgrade "1";\n')
    facts = updating.facts()

    assert {updater.unit: updater.installs for updater in facts.updaters}["apt-daily-upgrade.timer"] is True
    refused = judge(facts, Carefulness(other_updaters="refuse")).refusals
    assert any("/etc/cron.d/nightly" in line and "apt-daily-upgrade.timer" in line for line in refused)
    fenced = judge(facts, Carefulness(other_updaters="fence")).refusals
    assert any(line.startswith("/etc/cron.d/nightly") and "can't be fenced" in line for line in fenced)
    reported = judge(facts, Carefulness(other_updaters="report"))
    assert reported.refusals == ()
    assert "apt-daily-upgrade.timer installs updates here too" in reported.notes
