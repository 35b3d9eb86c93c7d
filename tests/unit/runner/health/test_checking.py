"""Checks with patience: what is well at once, later, never, and what only looks well."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mainstay.inventory.facts import Facts
from mainstay.runner.health.checking import STABLE, STABLE_AFTER_CRASH, check_all, until_well
from mainstay.runner.health.contract import CheckResult
from mainstay.runner.health.lost import newly_failed, services_lost
from mainstay.runner.plan import Check
from mainstay.runner.shell.contract import Command, HostKeyRefused, Output
from mainstay.runner.shell.fake import FakeHost, FakeShells, FakeTime


def shown(
    active: str = "active", sub: str = "running", *, id: str = "one", restarts: int = 0, load: str = "loaded"
) -> str:
    return (
        f"LoadState={load}\nActiveState={active}\nSubState={sub}\nInvocationID={id}\nNRestarts={restarts}\n"
        f"ActiveEnterTimestampMonotonic=1\nResult={'success' if active != 'failed' else 'exit-code'}\n"
    )


class Bench:
    """A host whose answers follow a clock that only waiting moves."""

    def __init__(self) -> None:
        self.time = FakeTime()
        self.host = FakeHost("web1", time=self.time)
        self.slept: list[float] = []

    def service(self, at: Callable[[float], str]) -> Bench:
        self.host.on("systemctl show", lambda host, command: at(self.time.now))
        return self

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time.advance(seconds)

    def until_well(self, *checks: Check) -> list[CheckResult]:
        host = self.host.host()
        shell = FakeShells([self.host]).open(host)
        return until_well(checks, host, shell, clock=lambda: self.time.now, sleep=self.sleep)


def test_a_service_is_well_when_it_is_the_same_one_some_seconds_later() -> None:
    bench = Bench().service(lambda now: shown())

    (result,) = bench.until_well(Check(service="nginx"))

    assert result == CheckResult(name="service nginx", ok=True, detail="active (running)", seconds=STABLE)
    assert len(bench.host.calls) == 2


def test_one_that_comes_up_late_is_waited_for() -> None:
    bench = Bench().service(lambda now: shown() if now >= 7 else shown("activating", "start"))

    (result,) = bench.until_well(Check(service="nginx", every="2s"))

    assert result.ok
    assert result.seconds == 8 + STABLE


def test_one_that_is_up_at_every_look_but_never_the_same_is_not_well() -> None:
    bench = Bench().service(lambda now: shown(id=str(now), restarts=int(now)))

    (result,) = bench.until_well(Check(service="nginx", retries=3))

    assert not result.ok
    assert result.detail.endswith("it does not stay up")


def test_one_that_fell_over_has_to_stay_up_for_longer() -> None:
    """Up for three seconds between two crashes: two looks two seconds apart would find the same one."""

    def crashing(now: float) -> str:
        return shown("activating", "auto-restart") if now % 5 < 2 else shown(id=str(now // 5), restarts=int(now // 5))

    (result,) = Bench().service(crashing).until_well(Check(service="nginx", retries=6))
    assert not result.ok

    recovering = Bench().service(lambda now: shown(restarts=2) if now >= 4 else shown("activating", "auto-restart"))
    (result,) = recovering.until_well(Check(service="nginx"))
    assert result.ok
    assert result.seconds == 4 + STABLE_AFTER_CRASH


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (shown(load="not-found", active="inactive"), "nginx.service: there is no such unit"),
        (shown(load="masked", active="inactive"), "nginx.service: it is masked"),
        (shown("failed", "failed"), "failed (failed), exit-code"),
        (shown("inactive", "dead"), "inactive (dead)"),
        (Output(127, b"", b"sh: systemctl: not found\n"), "there is no systemd on this host"),
        (Output(1, b"", b"Failed to connect to bus\n"), "systemd did not answer: Failed to connect to bus"),
        (Output(0, b"garbage"), "systemd did not answer"),
    ],
)
def test_what_is_not_up_is_not_well_and_says_why(answer: str | Output, detail: str) -> None:
    host = FakeHost("web1").on("systemctl show", lambda host, command: answer)

    (result,) = check_all([Check(service="nginx")], host.host(), FakeShells([host]).open(host.host()))

    assert not result.ok
    assert result.detail.startswith(detail)


def test_checks_wait_side_by_side_and_a_slow_one_costs_the_others_nothing() -> None:
    bench = Bench().service(lambda now: shown() if now >= 20 else shown("activating", "start"))
    bench.host.answer("/bin/smoke", "", status=1)

    service, command, other = bench.until_well(
        Check(service="nginx", retries=20, every="2s"),
        Check(command=("/bin/smoke",), retries=4, every="5s"),
        Check(command=("/bin/smoke",), name="again", retries=0),
    )

    assert service.ok
    assert service.seconds == 20 + STABLE
    assert (command.ok, command.seconds) == (False, 20)
    assert (other.name, other.ok, other.seconds) == ("again", False, 0)
    assert bench.time.now == 20 + STABLE


def test_a_command_is_asked_as_often_as_its_retries_say() -> None:
    bench = Bench()
    bench.host.answer("/bin/smoke", "not yet\n", status=1)

    (result,) = bench.until_well(Check(command=("/bin/smoke",), retries=3, every="2s"))

    assert (result.ok, result.detail, result.seconds) == (False, "status 1: not yet", 6)
    assert bench.slept == [2, 2, 2]


def test_who_runs_a_command() -> None:
    asked: list[Command] = []

    def remember(host: FakeHost, command: Command) -> str:
        asked.append(command)
        return ""

    there = FakeHost("web1").on("smoke", remember)
    host = there.host(user="ops")
    checks = [Check(command=("smoke",), user=user) for user in (None, "root", "ops", "www-data")]
    check_all(checks, host, FakeShells([there]).open(host))

    assert [(command.user, command.sudo) for command in asked] == [
        ("nobody", False),
        (None, True),
        (None, False),
        ("www-data", False),
    ]
    assert all(command.fence is None for command in asked), "a check changes nothing"


def test_a_login_that_may_not_become_somebody_says_so() -> None:
    there = FakeHost("web1", sudo=False)
    host = there.host(user="ops")

    (result,) = check_all([Check(command=("smoke",))], host, FakeShells([there]).open(host))

    assert not result.ok
    assert result.detail.startswith("the login may not become nobody: ")


def test_a_host_out_of_reach_is_not_well_and_another_key_is_no_answer_at_all() -> None:
    there = FakeHost("web1", unreachable="no route to host")
    host = there.host()
    (result,) = check_all([Check(service="nginx")], host, FakeShells([there]).open(host))
    assert (result.ok, result.detail) == (False, "no route to host")

    there.unreachable, there.key = "", "changed"
    with pytest.raises(HostKeyRefused):
        check_all([Check(service="nginx")], host, FakeShells([there]).open(host))


def test_a_command_that_hangs_ends_at_its_timeout() -> None:
    there = FakeHost("web1").answer("smoke", "", seconds=60)
    host = there.host()

    (result,) = check_all([Check(command=("smoke",), timeout="5s")], host, FakeShells([there]).open(host))

    assert (result.ok, result.detail) == (False, "no answer within 5 s")


def test_services_that_are_gone_are_lost_and_those_that_may_go_are_not() -> None:
    stay = ("nginx.service", "postgresql@15-main.service", "docker.service")
    go = (
        "user@1000.service",
        "getty@tty1.service",
        "run-r1.service",
        "mainstay-x.service",
        "sshd@3-10.0.0.1:22-10.0.0.2:5.service",
        "systemd-hostnamed.service",
        "apt-daily.service",
    )
    before = Facts(active_services=(*stay, *go), failed_units=("old.service",))

    assert services_lost(before, Facts(active_services=stay)) == []
    assert services_lost(before, Facts(active_services=("nginx.service",))) == [
        "docker.service",
        "postgresql@15-main.service",
    ]
    assert newly_failed(before, Facts(failed_units=("new.mount", "old.service"))) == ["new.mount"]


def test_services_that_could_not_be_listed_are_not_called_lost() -> None:
    before = Facts(active_services=("nginx.service",))

    assert services_lost(before, Facts(unknown=("units",))) == []
