"""Preflight: which facts refuse a host, which are told, and which say nothing."""

from __future__ import annotations

from typing import Any

import pytest

from mainstay.inventory.facts import Facts, Filesystem, LockHolder, Updater
from mainstay.runner.plan import Carefulness, Check
from mainstay.runner.preflight import BOOT_MIN, CLOCK_SKEW_MAX, FREE_MIN, INODES_MIN, judge
from mainstay.runner.upkeep import Judgement

FIT: dict[str, Any] = {
    "os_id": "debian",
    "os_version": "12",
    "package_manager": "apt",
    "boot_id": "b",
    "kernel": "6.1.0-18-amd64",
    "kernels_installed": ("6.1.0-18-amd64",),
    "systemd": True,
    "sudo": True,
    "clock_skew": 0.2,
    "dpkg_broken": (),
    "filesystems": (Filesystem(path="/", free_bytes=10 * FREE_MIN, free_inodes=10 * INODES_MIN, mount="/"),),
}
TIMER = Updater(unit="apt-daily-upgrade.timer", enabled=True, active=True, installs=True)
CRON = Updater(unit="/etc/cron.d/nightly", enabled=True, active=True)


def facts(**changed: Any) -> Facts:
    return Facts(**{**FIT, **changed})


def space(
    path: str, free: int = 10 * FREE_MIN, inodes: int | None = None, *, ro: bool = False, mount: str = ""
) -> Filesystem:
    return Filesystem(path=path, free_bytes=free, free_inodes=inodes, read_only=ro, mount=mount or path)


def test_a_fit_host_is_neither_refused_nor_talked_about() -> None:
    judgement = judge(facts(), Carefulness())

    assert judgement.refusals == ()
    assert judgement.notes == ()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sudo": False}, "no sudo to become root with"),
        ({"clock_skew": CLOCK_SKEW_MAX + 1}, "its clock is 301 s ahead of the controller's"),
        ({"clock_skew": -1000.0}, "its clock is 1000 s behind the controller's"),
        ({"package_manager": None}, "no package manager was found"),
        ({"package_manager": "dnf", "os_id": "rhel", "os_version": "9"}, "rhel 9 uses dnf, which is not supported"),
        ({"filesystems": (space("/", ro=True), space("/usr", ro=True, mount="/"))}, "mounted read-only: /"),
        ({"filesystems": (space("/"), space("/var", ro=True))}, "mounted read-only: /var"),
        ({"filesystems": (space("/", FREE_MIN - 1),)}, "/ has 499 MB free; 500 MB are needed"),
        ({"filesystems": (space("/"), space("/var", inodes=INODES_MIN - 1))}, "/var has 9999 inodes free"),
        ({"boot_id": ""}, "a reboot could not be proved"),
        ({"updaters": (TIMER,)}, "apt-daily-upgrade.timer installs updates here too"),
        ({"updaters": (CRON,)}, "/etc/cron.d/nightly installs updates here too"),
        ({"unknown": ("updaters",)}, "could not be found out"),
    ],
)
def test_what_refuses_a_host(changed: dict[str, Any], words: str) -> None:
    (refusal,) = judge(facts(**changed), Carefulness()).refusals

    assert words in refusal


def test_one_short_file_system_is_named_once_whatever_lies_on_it() -> None:
    short = facts(filesystems=(space("/", 5), space("/usr", 7, mount="/"), space("/var", 5, mount="/")))

    assert len(judge(short, Carefulness()).refusals) == 1


def test_a_change_that_needs_more_than_the_least_is_refused_where_twice_as_much_is_not_there() -> None:
    need = FREE_MIN
    assert judge(facts(filesystems=(space("/", 2 * need),)), Carefulness(), need_bytes=need).refusals == ()

    (refusal,) = judge(facts(filesystems=(space("/", 2 * need - 1),)), Carefulness(), need_bytes=need).refusals
    assert refusal == "/ has 999 MB free; 1000 MB are needed"


def test_what_installs_no_packages_needs_no_space_for_them() -> None:
    poor = facts(package_manager=None, filesystems=(space("/", 0, 0),))

    assert judge(poor, Carefulness(), packages=False).refusals == ()


@pytest.mark.parametrize(
    ("policy", "updaters", "refused", "noted"),
    [
        ("fence", (TIMER,), "", ""),
        ("fence", (CRON,), "/etc/cron.d/nightly installs updates and can't be fenced", ""),
        ("report", (TIMER, CRON), "", "/etc/cron.d/nightly installs updates here too"),
        ("refuse", (TIMER.model_copy(update={"installs": False}),), "", ""),
        ("refuse", (TIMER.model_copy(update={"active": False}),), "", ""),
        ("refuse", (TIMER.model_copy(update={"installs": None}),), "apt-daily-upgrade.timer", ""),
    ],
)
def test_other_updaters_by_policy(policy: Any, updaters: tuple[Updater, ...], refused: str, noted: str) -> None:
    judgement = judge(facts(updaters=updaters), Carefulness(other_updaters=policy))

    assert bool(judgement.refusals) == bool(refused)
    assert refused in "".join(judgement.refusals)
    assert bool(judgement.notes) == bool(noted)
    assert noted in "\n".join(judgement.notes)


def test_a_fence_needs_systemd() -> None:
    (refusal,) = judge(facts(systemd=False, updaters=(TIMER,)), Carefulness(other_updaters="fence")).refusals

    assert "only where systemd runs" in refusal


def test_a_service_check_needs_systemd() -> None:
    (refusal,) = judge(facts(systemd=False), Carefulness(health=(Check(service="nginx"),))).refusals

    assert refusal.startswith("service nginx: asks systemd, which does not run here")


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({"reboot_required": True}, "a reboot was pending before this run: its flag is there"),
        (
            {"kernels_installed": ("6.1.0-18-amd64", "6.1.0-21-amd64")},
            "a reboot was pending before this run: kernel 6.1.0-21-amd64 is installed, 6.1.0-18-amd64 runs",
        ),
        ({"failed_units": ("a.service", "b.mount")}, "failed before this run: a.service, b.mount"),
        ({"dpkg_broken": ("curl: install ok half-configured",)}, "broken packages: curl: install ok half-configured"),
        ({"dpkg_broken": None}, "dpkg's state could not be read"),
        ({"clock_skew": None}, "its clock could not be read"),
        ({"unknown": ("units",)}, "its services could not be listed"),
        ({"unknown": ("space",)}, "its free space could not be read"),
        ({"systemd": False}, "systemd does not run here"),
        (
            {"filesystems": (space("/"), space("/boot", BOOT_MIN - 1))},
            "/boot has 149 MB free; a new kernel may not fit",
        ),
        (
            {"lock_holders": (LockHolder(path="/var/lib/dpkg/lock", pid=7, command="apt-get install"),)},
            "apt-get install (pid 7) holds /var/lib/dpkg/lock",
        ),
        (
            {"lock_holders": (LockHolder(path="/var/lib/dpkg/lock", pid=-1, command=""),)},
            "a process holds /var/lib/dpkg/lock",
        ),
    ],
)
def test_what_is_told_without_refusing(changed: dict[str, Any], note: str) -> None:
    judgement = judge(facts(**changed), Carefulness())

    assert judgement.refusals == ()
    assert len(judgement.notes) == 1
    assert note in judgement.notes[0]


PATCHES_ONLY = facts(
    systemd=False,
    reboot_required=True,
    kernels_installed=("6.1.0-18-amd64", "6.1.0-21-amd64"),
    failed_units=("a.service",),
    updaters=(TIMER,),
    dpkg_broken=("curl: install ok half-configured",),
    lock_holders=(LockHolder(path="/var/lib/dpkg/lock", pid=7, command="apt-get install"),),
    filesystems=(space("/", 0, 0), space("/boot", BOOT_MIN - 1)),
    unknown=("updaters", "units", "space"),
)


def test_what_leaves_the_software_as_it_is_is_told_nothing_of_packages_reboots_and_services() -> None:
    """Of a backup's preview and record, that is; a restore's likewise."""
    assert judge(PATCHES_ONLY, Carefulness(other_updaters="report"), packages=False) == Judgement((), ())
    assert judge(facts(clock_skew=None), Carefulness(), packages=False).notes == ("its clock could not be read",)


@pytest.mark.parametrize(
    ("changed", "note"),
    [
        ({"failed_units": ("a.service",)}, "failed before this run: a.service"),
        ({"unknown": ("units",)}, "its services could not be listed: none that is lost would be noticed"),
    ],
)
def test_who_looks_at_services_afterwards_is_told_of_them_in_any_case(changed: dict[str, Any], note: str) -> None:
    """Where a plan has health checks, a service that was lost makes the host fail."""
    checked = Carefulness(health=(Check(tcp=22),))
    assert judge(facts(**changed), checked, packages=False).notes == (note,)
    assert judge(facts(**changed), Carefulness(), packages=False).notes == ()
