"""A forward of a real host, to which the login is nobody special: its network goes and comes back without a word."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.contract.echo import Echo
from tests.fleet import Fleet, Host
from tests.fleet.system import FleetError, wait_until

from mainstay.inventory.host import Host as Known
from mainstay.inventory.host import Ssh
from mainstay.runner.shell.adapters.fabric import FabricShells

ASK = "import socket, sys; print(socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5).recv(9).decode())"


def connections(host: Host) -> str:
    argv = ["ss", "-Htn", "state", "established", "dst", host.address]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.mark.long
def test_the_port_is_taken_back_from_an_sshd_that_does_not_know_that_the_network_went(
    fleet: Fleet, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.runner.shell.adapters.forward.SILENCE", 6.0)
    known = Known(name="web1", address=host.address, ssh=Ssh(user="ops", key=f"file:{fleet.key}"))
    shells = FabricShells(lambda name: known, tmp_path / "known_hosts", str)
    shells.pins.pin(known, shells.scan(known))
    echo = Echo()

    def leads(port: int) -> bool:
        try:
            return host.exec(["python3", "-c", ASK, str(port)]).strip() == str(echo.address[1])
        except FleetError:
            return False

    with shells.open(known).forward(echo.address) as port:
        assert leads(port)
        old = host.exec(["sh", "-c", "pgrep -u ops sshd"]).split()
        host.link_down()
        wait_until(lambda: not connections(host), "it is noticed", deadline=120)
        assert not leads(port), "sshd takes it, and can't bring it anywhere"
        host.link_up()
        wait_until(lambda: leads(port), "it leads there again", deadline=120)
        assert not set(old) & set(host.exec(["sh", "-c", "pgrep -u ops sshd"]).split())
    echo.close()
    shells.close()
