"""What runs replaced code: read from real outputs, restarted by policy, and never hidden."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstay.inventory.facts import Facts
from mainstay.runner.services import finding, never
from mainstay.runner.services.contract import Stale, StaleUnit
from mainstay.runner.services.restarting import RestartGarbled, restart
from mainstay.runner.shell.contract import Command, Fence, FenceRefused
from mainstay.runner.shell.fake import FakeHost, FakeShell, FakeShells

CASES = Path(__file__).parents[3] / "cases" / "stale"
FENCE = Fence(number=1, state="s", run="r")
CRYPTO = "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"


def process(pid: int, unit: str, comm: str = "x", *, main: str = "-", container: str = "-", file: str = CRYPTO) -> str:
    return f"process\t{pid}\t{unit}\t{comm} \t{main}\t{container}\nfile\t{pid}\t{file}\n"


def test_needrestart_and_deleted_mappings_of_a_real_host_are_put_together() -> None:
    stale = finding.parse((CASES / "debian12-needrestart.txt").read_text())

    assert stale.services == (
        StaleUnit(unit="systemd-journald.service", files=(CRYPTO,)),
        StaleUnit(unit="systemd-logind.service", files=(CRYPTO,)),
    )
    # needrestart names ssh.service for our own connection, which is older than its restart
    assert stale.sessions == ()
    assert stale.init
    assert not stale.unknown
    assert stale.kernel_state == "unknown"


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (process(7, "nginx.service"), ["nginx.service"]),
        (process(7, "nginx.service") + process(8, "nginx.service"), ["nginx.service"]),
        (process(7, "session-3.scope", "bash"), ["session-3.scope"]),
        (process(7, "user@1000.service", "tmux"), ["user@1000.service"]),
        (process(7, "ssh.service", "sshd", main="main"), ["ssh.service"]),
        (process(7, "ssh.service", "sshd"), ["ssh.service: sshd (7)"]),
        (process(7, "machine.scope", "qemu"), ["qemu (7)"]),
        (process(7, "", "daemon"), ["daemon (7)"]),
        (process(7, "mainstay-run1.service", "sh"), []),
        (process(7, "docker-abc.scope", "nginx", container="container"), []),
        (process(1, "init.scope", "systemd"), ["systemd (PID 1)"]),
        ("NEEDRESTART-SVC: cups.service\n", ["cups.service"]),
        ("NEEDRESTART-SVC: exim4\n", ["exim4.service"]),
        ("NEEDRESTART-SVC: user@1000.service\n", ["user@1000.service"]),
        ("NEEDRESTART-SVC: systemd-manager\n", ["systemd (PID 1)"]),
        ("NEEDRESTART-SVC: ssh.service\nNEEDRESTART-SESS: ops @ session #5\n", []),
        ("garbage\nprocess\tx\n\xff\n", []),
    ],
)
def test_what_each_line_means(line: str, names: list[str]) -> None:
    assert list(finding.parse(line + "end\n").names()) == names


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("NEEDRESTART-KSTA: 0\n", "unknown"),
        ("NEEDRESTART-KSTA: 1\n", "current"),
        ("NEEDRESTART-KSTA: 2\n", "replaced"),
        ("NEEDRESTART-KSTA: 3\nNEEDRESTART-KEXP: 6.1.0-21-amd64\n", "behind"),
        ("kernel\tsame\n", "current"),
        ("kernel\treplaced\n", "replaced"),
        ("kernel\treplaced\nNEEDRESTART-KSTA: 1\n", "replaced"),
        ("kernel\tsame\nNEEDRESTART-KSTA: 3\n", "behind"),
        ("", "unknown"),
    ],
)
def test_the_kernels_state(text: str, state: str) -> None:
    assert finding.parse(text + "end\n").kernel_state == state


def test_a_newer_release_on_disk_is_behind_whatever_the_image_says() -> None:
    facts = Facts(kernel="6.1.0-18-amd64", kernels_installed=("6.1.0-18-amd64", "6.1.0-21-amd64"))

    stale = finding.with_kernels(Stale(kernel_state="current"), facts)

    assert (stale.kernel_state, stale.kernel_expected) == ("behind", "6.1.0-21-amd64")


def test_a_look_that_broke_off_is_unknown_and_not_calm() -> None:
    assert finding.parse("").unknown
    assert finding.parse(process(7, "nginx.service")).unknown


@pytest.mark.parametrize(
    "unit",
    ["dbus.service", "dbus-broker.service", "docker.service", "libvirtd.service", "networking.service", "getty@tty1.service",
     "NetworkManager.service", "systemd-networkd.service", "user@0.service", "gdm3.service", "containerd.service"],
)  # fmt: skip
def test_the_shipped_list_covers(unit: str) -> None:
    assert never.reason(unit)


@pytest.mark.parametrize("unit", ["nginx.service", "ssh.service", "systemd-journald.service", "cron.service"])
def test_the_shipped_list_leaves_alone(unit: str) -> None:
    assert never.reason(unit) == ""
    assert never.reason(unit, ("nginx", "ssh*", "systemd-journald.service", "cro?")) == "the plan says so"


def managed(answer: str, after: str) -> tuple[FakeHost, FakeShell]:
    """A host that answers a restart so, and shows this afterwards."""
    host = FakeHost("web1")
    host.on(lambda command: command.fence is not None, lambda host, command: answer)
    host.on(lambda command: command.fence is None, lambda host, command: after)
    host.lock.change(["acquire", "5", "1", "s", "r", "site"])
    return host, FakeShells([host]).open(host.host())


def words(command: Command) -> tuple[str, ...]:
    return command.argv[3:]


def test_what_may_be_is_restarted_and_what_is_still_stale_is_left_with_the_reason() -> None:
    up = "state\tId=nginx.service\tActiveState=active\tSubState=running\tNRestarts=0\n"
    fell = "state\tId=app.service\tActiveState=activating\tSubState=auto-restart\tNRestarts=1\n"
    answer = f"init\t0\ndone\tnginx.service\nkept\tauditd.service\tit refuses\ndone\tapp.service\n{up}{fell}end\n"
    left = process(7, "dbus.service") + process(9, "auditd.service") + process(10, "nginx.service") + "end\n"
    host, shell = managed(answer, left)
    units = ("app.service", "auditd.service", "dbus.service", "nginx.service")
    stale = Stale(services=tuple(StaleUnit(unit=unit) for unit in units), init=True)

    report = restart(shell, FENCE, stale, "affected")

    assert words(host.calls[0]) == ("yes", "app.service", "auditd.service", "nginx.service")
    assert report.restarted == ("nginx.service",)
    assert report.failed == ("app.service",)
    assert [str(one) for one in report.left] == [
        "auditd.service (it refuses)",
        "dbus.service (everything that talks over the bus loses it)",
        "nginx.service (it runs replaced code again, or still, after its restart)",
    ]


def test_nothing_stale_touches_nothing() -> None:
    host, shell = managed("", "")

    assert restart(shell, FENCE, Stale(), "affected").left == ()
    assert host.calls == []


@pytest.mark.parametrize(("policy", "why"), [("none", "restart: none"), ("reboot", "the reboot ends it")])
def test_the_other_policies_restart_nothing_and_hide_nothing(policy: str, why: str) -> None:
    host, shell = managed("", "")
    stale = Stale(
        services=(StaleUnit(unit="nginx.service"),),
        sessions=(StaleUnit(unit="session-3.scope"),),
        others=(StaleUnit(unit="daemon (7)"),),
        init=True,
    )

    report = restart(shell, FENCE, stale, policy)  # type: ignore[arg-type]  # parametrize knows only str

    assert host.calls == []
    assert [one.unit for one in report.left] == ["systemd (PID 1)", "nginx.service", "session-3.scope", "daemon (7)"]
    assert {one.why for one in report.left} == {why}


def test_what_could_not_be_looked_at_is_left_as_unknown() -> None:
    _, shell = managed("", "")

    (left,) = restart(shell, FENCE, Stale(unknown=True), "affected").left
    assert left.unit == "unknown"


def test_a_restart_that_broke_off_is_an_error_and_not_a_success() -> None:
    _, shell = managed("done\tnginx.service\n", "end\n")

    with pytest.raises(RestartGarbled):
        restart(shell, FENCE, Stale(services=(StaleUnit(unit="nginx.service"),)), "affected")


def test_an_older_commander_restarts_nothing() -> None:
    host, shell = managed("", "")
    host.lock.change(["acquire", "5", "9", "s", "r", "site"])

    with pytest.raises(FenceRefused):
        restart(shell, FENCE, Stale(services=(StaleUnit(unit="nginx.service"),)), "affected")
    assert host.calls == []
