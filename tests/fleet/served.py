"""mainstay installed on a host of the fleet, so that it runs there under a real systemd, as a controller does.

This tree and its Python packages are mounted into the host, read-only; the host's own Python runs them, and takes what the
tests' Python has compiled of them: nothing can be kept there, and each start would compile all that it imports.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fleet import Host
from tests.fleet.system import FleetError, quietly, run, wait_until

PROJECT = Path(__file__).parents[2]
PACKAGES = next(Path(path) for path in sys.path if path.endswith("site-packages"))
HOME = Path("/opt/mainstay")
SITE = Path("/srv/acme")
UNIT = Path("/etc/systemd/system/mainstay.service")
ROOMS = ("inventory", "runner", "recovery", "schedules", "console")

PROGRAM = f"""#!{HOME}/bin/python
import sys
sys.pycache_prefix = "{HOME}/bytecode"
sys.path[:0] = [f"{HOME}/source/{{room}}" for room in {ROOMS!r}]
from mainstay.console import main
main()
"""


@dataclass(frozen=True)
class Installation:
    """mainstay on this host, with a site in SITE."""

    host: Host

    def __call__(self, *argv: str, user: str = "root", check: bool = True) -> str:
        """One command there, in the site; its stdout."""
        program = ["runuser", "-u", user, "--", str(HOME / "bin" / "mainstay"), *argv]
        return self.host.exec(["env", "-C", str(SITE), *program], check=check)

    def json(self, *argv: str, user: str = "mainstay") -> Any:
        return json.loads(self(*argv, "--json", user=user))

    def write(self, path: str | Path, text: str) -> None:
        """A file of this host; relative paths are the site's."""
        there = self.host.root / str(SITE / path).lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)

    def install_unit(self, unit: str, secrets: dict[str, str], more: str = "") -> None:
        """Do what the unit's head says is to be done beforehand, and give it to systemd. secrets: what is typed into those
        of its commands that read one, by what stands in the command. more: settings of a drop-in."""
        for line in unit.split("\n\n")[0].splitlines()[3:]:
            command = line.removeprefix("# ").partition("   #")[0]
            typed = next((text for word, text in secrets.items() if word in command), "")
            self.host.exec(["sh", "-c", command], stdin=typed.encode())
        self.write(UNIT, unit)
        self.write(UNIT.with_suffix(".service.d") / "test.conf", more)
        self.host.exec(["systemctl", "daemon-reload"])

    def shown(self, *properties: str) -> dict[str, str]:
        """What systemd says of the unit."""
        options = [option for name in properties for option in ("-p", name)]
        lines = self.host.exec(["systemctl", "show", "mainstay", *options]).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def wait_for(self, what: str, deadline: float = 90, **wanted: str) -> dict[str, str]:
        """Until systemd says so of the unit; a value is enough in part. Raises FleetError with the journal."""

        def there() -> bool:
            found = self.shown(*wanted)
            return all(value in found[name] for name, value in wanted.items())

        try:
            wait_until(there, what, deadline=deadline, every=0.2)
        except FleetError as error:
            raise FleetError(f"{error}; {self.shown(*wanted)}\n{self.journal()}") from None
        return self.shown(*wanted)

    def journal(self, *options: str) -> str:
        return self.host.exec(["journalctl", "-u", "mainstay", "--no-pager", *options], check=False)


@contextmanager
def installed(host: Host) -> Iterator[Installation]:
    """For as long as the block lasts; the host is rebooted into it, and switched off after it."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = HOME / "lib" / f"python{version}" / "site-packages"
    mounts = {PROJECT: HOME / "source", PACKAGES: packages}
    compiled = Path(sys.pycache_prefix or "/nowhere")
    if compiled.is_dir():
        mounts[compiled] = HOME / "compiled"
    host.power_cut()
    try:
        for source, place in mounts.items():
            there = _there(host, place)
            there.mkdir(parents=True)
            run(["mount", "--bind", source, there])
            run(["mount", "-o", "remount,bind,ro", there])  # nothing there can change or remove the tree
        made = Installation(host)
        for source, place in {PROJECT: HOME / "source", PACKAGES: packages}.items():
            _link(host, _below(HOME / "bytecode", place), _below(HOME / "compiled", source))
        own = _there(host, HOME / f"bytecode/usr/lib/python{version}")  # that of its own library the host keeps itself
        own.mkdir(parents=True)
        own.chmod(0o1777)
        made.write(HOME / "pyvenv.cfg", f"home = /usr/bin\nversion = {version}\n")
        made.write(HOME / "bin" / "mainstay", PROGRAM)
        _there(host, HOME / "bin" / "mainstay").chmod(0o755)
        _link(host, HOME / "bin" / "python", Path(f"/usr/bin/python{version}"))
        host.boot()
        yield made
    finally:
        host.power_cut()
        for place in mounts.values():
            quietly(["umount", "-l", _there(host, place)])


def _there(host: Host, path: Path) -> Path:
    return _below(host.root, path)


def _below(folder: Path, path: Path) -> Path:
    return folder / str(path).lstrip("/")


def _link(host: Host, place: Path, target: Path) -> None:
    _there(host, place).parent.mkdir(parents=True, exist_ok=True)
    _there(host, place).symlink_to(target)
