"""The programs that mainstay is measured against, in the environment that scripts/bench makes for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(sys.executable).parent
THERE = Path(__file__).resolve().parent.parent / ".venv-bench" / "bin"
MAINSTAY = HERE / "mainstay"

# Host keys are pinned for everybody, and nobody reads the controller's own ssh settings.
ANSIBLE = """\
[defaults]
inventory = inventory.ini
host_key_checking = true
interpreter_python = /usr/bin/python3
[ssh_connection]
ssh_args = -F none -C -o ControlMaster=auto -o ControlPersist=60s
"""


@dataclass(frozen=True, slots=True)
class Target:
    """A host as every tool is told of it."""

    name: str
    address: str
    port: int
    user: str


def ansible_folder(folder: Path, targets: Sequence[Target], key: Path, known_hosts: Path) -> Path:
    """ansible's settings and inventory; its ssh options are its own defaults."""
    folder.mkdir(parents=True)
    (folder / "ansible.cfg").write_text(ANSIBLE)
    common = f"ansible_ssh_private_key_file={key} ansible_ssh_common_args='-o UserKnownHostsFile={known_hosts}'"
    lines = [f"{t.name} ansible_host={t.address} ansible_port={t.port} ansible_user={t.user} {common}" for t in targets]
    (folder / "inventory.ini").write_text("\n".join(lines) + "\n")
    return folder


def pyinfra_folder(folder: Path, targets: Sequence[Target], key: Path, known_hosts: Path) -> Path:
    folder.mkdir(parents=True)
    data = {"ssh_key": str(key), "ssh_known_hosts_file": str(known_hosts), "ssh_strict_host_key_checking": "yes"}
    data |= {"ssh_config_file": "/dev/null"}
    hosts = [(t.name, {"ssh_hostname": t.address, "ssh_port": t.port, "ssh_user": t.user, **data}) for t in targets]
    (folder / "inventory.py").write_text(f"hosts = {hosts!r}\n")
    return folder


def mainstay_folder(folder: Path, targets: Sequence[Target], key: Path, known_hosts: Path, plans: str = "") -> Path:
    """A site of those hosts, with their keys pinned."""
    for room in ("inventory", "schedules"):
        (folder / room).mkdir(parents=True)
    settings = f'ssh: {{user: {targets[0].user}, key: "file:{key}", known_hosts: {known_hosts}}}'
    (folder / "mainstay.yml").write_text(f"site: bench\ntimezone: UTC\n{settings}\n")
    lines = [f"  {t.name}: {{address: {t.address}, port: {t.port}}}\n" for t in targets]
    (folder / "inventory" / "hosts.yml").write_text("hosts:\n" + "".join(lines))
    if plans:
        (folder / "schedules" / "plans.yml").write_text(plans)
    return folder


def versions() -> dict[str, str]:
    """program → version, of mainstay and of the others."""
    asked = {"mainstay": MAINSTAY, "ansible-core": THERE / "ansible", "pyinfra": THERE / "pyinfra"}
    return {name: _version(program) for name, program in asked.items()}


def _version(program: Path) -> str:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    words = done.stdout.splitlines()[0].replace("]", "").replace(",", "").split()
    return words[-1].lstrip("v")
