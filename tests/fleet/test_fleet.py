"""The fleet itself: what the other tests stand on."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Literal

import pytest

from tests.fleet import Fleet, FleetError, Host
from tests.fleet.fleet import reap, temporary
from tests.fleet.system import run, wait_until


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


def test_what_is_published_is_what_apt_sees_next(fleet: Fleet, host: Host) -> None:
    host.install("demo-web", "1.0")
    assert "Candidate: 1.0\n" in policy(host, "demo-web")

    fleet.repository.publish("demo-web", "1.1")
    assert "Candidate: 1.1\n" in policy(host, "demo-web")

    fleet.repository.withdraw("demo-web", "1.1")
    assert "Candidate: 1.0\n" in policy(host, "demo-web")


def test_the_real_security_updates_are_pending_and_their_old_versions_can_be_had(fleet: Fleet, host: Host) -> None:
    updates = fleet.repository.updates()
    before = host.installed()
    simulated = policy(host, "none") + host.exec(["apt-get", "-s", "dist-upgrade"])

    assert updates
    inst = [line.split() for line in simulated.splitlines() if line.startswith("Inst ")]
    assert {words[1] for words in inst} == set(updates)
    assert any(words[4].startswith("Debian-Security:") for words in inst)
    for name in updates:
        assert f" {before[name]} " in host.exec(["apt-cache", "madison", name])


def test_an_old_version_that_is_withdrawn_cannot_be_had_any_more(fleet: Fleet, host: Host) -> None:
    name = next(iter(fleet.repository.updates()))
    old = host.installed()[name]

    fleet.repository.withdraw(name, old)

    host.exec(["apt-get", "-q", "update"])
    with pytest.raises(FleetError, match=r"Can't find a source|404"):
        host.exec(["apt-get", "download", f"{name}={old}"])


def test_more_of_the_release_can_be_had_with_all_that_it_needs(fleet: Fleet, host: Host) -> None:
    fleet.repository.fetch("unattended-upgrades")

    host.exec(["apt-get", "-q", "update"])
    host.exec(["apt-get", "-q", "-y", "--no-install-recommends", "install", "unattended-upgrades"])

    assert "enabled" in host.exec(["systemctl", "is-enabled", "unattended-upgrades"])


@pytest.mark.parametrize("how", ["refused", "error"])
def test_a_dead_mirror_is_seen_as_dead(fleet: Fleet, host: Host, how: Literal["refused", "error"]) -> None:
    # at the first try: three more, each later, are waiting alone
    strict = ["apt-get", "-q", "update", "-o", "APT::Update::Error-Mode=any", "-o", "Acquire::Retries=0"]
    fleet.repository.break_it(how)
    with pytest.raises(FleetError, match="exit 100"):
        host.exec(strict)

    fleet.repository.mend()
    host.exec(strict)


def test_a_package_that_was_tampered_with_is_refused(fleet: Fleet, host: Host) -> None:
    """The repository is signed for real: apt in the hosts trusts nothing else."""
    release = fleet.repository.path / "www/dists/demo/InRelease"
    release.write_text(release.read_text().replace("Label: Fleet", "Label: Other"))

    with pytest.raises(FleetError, match=r"not signed|BADSIG|invalid"):
        host.exec(["apt-get", "-q", "update", "-o", "APT::Update::Error-Mode=any"])


def healthz(host: Host) -> str:
    try:
        with urllib.request.urlopen(f"http://{host.address}:8080/healthz", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError as error:
        return str(error)


@pytest.mark.parametrize(
    ("version", "installs", "answers", "reboot"),
    [
        ("1.1", True, "1.1", False),
        ("1.2", True, "refused", False),
        ("1.3", False, "1.0", False),
        ("1.5", True, "1.5", True),
    ],
)
def test_each_version_of_demo_web_behaves_as_its_name_says(
    fleet: Fleet, host: Host, version: str, installs: bool, answers: str, reboot: bool
) -> None:
    host.install("demo-web", "1.0")
    assert healthz(host) == "demo-web 1.0\n"
    fleet.repository.publish("demo-web", version)

    if installs:
        host.install("demo-web", version)
    else:
        with pytest.raises(FleetError, match="cannot migrate"):
            host.install("demo-web", version)

    assert answers in healthz(host)
    assert ("reboot-required.pkgs" in host.exec(["ls", "/run"])) == reboot
    assert (host.installed().get("demo-web") == version) == installs


def test_version_1_4_has_a_conffile_that_differs(fleet: Fleet, host: Host) -> None:
    host.install("demo-web", "1.0")
    host.exec(["sh", "-c", "echo 'greeting = moin' >/etc/demo-web/demo-web.conf"])
    fleet.repository.publish("demo-web", "1.4")

    with pytest.raises(FleetError, match="conffile prompt"):
        host.install("demo-web", "1.4")


def test_version_1_6_prints_for_as_long_as_it_is_told(fleet: Fleet, host: Host) -> None:
    host.install("demo-web", "1.0")
    host.exec(["sh", "-c", "echo 1 >/etc/demo-web/seconds"])
    fleet.repository.publish("demo-web", "1.6")

    host.exec(["apt-get", "-q", "update"])
    said = host.exec(["apt-get", "-q", "-y", "install", "demo-web"])

    assert said.count("demo-web: migrating record") == 10


def test_a_pulled_cable_hangs_and_comes_back(fleet: Fleet) -> None:
    one, other = fleet.pristine(2)
    reach = ["bash", "-c", f"timeout 1 bash -c '</dev/tcp/{other.address}/22'"]
    one.exec(reach)

    other.link_down()
    with pytest.raises(FleetError, match="exit 124"):
        one.exec(reach)

    other.link_up()
    other.wait()
    one.exec(reach)


def test_a_host_is_new_again_after_it_was_lent(fleet: Fleet) -> None:
    (first,) = fleet.pristine(1)
    first.exec(["touch", "/etc/mine"])
    key = first.known_hosts_line

    (again,) = fleet.pristine(1)

    assert again is first
    assert again.known_hosts_line == key
    with pytest.raises(FleetError, match="No such file"):
        again.exec(["ls", "/etc/mine"])


def test_neighbours_do_not_see_into_each_others_services(fleet: Fleet) -> None:
    """In control groups that they shared, a stopped service would live on in the one of its name next door."""
    one, other = fleet.pristine(2)
    for each in (one, other):
        each.install("demo-web", "1.0")

    one.exec(["systemctl", "stop", "demo-web"])

    assert one.exec(["systemctl", "show", "-P", "ControlGroup", "demo-web"]) == "\n"
    assert healthz(other) == "demo-web 1.0\n"


def traces(fleet: Fleet) -> set[str]:
    """What can be seen of a fleet on this machine: namespaces, control groups, links, mounts, processes, files."""
    mark = fleet.network.bridge
    names = re.compile(rf"{mark}|{mark}-h\d+|ms{fleet.network.number}h\d+")
    found = {str(path) for path in Path("/run/netns").glob(f"{mark}-h*") if names.fullmatch(path.name)}
    # os.walk, not glob: groups of other fleets come and go meanwhile
    groups = (Path(folder) / name for folder, inner, _ in os.walk("/sys/fs/cgroup") for name in inner)
    found |= {str(group) for group in groups if names.fullmatch(group.name)}
    links = (line.split(":", 2)[:2] for line in run(["ip", "-o", "link"]).splitlines())
    found |= {f"link {index} {name}" for index, told in links if names.fullmatch(name := told.strip().split("@")[0])}
    found |= {line for line in Path("/proc/self/mounts").read_text().splitlines() if str(fleet.path) in line}
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = cmdline.read_bytes().decode("utf-8", "replace")
            found |= {words} if str(fleet.path) in words else set()
    return found | {str(path) for path in [fleet.path] if path.exists()}


def remains(fleet: Fleet, there: set[str]) -> set[str]:
    """What is left of what was there. Its number is free again with its bridge, and the next fleet of this machine may
    have it already: then namespaces and groups of these names are that one's, who could not have made them otherwise."""
    now = traces(fleet)
    another = any(one.endswith(f" {fleet.network.bridge}") for one in now - there)
    left = {one for one in now & there if one.startswith("link ") or not another}
    return left | {one for one in now if str(fleet.path) in one}


def gone(fleet: Fleet, there: set[str]) -> None:
    assert len(there) > 3, "it was seen"
    wait_until(lambda: remains(fleet, there) == set(), f"nothing of {sorted(there)} is left", deadline=60)


def test_a_folder_that_holds_something_is_no_place_for_a_fleet(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()

    with pytest.raises(FleetError, match="not empty"):
        Fleet.create(tmp_path)

    assert (tmp_path / "mine").exists()


def test_two_fleets_at_once_share_nothing_and_leave_nothing(fleet: Fleet) -> None:
    (mine,) = fleet.pristine(1)
    with temporary() as other:
        (theirs,) = other.pristine(1)
        assert theirs.address != mine.address
        assert ssh(other, theirs, "hostname").stdout == ssh(fleet, mine, "hostname").stdout == "h1\n"
        assert theirs.known_hosts_line.split()[2] != mine.known_hosts_line.split()[2]
        there = traces(other)

    gone(other, there)
    assert ssh(fleet, mine, "hostname").stdout == "h1\n"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_fleet_is_gone_and_a_killed_one_is_reaped(how: signal.Signals) -> None:
    program = (
        "import signal, sys; from tests.fleet.fleet import temporary\n"
        "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
        "with temporary() as fleet:\n"
        "    fleet.add(1); print(fleet.path, flush=True); signal.pause()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        fleet = Fleet.open(Path(process.stdout.readline().decode().strip()))
        there = traces(fleet)
        process.send_signal(how)
        process.wait(timeout=60)

    if how == signal.SIGKILL:
        reap()
    gone(fleet, there)
