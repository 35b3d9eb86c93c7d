"""Whether a reboot is needed, and the proof that it happened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mainstay.inventory.facts import Facts
from mainstay.runner import reboot
from mainstay.runner.services.contract import Stale, StaleUnit
from mainstay.runner.shell.contract import ContactLost, Fence, HostKeyRefused
from mainstay.runner.shell.fake import FakeHost, FakeShells, FakeTime

OLD = "00000000-0000-0000-0000-00000000000a"
NEW = "00000000-0000-0000-0000-00000000000b"
CURRENT = Stale(kernel_state="current")


def facts(**changed: Any) -> Facts:
    base = {"kernel": "6.1.0-18-amd64", "kernels_installed": ("6.1.0-18-amd64",)}
    return Facts(**{**base, **changed})


def stale(*units: StaleUnit, **more: Any) -> Stale:
    return CURRENT.model_copy(update={"services": units, **more})


@pytest.mark.parametrize(
    ("seen", "left", "needed", "words"),
    [
        (facts(), CURRENT, False, ""),
        (facts(reboot_required=True), CURRENT, True, "the reboot flag is set"),
        (facts(reboot_required=True, reboot_packages=("libc6",)), CURRENT, True, "asked for by libc6"),
        (facts(kernels_installed=("6.1.0-18-amd64", "6.1.0-101-amd64")), CURRENT, True, "6.1.0-101-amd64 is installed"),
        (facts(kernels_installed=("6.1.0-9-amd64", "6.1.0-18-amd64")), CURRENT, False, ""),
        (facts(kernels_installed=("6.1.0-18-amd64", "6.9.0-1-rt-amd64")), CURRENT, False, ""),
        # the running one's package is gone, a newer one is there
        (facts(kernels_installed=("6.1.0-21-amd64",)), stale(kernel_state="unknown"), True, "6.1.0-21-amd64"),
        (facts(), stale(kernel_state="replaced"), True, "replaced by a newer build"),
        (facts(), stale(kernel_state="behind", kernel_expected="6.1.0-21-amd64"), True, "6.1.0-21-amd64 is expected"),
        (facts(), stale(init=True), True, "PID 1"),
        (facts(), stale(StaleUnit(unit="dbus.service", files=("/usr/lib/libc.so.6",))), True, "C library"),
        (facts(), stale(StaleUnit(unit="dbus.service", files=("/usr/lib/libssl.so.3",))), False, ""),
        (facts(), stale(unknown=True), None, "could not be found out"),
        (facts(kernels_installed=()), stale(kernel_state="unknown"), None, "no installed kernel was found"),
        (facts(kernels_installed=()), CURRENT, False, ""),
        (facts(kernel="6.18.44-fc"), stale(kernel_state="unknown"), None, "same flavour as 6.18.44-fc"),
        # a container runs its host's kernel
        (facts(container="lxc", kernels_installed=("6.1.0-99-amd64",)), stale(kernel_state="unknown"), False, ""),
        (facts(container="lxc"), stale(kernel_state="replaced"), False, ""),
        (facts(container="lxc", reboot_required=True), CURRENT, True, "flag"),
        (facts(container="lxc"), stale(init=True), True, "PID 1"),
    ],
)
def test_the_need(seen: Facts, left: Stale, needed: bool | None, words: str) -> None:
    need = reboot.need(seen, left)

    assert need.needed is needed
    assert bool(need.reasons) == bool(words)
    assert words in "; ".join(need.reasons)


class Machine:
    """A host whose answer to the look depends on a clock that only waiting moves."""

    def __init__(self, at: Callable[[float], str]) -> None:
        self.time = FakeTime()
        self.host = FakeHost("web1", time=self.time)
        self.at = at
        self.host.on("sh -c", lambda host, command: at(self.time.now))
        self.slept = 0

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        self.time.advance(seconds)
        words = self.at(self.time.now)
        self.host.unreachable = words.removeprefix("down: ") if words.startswith("down: ") else ""

    def wait(self, deadline: float = 100) -> tuple[str, str]:
        shells = FakeShells([self.host])
        return reboot.wait(shells, self.host.host(), OLD, deadline, clock=lambda: self.time.now, sleep=self.sleep)


def test_the_proof_is_another_boot_id_of_a_host_that_is_all_up() -> None:
    def at(now: float) -> str:
        if now < 3:
            return f"{OLD}\nstopping\n"
        if now < 10:
            return "down: no route to host"
        return f"{NEW}\n{'starting' if now < 20 else 'running'}\n"

    machine = Machine(at)

    assert machine.wait() == (NEW, "running")
    assert machine.time.now == 20


def test_noise_before_the_answer_is_no_boot_id() -> None:
    machine = Machine(lambda now: f"Welcome {NEW}!\n{OLD if now < 5 else NEW}\ndegraded\n")

    assert machine.wait() == (NEW, "degraded")
    assert machine.time.now == 5


def test_a_host_that_does_not_come_back_is_lost_and_says_what_was_heard_last() -> None:
    machine = Machine(lambda now: f"{OLD}\nrunning\n" if now < 1 else "down: connection refused")

    with pytest.raises(ContactLost, match="not back within 30 s of its reboot: connection refused"):
        machine.wait(30)


def test_a_host_that_never_went_down_has_failed_and_is_not_lost() -> None:
    machine = Machine(lambda now: f"{OLD}\nrunning\n")

    with pytest.raises(reboot.RebootFailed, match="still the same boot"):
        machine.wait(30)


def test_garbage_is_no_answer_and_never_a_new_boot() -> None:
    machine = Machine(lambda now: "System is booting up. See pam_nologin(8)\n")

    with pytest.raises(ContactLost, match="garbled"):
        machine.wait(30)


def test_a_boot_that_never_ends_is_handed_to_the_health_checks() -> None:
    machine = Machine(lambda now: f"{NEW}\nstarting\n")

    assert machine.wait(10_000) == (NEW, "starting")
    assert reboot.SETTLE < machine.time.now < reboot.SETTLE + 2
    assert Machine(lambda now: f"{NEW}\nstarting\n").wait(20) == (NEW, "starting")


def test_another_host_key_ends_the_wait_at_once() -> None:
    machine = Machine(lambda now: f"{OLD}\nrunning\n")
    machine.host.key = "changed"

    with pytest.raises(HostKeyRefused):
        machine.wait()
    assert machine.slept == 0


def test_it_is_started_as_a_job_of_that_name_for_that_boot_alone() -> None:
    host = FakeHost("web1")
    shell = FakeShells([host]).open(host.host())
    fence = Fence(number=1, state="s", run="r")
    host.lock.change(["acquire", "5", "1", "s", "r", "site"])

    reboot.start(shell, fence, "r-web1-reboot", OLD)
    reboot.start(shell, fence, "r-web1-reboot", OLD)

    assert list(host.jobs) == ["r-web1-reboot"]
    job = host.jobs["r-web1-reboot"].job
    assert job is not None
    assert job.args == (OLD,)
