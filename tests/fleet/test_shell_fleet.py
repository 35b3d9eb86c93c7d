"""Shell on real Debian hosts: its whole suite with sudo and systemd, and what only a real host can show."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainstay.console.sudoers import rules
from mainstay.inventory.host import Become, Host, Ssh
from mainstay.runner.shell import hostlock
from mainstay.runner.shell.adapters.fabric import FabricShells
from mainstay.runner.shell.contract import (
    Command,
    ContactLost,
    HostKeyRefused,
    Job,
    JobStatus,
    Shell,
    ShellError,
    SudoRefused,
    Unreachable,
)
from tests.contract.echo import Echo
from tests.contract.shell_suite import MINE, ShellSuite, until_it_ends
from tests.fleet import Fleet
from tests.fleet import Host as Machine
from tests.fleet.system import wait_until

CLEAN = """
for unit in $(systemctl list-units --plain --no-legend 'mainstay-*' | cut -d' ' -f1); do systemctl stop $unit; done
rm -rf /var/lib/mainstay /scratch
"""
ASK = "import socket, sys; print(socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5).recv(9).decode())"
SESSIONS = "^sshd: (ops|reader|keeper2?)[ @]"


class FleetRig:
    scratch = "/scratch"

    def __init__(self, fleet: Fleet, machine: Machine, folder: Path) -> None:
        self.machine = machine
        self.echoes: list[Echo] = []
        self.known_hosts = folder / "known_hosts"
        ssh = Ssh(user="ops", read_user="reader", key=f"file:{fleet.key}", connect_timeout=5)
        self.host = Host(name="h1", address=machine.address, ssh=ssh)
        self.shells = FabricShells(lambda name: self.host, self.known_hosts, str)
        self.shells.pins.pin(self.host, self.shells.scan(self.host))

    def content(self, path: str) -> bytes:
        return base64.b64decode(self.machine.exec(["base64", path]))

    def mode(self, path: str) -> int:
        return int(self.machine.exec(["stat", "-c", "%a", path]), 8)

    def break_contact(self) -> None:
        self.machine.exec(["pkill", "-KILL", "-f", SESSIONS], check=False)
        wait_until(lambda: not self.machine.exec(["pgrep", "-f", SESSIONS], check=False), "they are gone", deadline=60)

    def lose_next(self, *argv: str) -> Command:
        def cut_when_begun() -> None:
            wait_until(
                lambda: "\nsleep 20\n" in self.machine.exec(["ps", "-eo", "args"]), "the command runs", deadline=20
            )
            self.break_contact()

        threading.Thread(target=cut_when_begun, daemon=True).start()
        return Command(argv)

    def away(self, *, away: bool) -> None:
        self.machine.link_down() if away else self.machine.link_up()

    def change_key(self) -> None:
        text = self.known_hosts.read_text()
        other = (self.machine.key.with_suffix(".pub")).read_text().split()[1]
        self.known_hosts.write_text(" ".join([*text.split()[:2], other, "h1 pinned 2026-01-02"]) + "\n")

    def forget_key(self) -> None:
        self.known_hosts.unlink()

    def local(self) -> tuple[str, int]:
        self.echoes.append(Echo())
        return self.echoes[-1].address

    def leads(self, port: int, to: tuple[str, int]) -> bool:
        return self.machine.exec(["python3", "-c", ASK, str(port)], check=False).strip() == str(to[1])

    def reboot(self) -> None:
        self.machine.reboot()


@pytest.fixture(scope="module")
def machines(fleet: Fleet) -> list[Machine]:
    return fleet.pristine(2)


@pytest.fixture
def machine(machines: list[Machine]) -> Machine:
    machines[0].exec(["sh", "-c", CLEAN])
    return machines[0]


@pytest.fixture
def rig(fleet: Fleet, machine: Machine, tmp_path: Path) -> Iterator[FleetRig]:
    rig = FleetRig(fleet, machine, tmp_path)
    yield rig
    rig.away(away=False)
    rig.shells.close()
    for echo in rig.echoes:
        echo.close()


@pytest.fixture
def held(rig: FleetRig) -> Shell:
    shell = rig.shells.open(rig.host)
    hostlock.acquire(shell, MINE)
    return shell


class TestFleet(ShellSuite):
    """ops with sudo, jobs in systemd units, contact lost for real, reboots."""


# -- detached work


def test_a_job_goes_on_while_the_cable_is_pulled(rig: FleetRig, held: Shell) -> None:
    held.launch(Job("cable", "for i in 1 2 3 4 5 6; do echo $i; sleep 0.5; done"), MINE)
    rig.machine.link_down()
    with pytest.raises((ContactLost, Unreachable)):
        held.run(Command(("true",), deadline=4))
    rig.machine.link_up()
    assert until_it_ends(held, "cable").output == b"1\n2\n3\n4\n5\n6\n"


def test_a_power_cut_in_the_middle_of_a_job_is_said(rig: FleetRig, held: Shell) -> None:
    held.launch(Job("cut", "echo begun; sleep 300"), MINE)
    wait_until(lambda: held.poll("cut").output == b"begun\n", "it runs", deadline=60)
    rig.machine.power_cut()
    rig.machine.boot()
    assert held.poll("cut").status is JobStatus.LOST


def test_a_job_is_a_unit_that_leaves_nothing_failed_and_shows_no_secret(rig: FleetRig, held: Shell) -> None:
    held.launch(Job("unit", "echo $TOKEN; sleep 1; exit 3", env={"TOKEN": "hunter2"}), MINE)
    assert rig.machine.exec(["systemctl", "is-active", "mainstay-unit"]) == "active\n"
    assert "hunter2" not in rig.machine.exec(["systemctl", "show", "mainstay-unit"])
    assert "hunter2" not in rig.machine.exec(["ps", "-eo", "args"])
    assert until_it_ends(held, "unit").exit == 3
    assert "mainstay" not in rig.machine.exec(["systemctl", "--failed", "--plain", "--no-legend"])


def test_what_a_job_starts_and_leaves_is_not_killed_with_it(rig: FleetRig, held: Shell) -> None:
    held.launch(Job("daemon", "setsid sleep 321 >/dev/null 2>&1 & exit 0"), MINE)
    assert until_it_ends(held, "daemon").exit == 0
    state = ["systemctl", "is-active", "mainstay-daemon"]
    wait_until(lambda: rig.machine.exec(state, check=False) == "inactive\n", "the unit has ended", deadline=60)
    assert "sleep 321" in rig.machine.exec(["ps", "-eo", "args"])


def test_a_job_runs_as_a_named_user(rig: FleetRig, held: Shell) -> None:
    held.launch(Job("named", 'echo "$(id -un) $HOME $1"', ("a b",), user="ops"), MINE)
    assert until_it_ends(held, "named").output == b"ops /home/ops a b\n"


def test_launching_twice_at_once_is_one_job(rig: FleetRig, held: Shell) -> None:
    shells = [rig.shells.open(rig.host) for _ in range(4)]
    work = [threading.Thread(target=one.launch, args=(Job("same", "echo once; sleep 1"), MINE)) for one in shells]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert until_it_ends(held, "same").output == b"once\n"


# -- logins


def test_noise_of_a_login_is_not_output(rig: FleetRig, held: Shell) -> None:
    noise = "echo 'motd: \\033[31mwelcome'; echo grumble >&2; head -c 300000 /dev/zero | tr '\\0' n\n"
    rig.machine.exec(["tee", "/etc/ssh/sshd_config.d/banner.conf"], stdin=b"Banner /etc/services\n")
    rig.machine.exec(["systemctl", "restart", "ssh"])
    was = rig.machine.exec(["cat", "/home/ops/.bashrc"])
    rig.machine.exec(["tee", "/home/ops/.bashrc"], stdin=noise.encode())
    try:
        for command in (
            Command(("sh", "-c", "echo out; echo err >&2")),
            Command(("sh", "-c", "echo out; echo err >&2"), fence=MINE),
        ):
            output = held.run(command)
            assert (output.stdout, output.stderr) == (b"out\n", b"err\n")
    finally:
        rig.machine.exec(["tee", "/home/ops/.bashrc"], stdin=was.encode())


def test_a_login_whose_shell_runs_nothing_is_said(rig: FleetRig) -> None:
    rig.machine.exec(["useradd", "-m", "-s", "/usr/sbin/nologin", "shut"])
    rig.machine.exec(["cp", "-r", "/home/reader/.ssh", "/home/shut/.ssh"])
    rig.machine.exec(["chown", "-R", "shut:", "/home/shut"])
    rig.machine.exec(["usermod", "-p", "*", "shut"])
    with pytest.raises(ShellError, match="not available"):
        _as(rig, user="shut").run(Command(("true",)))


def test_a_login_that_is_refused_is_unreachable(rig: FleetRig) -> None:
    with pytest.raises(Unreachable, match="login nobody-here was refused"):
        _as(rig, user="nobody-here").run(Command(("true",)))


def test_sudo_that_is_not_permitted_is_said_with_what_to_do(rig: FleetRig) -> None:
    with pytest.raises(SudoRefused, match="sudo refused reader") as caught:
        _as(rig, user="reader").run(Command(("id",), sudo=True))
    assert "init --sudoers" in str(caught.value.hint)


def test_the_sudoers_rule_that_is_printed_is_enough(rig: FleetRig) -> None:
    rig.machine.exec(["useradd", "-m", "-s", "/bin/bash", "-p", "*", "keeper2"])
    rig.machine.exec(["cp", "-r", "/home/reader/.ssh", "/home/keeper2/.ssh"])
    rig.machine.exec(["chown", "-R", "keeper2:", "/home/keeper2"])
    rig.machine.exec(["tee", "/etc/sudoers.d/keeper2"], stdin=rules(["keeper2"]).encode())
    shell = _as(rig, user="keeper2")
    hostlock.acquire(shell, MINE)
    shell.put(b"x", "/scratch/f", fence=MINE)
    shell.launch(Job("ruled", "id -un"), MINE)
    assert until_it_ends(shell, "ruled").output == b"root\n"
    assert shell.run(Command(("id", "-un"), user="reader")).text == "reader\n"


def test_a_sudo_password_goes_to_sudo_alone_and_is_tried_once(rig: FleetRig) -> None:
    _with_password(rig.machine, "keeper", "s3cret!")
    data = b"x" * 100_000
    good = _as(rig, user="keeper", become=Become(password="env:RIGHT"))
    assert good.run(Command(("sh", "-c", "id -un; cat"), sudo=True, stdin=data)).stdout == b"root\n" + data
    hostlock.acquire(good, MINE)
    good.put(data, "/scratch/f", fence=MINE)
    assert rig.content("/scratch/f") == data
    good.close()

    rig.machine.exec(["sh", "-c", ": >/var/log/sudo.log"])
    bad = _as(rig, user="keeper", become=Become(password="env:WRONG"))
    with pytest.raises(SudoRefused, match="tried once"):
        bad.run(Command(("cat",), sudo=True, stdin=data))
    wait_until(lambda: "incorrect" in rig.machine.exec(["cat", "/var/log/sudo.log"]), "sudo's log", deadline=60)
    assert "1 incorrect password attempt" in rig.machine.exec(["cat", "/var/log/sudo.log"])
    assert "s3cret" not in rig.machine.exec(["cat", "/var/log/sudo.log"])


TALKATIVE = """#!/bin/bash
# sudo on a host where much is printed between its question and the command.
printf %s "$4" >&2
read -r answer
head -c 400000 /dev/zero | tr '\\0' '#' >&2
{ printf '%s\\n' "$answer"; cat; } | exec /usr/bin/sudo -S -k -p '' "${@:5}"
"""


def test_a_sudo_password_is_sent_once_however_much_is_printed_after_the_question(rig: FleetRig) -> None:
    """A second one would be the first line that the command reads."""
    if not rig.machine.exec(["id", "-u", "keeper"], check=False):
        _with_password(rig.machine, "keeper", "s3cret!")
    rig.machine.exec(["install", "-m", "755", "/dev/stdin", "/usr/local/bin/sudo"], stdin=TALKATIVE.encode())
    try:
        shell = _as(rig, user="keeper", become=Become(password="env:RIGHT"))
        assert shell.run(Command(("cat",), sudo=True, stdin=b"mine")).stdout == b"mine"
        shell.close()
    finally:
        rig.machine.exec(["rm", "/usr/local/bin/sudo"])


def test_a_password_that_is_not_asked_for_is_not_sent(rig: FleetRig) -> None:
    shell = _as(rig, user="ops", become=Become(password="env:RIGHT"))
    assert shell.run(Command(("cat",), sudo=True, stdin=b"mine")).stdout == b"mine"


def _with_password(machine: Machine, user: str, password: str) -> None:
    machine.exec(["useradd", "-m", "-s", "/bin/bash", user])
    machine.exec(["chpasswd"], stdin=f"{user}:{password}\n".encode())
    machine.exec(["cp", "-r", "/home/reader/.ssh", f"/home/{user}/.ssh"])
    machine.exec(["chown", "-R", f"{user}:", f"/home/{user}"])
    rules = f"Defaults:{user} logfile=/var/log/sudo.log\n{user} ALL=(ALL) ALL\n"
    machine.exec(["tee", f"/etc/sudoers.d/{user}"], stdin=rules.encode())


def _as(rig: FleetRig, **ssh: object) -> Shell:
    host = rig.host.model_copy(update={"ssh": rig.host.ssh.model_copy(update=ssh)})
    secrets = {"env:RIGHT": "s3cret!", "env:WRONG": "guess"}
    return FabricShells(lambda name: host, rig.known_hosts, secrets.__getitem__).open(host)


# -- jump hosts


def test_a_host_behind_another_one_is_reached_through_it(rig: FleetRig, fleet: Fleet, machines: list[Machine]) -> None:
    shells, behind = _behind(rig, machines[1])
    shells.pins.pin(behind, shells.scan(behind))
    shell = shells.open(behind)
    said = shell.run(Command(("sh", "-c", 'hostname; echo "$SSH_CONNECTION"'))).text.split()
    assert said[0] == "h2"
    assert said[1] == machines[0].address  # it sees the jump host, not us
    hostlock.acquire(shell, MINE)
    shell.put(b"y" * 3_000_000, "/scratch/f", fence=MINE)
    shell.close()
    shells.close()


def test_a_jump_host_that_lost_us_is_logged_in_to_again(rig: FleetRig, machines: list[Machine]) -> None:
    shells, behind = _behind(rig, machines[1])
    shells.pins.pin(behind, shells.scan(behind))
    shell = shells.open(behind)
    assert shell.run(Command(("hostname",))).text == "h2\n"
    rig.break_contact()
    assert shell.run(Command(("hostname",))).text == "h2\n"
    shell.close()
    shells.close()


def test_the_jump_hosts_key_is_checked_as_well(rig: FleetRig, machines: list[Machine]) -> None:
    shells, behind = _behind(rig, machines[1])
    shells.pins.pin(behind, shells.scan(behind))
    shells.close()
    lines = rig.known_hosts.read_text().splitlines()
    rig.known_hosts.write_text("\n".join(line for line in lines if not line.startswith(machines[0].address)))
    with pytest.raises(HostKeyRefused, match=r"jump host h1.*not known"):
        shells.open(behind).run(Command(("true",)))


def test_a_jump_host_that_is_away_says_so(rig: FleetRig, machines: list[Machine]) -> None:
    shells, behind = _behind(rig, machines[1])
    shells.pins.pin(behind, shells.scan(behind))
    shells.close()
    rig.away(away=True)
    with pytest.raises(Unreachable, match="jump host h1"):
        shells.open(behind).run(Command(("true",)))


def test_a_host_that_is_its_own_jump_host_is_an_error(rig: FleetRig, machines: list[Machine]) -> None:
    shells, behind = _behind(rig, machines[1], loop=True)
    rig.shells.pins.pin(behind, rig.shells.scan(rig.host))
    with pytest.raises(ShellError, match="its own jump host"):
        shells.open(behind).run(Command(("true",)))


def _behind(rig: FleetRig, machine: Machine, *, loop: bool = False) -> tuple[FabricShells, Host]:
    ssh = rig.host.ssh.model_copy(update={"jump": "h1"})
    behind = Host(name="h2", address=machine.address, ssh=ssh)
    first = rig.host.model_copy(update={"ssh": rig.host.ssh.model_copy(update={"jump": "h2"})}) if loop else rig.host
    lookup: Callable[[str], Host] = {"h1": first, "h2": behind}.__getitem__
    return FabricShells(lookup, rig.known_hosts, str), behind
