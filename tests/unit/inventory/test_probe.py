"""The probe's parser: real outputs of hosts, and whatever else may come over the line."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.inventory.facts import Facts, LockHolder, Updater
from mainstay.inventory.probe import PROBE, ProbeGarbled, parse

CASES = Path(__file__).parents[2] / "cases" / "probe"
MARK = b"aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"


def case(name: str) -> Facts:
    return parse((CASES / f"{name}.txt").read_bytes(), sent=0, received=0)


def made(sections: str) -> bytes:
    """A probe's output of these sections: `name: line | line`, one per line."""
    lines = [b"", b"mainstay-probe 1 " + MARK]
    for line in sections.strip().splitlines():
        name, _, rest = line.strip().partition(": ")
        lines += [b"", MARK + b" " + name.encode(), *(part.encode() for part in rest.split(" | ") if part)]
    return b"\n".join([*lines, b"", MARK + b" end", b""])


def test_a_calm_debian_host() -> None:
    facts = case("debian12")

    assert facts.unknown == ()
    assert facts.cohort == "debian 12 amd64"
    assert (facts.os_codename, facts.package_manager, facts.container) == ("bookworm", "apt", "systemd-nspawn")
    assert facts.dpkg_broken == ()
    assert facts.updaters != ()
    assert not any(updater.active for updater in facts.updaters)
    assert facts.failed_units == ()
    assert facts.active_services == (
        "dbus.service",
        "ssh.service",
        "systemd-journald.service",
        "systemd-logind.service",
    )
    assert {space.mount for space in facts.filesystems} == {"/", "/tmp"}
    assert (facts.root, facts.sudo, facts.systemd, facts.needrestart) == (False, True, True, False)


def test_a_troubled_debian_host() -> None:
    facts = case("debian12-troubled")

    assert facts.dpkg_broken == ("/var/lib/dpkg/updates/0003", "demo-web: install ok half-configured")
    assert facts.lock_holders == (
        LockHolder(
            path="/var/lib/dpkg/lock-frontend",
            pid=244,
            command="/usr/bin/python3 -c import fcntl, time; f = open('/var/lib/dpkg/lock-frontend', 'w'); "
            "fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(600)",
        ),
    )
    assert facts.reboot_required
    assert facts.reboot_packages == ("libc6", "linux-base")
    assert facts.failed_units == ("broken.service",)
    assert "passing.service" not in facts.active_services, "systemd-run made it for one command"
    assert facts.updaters == (
        Updater(unit="apt-daily.timer", enabled=True, active=True, installs=False),
        Updater(unit="apt-daily-upgrade.timer", enabled=True, active=True, installs=True),
        Updater(unit="/etc/cron.d/nightly", enabled=True, active=True),
    )
    assert facts.kernels_installed == ("6.1.0-18-amd64", "6.1.0-21-amd64")
    assert (facts.owner_site, facts.owner_state, facts.owner_run, facts.lock_run) == ("acme", "0123", "01J1", "01J2")


def test_a_host_of_busybox_alone_without_systemd() -> None:
    facts = case("busybox")

    assert facts.unknown == ()
    assert (facts.os_id, facts.package_manager, facts.arch) == ("alpine", "apk", "x86_64")
    assert facts.clock == 1795333476
    assert facts.kernels_installed == ("6.6.58-0-lts",)
    assert facts.dpkg_broken is None
    assert not facts.systemd
    assert facts.root


@pytest.mark.parametrize(
    ("flags", "manager"),
    [
        ("manager=dnf5 | manager=dnf | manager=yum", "dnf"),
        ("manager=zypper", "zypper"),
        ("manager=apt | manager=dnf", "apt"),
        ("manager=yum", "yum"),
        ("sudo", None),
    ],
)
def test_the_package_manager_of_other_families(flags: str, manager: str | None) -> None:
    assert parse(made(f"flags: {flags}"), sent=0, received=0).package_manager == manager


def shown(unit: str, load: str, active: str, file: str) -> str:
    """As systemctl show prints it."""
    return f"Id={unit} | LoadState={load} | ActiveState={active} | UnitFileState={file}"


def test_what_only_prepares_updates_is_told_from_what_installs_them() -> None:
    units = [
        shown("dnf-automatic-download.timer", "loaded", "active", "enabled"),
        shown("dnf-automatic.timer", "loaded", "active", "disabled"),
        shown("apt-daily-upgrade.timer", "loaded", "active", "enabled"),
        shown("yum-cron.service", "not-found", "inactive", ""),
        "read",
    ]
    updaters = " | ".join(units)
    facts = parse(
        made(f"""
        flags: systemd
        updaters: {updaters}
        cron: /etc/cron.daily/apt-compat
        """),
        sent=0,
        received=0,
    )

    assert facts.updaters == (
        Updater(unit="dnf-automatic-download.timer", enabled=True, active=True, installs=False),
        Updater(unit="dnf-automatic.timer", enabled=False, active=True, installs=None),
        Updater(unit="apt-daily-upgrade.timer", enabled=True, active=True, installs=False),
    )


@pytest.mark.parametrize(
    ("told", "installs"),
    [
        ("unattended-upgrade | install='1' | asked", True),
        ("unattended-upgrade | install='1' | enable='0' | asked", False),
        ("unattended-upgrade | asked", False),
        ("unattended-upgrade", None),
        ("", False),
    ],
)
def test_whether_unattended_upgrades_installs_is_known_or_unknown(told: str, installs: bool | None) -> None:
    unit = "Id=apt-daily-upgrade.timer | LoadState=loaded | ActiveState=active | UnitFileState=enabled | read"
    facts = parse(made(f"flags: systemd\nupdaters: {unit} | {told}"), sent=0, received=0)

    assert facts.updaters[0].installs is installs


def test_what_could_not_be_read_is_named_and_never_a_no() -> None:
    facts = parse(made("flags: systemd"), sent=0, received=0)

    assert facts.unknown == ("os", "boot_id", "clock", "space", "mounts", "locks", "units", "updaters")
    assert facts.clock_skew is None
    assert facts.dpkg_broken is None


def test_services_of_timers_and_one_shot_ones_are_not_there_to_stay() -> None:
    facts = parse(
        made(
            "units: a.service active running | b.service active exited | backup.service active running"
            " | backup.timer active waiting | c.service failed failed | d.mount failed failed | read"
        ),
        sent=0,
        received=0,
    )

    assert facts.active_services == ("a.service",)
    assert facts.failed_units == ("c.service", "d.mount")


def test_a_mount_over_another_and_the_nearest_one_count() -> None:
    facts = parse(
        made("""
        space: 10 4096 5 100 / | 10 4096 5 0 /var/cache/apt/archives | x y z q /tmp | 10 4096 5 100 /usr
        mounts: /dev/a / ext4 rw 0 0 | /dev/a / ext4 ro,noatime 0 0 | /dev/b /var ext4 rw,errors=remount-ro 0 0
        """),
        sent=0,
        received=0,
    )
    seen = {space.path: space for space in facts.filesystems}

    assert seen["/"].read_only
    assert seen["/usr"].read_only
    assert not seen["/var/cache/apt/archives"].read_only
    assert seen["/var/cache/apt/archives"].mount == "/var"
    assert seen["/var/cache/apt/archives"].free_inodes is None, "a file system without a fixed number of inodes"
    assert seen["/"].free_bytes == 40960
    assert set(seen) == {"/", "/usr", "/var/cache/apt/archives"}


def test_the_clock_is_compared_at_the_middle_of_the_round_trip() -> None:
    facts = parse(made("clock: 1000.5"), sent=900, received=902)

    assert facts.clock_skew == 99.5


def test_noise_around_and_an_older_opening_in_it_are_skipped() -> None:
    noise = b"\xff\x1b[31mWelcome\nmainstay-probe 1 00000000-0000-0000-0000-000000000000\nno end"
    output = noise + made("arch: amd64\nflags: sudo").replace(b"\n", b"\r\n") + b"goodbye\n"

    facts = parse(output, sent=0, received=0)

    assert facts.arch == "amd64"
    assert facts.sudo


def test_a_files_content_can_not_pass_for_a_section() -> None:
    forged = "/etc/os-release:ID=evil | 00000000-0000-0000-0000-000000000000 flags | root"

    facts = parse(made(f"files: {forged}\nflags: sudo"), sent=0, received=0)

    assert not facts.root


@pytest.mark.parametrize("output", [b"", b"This account is not available.\n", b"mainstay-probe 1 short\n"])
def test_a_host_that_did_not_run_it_is_garbled(output: bytes) -> None:
    with pytest.raises(ProbeGarbled, match="did not run the probe"):
        parse(output, sent=0, received=0)


@settings(max_examples=60)
@given(st.integers(min_value=0))
def test_an_answer_that_was_cut_is_garbled_wherever_it_was_cut(at: int) -> None:
    whole = (CASES / "debian12.txt").read_bytes()
    with pytest.raises(ProbeGarbled):
        parse(whole[: at % (len(whole) - 5)], sent=0, received=0)


@settings(max_examples=150)
@given(st.binary(max_size=600), st.booleans())
def test_garbage_is_garbled_or_facts_and_nothing_else(garbage: bytes, framed: bool) -> None:
    output = made("clock: 1").replace(b"1\n", garbage, 1) if framed else garbage
    with contextlib.suppress(ProbeGarbled):
        assert isinstance(parse(output, sent=0, received=0), Facts)


@settings(max_examples=150)
@given(st.data())
def test_a_real_answer_with_lines_damaged_is_garbled_or_facts(data: st.DataObject) -> None:
    lines = (CASES / "debian12-troubled.txt").read_bytes().split(b"\n")
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(lines) - 1))
        words = lines[at].split(b" ") or [b""]
        words[data.draw(st.integers(0, len(words) - 1))] = data.draw(
            st.sampled_from([b"", b"9" * 5000, b"-1", b"=", b"'", b"\xff", b"\0", "٣".encode(), b"\t"])
            | st.binary(max_size=9)
        )
        lines[at] = b" ".join(words)
    try:
        facts = parse(b"\n".join(lines), sent=0, received=0)
    except ProbeGarbled:
        return
    assert Facts.from_json(facts.to_json()) == facts


@pytest.mark.parametrize("shell", ["dash", "bash", "sh"])
def test_the_script_runs_in_this_machines_shells_without_a_word_of_complaint(shell: str) -> None:
    done = subprocess.run([shell, "-s"], input=PROBE, capture_output=True, check=True, timeout=60)

    facts = parse(done.stdout, sent=0, received=0)

    assert done.stderr == b""
    assert facts.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert facts.kernel == Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert "space" not in facts.unknown
