"""Real restic binaries, and rclone, for tests and the demo: taken out of Debian's packages, from the mirror that the
machine's own apt knows. Nothing is installed, and apt's own lists and caches are left alone.

By hand: `python3 -m tests.servers.restic [NAME]` fetches them, once, and prints the folder of NAME (default: newest), which
holds `restic` and `rclone` and can go onto PATH. Needs no Python package.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from tests.fleet.base import CACHE, alone
from tests.fleet.mirror import Mirror, Suite, machine_suites
from tests.fleet.system import FleetError, run

Name = Literal["system", "oldest", "newest"]
"""system: the machine's own release's, 0.14 on Debian 12, which mainstay takes for too old. oldest: 0.18, of the line that
mainstay takes, the oldest that Debian has. newest: what Debian has newest, 0.19."""

SUITES: Mapping[Name, str] = {"oldest": "trixie", "newest": "sid"}
LEAST: Mapping[Name, tuple[int, ...]] = {"system": (0,), "oldest": (0, 17, 1), "newest": (0, 19)}
COMPONENTS = {"Debian": ("main",), "Ubuntu": ("main", "universe")}


@cache
def restic(name: Name = "newest") -> Path:
    """The binary. Raises FleetError, which says what can't be had here and why."""
    return _at_least(LEAST[name], name) / "restic"


def rclone() -> Path:
    """The binary of the machine's own release. Raises FleetError."""
    return _fetched() / "system/rclone"


def folder(name: Name = "newest") -> Path:
    """Where `rclone` and a `restic` that mainstay takes are, as new as can be had here up to that name. Raises FleetError."""
    return _at_least((0,) if name == "system" else LEAST["oldest"], name)


def version(program: Path) -> tuple[int, ...]:
    """What the binary says of itself: `restic 0.18.0 compiled with …` → (0, 18, 0)."""
    said = run([program, "version"]).split()
    return tuple(int(part) for part in said[1].split("-")[0].split("."))


def _at_least(least: tuple[int, ...], name: Name) -> Path:
    found = version(_fetched() / name / "restic")
    if found < least:
        wanted, has = (".".join(str(part) for part in one) for one in (least, found))
        raise FleetError(
            f"no restic {wanted} or newer ({name}) can be had here: the suites that this machine's apt can ask have {has}"
        )
    return _fetched() / name


@cache
def _fetched() -> Path:
    """A folder for each name, filled when there is none yet (about 15 s)."""
    CACHE.mkdir(parents=True, exist_ok=True)
    suites = machine_suites()
    recipe = [Path(__file__).read_text(), platform.machine(), *(f"{s.site} {s.name}" for s in suites)]
    path = CACHE / f"restic-{hashlib.sha256('|'.join(recipe).encode()).hexdigest()[:16]}"
    if not path.exists():
        with alone(CACHE / "restic.lock"):
            if not path.exists():
                _fetch(path, suites)
    return path


def _fetch(path: Path, suites: list[Suite]) -> None:
    work = path.with_suffix(f".new{os.getpid()}")
    for stale in [*CACHE.glob("restic-*.new*"), *_old()]:
        shutil.rmtree(stale)
    work.mkdir(parents=True)
    own = next(suite for suite in suites if suite.name == platform.freedesktop_os_release()["VERSION_CODENAME"])
    _take(work / "system", own, ["restic", "rclone"])
    for name, suite in SUITES.items():
        # The suites of another distribution are not on the mirror of this one: its own has to do.
        if own.origin != "Debian" or suite == own.name:
            (work / name).symlink_to("system")
            continue
        newer = Suite(suite, own.site, own.origin, own.label, suite, suite, own.signed_by)
        _take(work / name, newer, ["restic"])
        (work / name / "rclone").symlink_to("../system/rclone")
    work.rename(path)


def _take(into: Path, suite: Suite, packages: list[str]) -> None:
    """The programs of these packages, each named as its package; newest in the suite, for the machine's own architecture."""
    unpacked = into.with_name(f"{into.name}.unpacked")
    apt = Mirror(unpacked / "apt", [suite], Path("/var/lib/dpkg/status"), components=COMPONENTS[suite.origin])
    apt.get("download", *packages, cwd=unpacked)
    into.mkdir()
    for deb in unpacked.glob("*.deb"):
        run(["dpkg-deb", "-x", deb, unpacked / "root"])
    for package in packages:
        shutil.copy2(unpacked / "root/usr/bin" / package, into / package)
    shutil.rmtree(unpacked)


def _old() -> Iterator[Path]:
    """Of other recipes, and not looked at for days."""
    for path in CACHE.glob("restic-*"):
        if path.is_dir() and time.time() - path.stat().st_mtime > 3 * 86400:
            yield path


def main() -> int:
    asked = sys.argv[1] if len(sys.argv) > 1 else "newest"
    name = next((name for name in LEAST if name == asked), None)
    if name is None:
        print(f"restic: {asked}: one of {', '.join(LEAST)}", file=sys.stderr)
        return 2
    try:
        print(folder(name))
    except FleetError as error:
        print(f"restic: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
