"""The fence around other updaters: what is fenced, what is said when it can't be, what is proved afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mainstay.inventory.errors import Refused
from mainstay.inventory.facts import Facts, Updater
from mainstay.runner.shell.contract import Command, Fence, Output
from mainstay.runner.shell.fake import FakeHost, FakeShell, FakeShells, FakeTime
from mainstay.runner.updaters import FenceFailed, fence_left, fence_off, fence_on, services

FENCE = Fence(number=1, state="s", run="run1")


class Machine:
    """A host that answers each task of the script as the test says; the last answer stays."""

    def __init__(self, **answers: Sequence[Output | str]) -> None:
        self.time = FakeTime()
        self.asked: list[tuple[str, ...]] = []
        self.answers: dict[str, list[Output | str]] = {task: list(replies) for task, replies in answers.items()}
        self.host = FakeHost("web1", time=self.time).on("sh -s", self._answer)
        self.host.lock.change(["acquire", "5", "1", "s", "run1", "site"])

    def _answer(self, host: FakeHost, command: Command) -> Output | str:
        self.asked.append(command.argv[3:])
        assert (command.fence is not None) == (command.argv[3] in ("on", "off")), "what changes the host is fenced"
        replies = self.answers.get(command.argv[3], ["end\n"])
        return replies.pop(0) if len(replies) > 1 else replies[0]

    @property
    def shell(self) -> FakeShell:
        return FakeShells([self.host]).open(self.host.host())

    def fence(self, *units: str, wait: float = 60) -> tuple[str, ...]:
        return fence_on(
            self.shell, FENCE, units, 3600.4, wait=wait, clock=lambda: self.time.now, sleep=self.time.advance
        )


def test_what_is_switched_on_is_fenced_by_the_service_behind_it() -> None:
    facts = Facts(
        updaters=(
            Updater(unit="apt-daily.timer", enabled=True, active=False, installs=False),
            Updater(unit="dnf-automatic.timer", enabled=False, active=True),
            Updater(unit="yum-cron.service", enabled=True, active=True),
            Updater(unit="off.timer", enabled=False, active=False),
            Updater(unit="/etc/cron.d/nightly", enabled=True, active=True),
        )
    )

    assert services(facts) == ("apt-daily.service", "dnf-automatic.service", "yum-cron.service")


def test_where_there_is_none_nothing_is_touched() -> None:
    machine = Machine()

    assert machine.fence() == ()
    assert machine.asked == []


def test_the_fence_knows_its_run_and_its_end_and_what_is_at_work_is_waited_for() -> None:
    machine = Machine(on=["fenced\ta.service\nfenced\tb.service\nend\n"], busy=["busy\ta.service\nend\n", "end\n"])

    assert machine.fence("a.service", "b.service") == ("a.service", "b.service")
    assert machine.asked[0] == ("on", "run1", "3600", "a.service", "b.service")
    assert machine.time.now == 2


def test_one_that_stays_at_work_refuses_the_host_and_the_fence_is_taken_back() -> None:
    machine = Machine(on=["fenced\ta.service\nend\n"], busy=["busy\ta.service\nend\n"])

    with pytest.raises(Refused, match=r"a\.service is still installing updates after 60 s"):
        machine.fence("a.service")
    assert [task[0] for task in machine.asked[-2:]] == ["off", "left"]
    assert machine.time.now == 60


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Output(1, b"old\t239\nfailed\t1\n"), "systemd 239 is too old"),
        (Output(0, b"open\ta.service\nend\n"), "a.service does not take its condition"),
        (Output(1, b"failed\t1\n", b"mv: Read-only file system\n"), "mv: Read-only file system"),
        (Output(0, b"fenced\ta.service\n"), "status 0"),
    ],
)
def test_a_fence_that_does_not_stand_is_taken_back_and_said(answer: Output, words: str) -> None:
    machine = Machine(on=[answer])

    with pytest.raises(FenceFailed, match=words):
        machine.fence("a.service")
    assert [task[0] for task in machine.asked] == ["on", "off", "left"]


def test_what_is_left_of_it_is_named_and_what_can_not_be_seen_is_not_gone() -> None:
    left = Machine(left=["left\t/etc/systemd/system/a.service.d/90-mainstay-fence.conf\nend\n"])
    blind = Machine(left=[Output(127, b"")])

    assert fence_off(left.shell, FENCE) == ("/etc/systemd/system/a.service.d/90-mainstay-fence.conf",)
    assert fence_left(blind.shell) == ("unknown: the host could not be asked",)
    assert fence_off(Machine().shell, FENCE) == ()
