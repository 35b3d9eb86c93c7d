"""The fleet itself: what the other tests stand on."""

from __future__ import annotations

import subprocess

import pytest

from tests.fleet import Fleet, FleetError, Host


def ssh(fleet: Fleet, host: Host, command: str, *, user: str = "ops") -> subprocess.CompletedProcess[str]:
    options = ["-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={fleet.known_hosts}"]
    argv = ["ssh", "-F", "none", "-i", str(fleet.key), *options, f"{user}@{host.address}", command]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def policy(host: Host, package: str) -> str:
    host.exec(["apt-get", "-q", "update"])
    return host.exec(["apt-cache", "policy", package])


@pytest.mark.parametrize(("user", "sudo"), [("ops", "0"), ("reader", ""), ("root", "")])
def test_the_key_opens_each_login_and_sudo_is_for_ops_alone(fleet: Fleet, host: Host, user: str, sudo: str) -> None:
    said = ssh(fleet, host, "id -un; hostname; sudo -n id -u", user=user).stdout.split()

    assert said[:2] == [user, "h1"]
    assert said[2:] == ([sudo] if sudo else (["0"] if user == "root" else []))


def test_a_reboot_is_a_new_boot_of_the_same_machine(fleet: Fleet, host: Host) -> None:
    before = host.boot_id()
    host.exec(["touch", "/etc/stays"])

    host.reboot()

    assert host.boot_id() != before
    assert ssh(fleet, host, "ls /etc/stays").returncode == 0


def test_after_a_power_cut_it_is_off_until_it_is_switched_on(fleet: Fleet, host: Host) -> None:
    host.power_cut()

    assert ssh(fleet, host, "true").returncode == 255
    with pytest.raises(FleetError, match="switched off"):
        host.boot_id()
    host.boot()
    assert ssh(fleet, host, "true").returncode == 0
