"""A reboot is proved by the boot id, on real hosts: it happens, it does not happen, the host stays away, another one answers."""

from __future__ import annotations

import subprocess

import pytest

from mainstay.runner import reboot
from mainstay.runner.hooks import run_hook
from mainstay.runner.plan import Hook
from mainstay.runner.shell.contract import ContactLost, HostKeyRefused
from tests.fleet import Fleet, Host
from tests.fleet.upkeep_kit import hold


def test_a_reboot_is_started_cleanly_and_proved_and_started_again_does_nothing(fleet: Fleet, host: Host) -> None:
    with hold(fleet, host) as held:
        # a boot that takes its time: sshd answers long before it is done
        held.unit("slow.service", "[Service]", "Type=oneshot", "RemainAfterExit=yes", "ExecStart=/bin/sleep 3",
                  "[Install]", "WantedBy=multi-user.target")  # fmt: skip
        host.exec(["systemctl", "enable", "slow.service"])
        before = held.facts()

        held.upkeep.reboot_start(held.work, "run1-h1-reboot", before.boot_id)
        after = held.upkeep.reboot_wait(held.shells, held.work.host, before.boot_id, 60)

        assert after.boot_id not in ("", before.boot_id)
        assert after.boot_id == host.boot_id()
        assert host.exec(["systemctl", "is-active", "slow.service"]).strip() == "active", "its boot is over"

        held.upkeep.reboot_start(held.work, "run1-h1-reboot", before.boot_id)
        with pytest.raises(reboot.RebootFailed, match="still the same boot"):
            reboot.wait(held.shells, held.work.host, after.boot_id, 4)
        assert host.boot_id() == after.boot_id


def test_a_host_that_does_not_come_back_is_lost_and_not_changed(fleet: Fleet, host: Host) -> None:
    with hold(fleet, host) as held:
        boot_id = held.facts().boot_id
        host.power_cut()

        with pytest.raises(ContactLost, match="not back within 3 s"):
            reboot.wait(held.shells, held.work.host, boot_id, 3)

        host.boot()
        new, state = reboot.wait(held.shells, held.work.host, boot_id, 60)
        assert new == host.boot_id() != boot_id
        assert state in ("running", "degraded")


def test_another_host_key_after_the_reboot_is_not_taken_for_the_host(fleet: Fleet, host: Host) -> None:
    with hold(fleet, host) as held:
        boot_id = held.facts().boot_id
        host.exec(
            ["sh", "-c", "rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key"]
        )
        host.reboot()

        with pytest.raises(HostKeyRefused):
            reboot.wait(held.shells, held.work.host, boot_id, 30)


def test_the_flag_and_a_replaced_pid_1_are_reasons_and_a_calm_host_has_none(fleet: Fleet, host: Host) -> None:
    with hold(fleet, host) as held:
        calm = held.upkeep.reboot_need(held.work)
        host.exec(["sh", "-c", "touch /run/reboot-required; echo linux-base >/run/reboot-required.pkgs"])
        flagged = held.upkeep.reboot_need(held.work)

    assert (calm.needed, calm.reasons) == (False, ())
    assert (flagged.needed, flagged.reasons) == (True, ("asked for by linux-base",))


def test_a_hook_on_the_controller_is_stopped_with_everything_that_it_started(fleet: Fleet, host: Host) -> None:
    with hold(fleet, host) as held:
        said: list[bytes] = []
        held.work.output = said.append
        script = "echo $MAINSTAY_HOST; sleep 47111 & sleep 47111"
        late = run_hook(Hook(controller=("sh", "-c", script), timeout="1s"), held.work)

    assert late.detail == "sh: did not end within 1 s; it was stopped"
    assert b"".join(said) == b"h1\n"
    assert subprocess.run(["pgrep", "-f", "sleep 47111"], capture_output=True, check=False).stdout == b""
