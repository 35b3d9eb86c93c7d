"""A real OpenSSH server on loopback, as a plain process on a free port, with keys made for it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.fleet.system import wait_until
from tests.servers.ports import free_port

# SHLVL: or bash takes itself for a login and reads the developer's ~/.bashrc, whatever that prints and costs
CONFIG = """\
ListenAddress {address}
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/id.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
MaxStartups 200
MaxSessions 200
AllowTcpForwarding yes
SetEnv ENV= BASH_ENV= SHLVL=1
"""


@dataclass
class Sshd:
    """folder: its keys (`id` logs in as root) and its log."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def key(self) -> Path:
        return self.folder / "id"

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def sessions(self) -> list[int]:
        """Processes that serve one connection each."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def cut(self) -> None:
        """Every connection breaks, what runs on it goes on."""
        for pid in self.sessions():
            with suppress(ProcessLookupError):  # it has ended just now
                os.kill(pid, signal.SIGKILL)


@contextmanager
def sshd(folder: Path, *, more: str = "", address: str = "127.0.0.1") -> Iterator[Sshd]:
    """Started and answering. Needs the Debian package openssh-server, and root, as sshd itself does."""
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ["PATH"])
    assert program, "sshd is missing: install the Debian package openssh-server"
    for name in ("host_key", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    port = free_port()
    (folder / "sshd_config").write_text(CONFIG.format(port=port, folder=folder, address=address) + more)
    argv = [program, "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "log")]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        server = Sshd(folder, port, process)
        wait_until(
            lambda: _answers(port), f"sshd answers; it says {server.log() if process.poll() else ''}", deadline=60
        )
        yield server
    finally:
        if process.poll() is None:
            for pid in server.sessions():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as there:
            return there.recv(4) == b"SSH-"
    except OSError:
        return False
