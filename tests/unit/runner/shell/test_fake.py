"""What the fake offers to tests, beyond what every shell promises."""

from __future__ import annotations

import pytest

from mainstay.runner.shell import hostlock
from mainstay.runner.shell.contract import (
    Command,
    ContactLost,
    DeadlineExceeded,
    Fence,
    Job,
    JobStatus,
    SudoRefused,
    Unreachable,
)
from mainstay.runner.shell.fake import FakeHost, FakeShells, Unanswered

FENCE = Fence(1, "s", "r")


def test_the_last_answer_wins_and_calls_are_seen() -> None:
    web = (
        FakeHost("web1")
        .answer("systemctl is-active", "active\n")
        .answer("systemctl is-active nginx", "failed\n", status=3)
    )
    shell = FakeShells([web]).open(web.host())
    assert shell.run(Command(("systemctl", "is-active", "cron"))).text == "active\n"
    assert shell.run(Command(("systemctl", "is-active", "nginx"))).status == 3
    assert [command.argv[2] for command in web.calls] == ["cron", "nginx"]


def test_what_nobody_foresaw_is_the_tests_fault() -> None:
    web = FakeHost("web1")
    with pytest.raises(Unanswered, match="uname -r"):
        FakeShells([web]).open(web.host()).run(Command(("uname", "-r")))


@pytest.mark.parametrize("after", [False, True])
def test_contact_is_lost_before_or_after_the_work(after: bool) -> None:
    web = FakeHost("web1").answer("reboot").drop("reboot", after=after)
    shell = FakeShells([web]).open(web.host())
    with pytest.raises(ContactLost):
        shell.run(Command(("reboot",)))
    assert len(web.calls) == int(after)
    shell.run(Command(("reboot",)))


@pytest.mark.parametrize("after", [False, True])
def test_contact_is_lost_at_a_launch(after: bool) -> None:
    web = FakeHost("web1").drop("launch", after=after)
    shell = FakeShells([web]).open(web.host())
    hostlock.acquire(shell, FENCE)
    with pytest.raises(ContactLost):
        shell.launch(Job("j", ""), FENCE)
    assert (shell.poll("j").status is JobStatus.ABSENT) is not after


def test_a_job_changes_the_host_when_its_time_has_come() -> None:
    web = FakeHost("web1").job("run1-", "done\n", seconds=10, effect=lambda host: host.files.update({"/etc/v": b"2"}))
    shell = FakeShells([web]).open(web.host())
    hostlock.acquire(shell, FENCE)
    shell.launch(Job("run1-apply", ""), FENCE)
    assert (shell.poll("run1-apply").status, web.files) == (JobStatus.RUNNING, {})
    web.time.advance(10)
    assert (shell.poll("run1-apply").exit, web.files) == (0, {"/etc/v": b"2"})
    assert web.jobs["run1-apply"].job == Job("run1-apply", "")


def test_a_slow_host_takes_its_time_from_the_clock() -> None:
    web = FakeHost("web1", slow=5).answer("true")
    shell = FakeShells([web]).open(web.host())
    assert shell.run(Command(("true",))).seconds == 5
    with pytest.raises(DeadlineExceeded):
        shell.run(Command(("true",), deadline=3))
    assert web.time.now == 8


def test_sudo_may_be_denied_and_unknown_hosts_are_away() -> None:
    web = FakeHost("web1", sudo=False).answer("id", "x")
    shells = FakeShells([web])
    with pytest.raises(SudoRefused):
        shells.open(web.host(user="ops")).run(Command(("id",), sudo=True))
    assert shells.open(web.host(user="ops")).run(Command(("id",))).text == "x"
    with pytest.raises(Unreachable):
        shells.open(FakeHost("other").host()).run(Command(("id",)))
