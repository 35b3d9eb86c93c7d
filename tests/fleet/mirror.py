"""The machine's own mirrors, asked through its own apt on behalf of another root; its lists and caches are left alone."""

from __future__ import annotations

import fcntl
import platform
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.fleet.system import FleetError, run


@dataclass(frozen=True, slots=True)
class Suite:
    """One suite of the machine's distribution, as its own Release file describes it."""

    name: str
    site: str
    origin: str
    label: str
    suite: str
    codename: str
    signed_by: str = ""


def machine_suites() -> list[Suite]:
    """The machine's own distribution's suites: release, updates, security. Asked of apt, wherever its mirrors are."""
    codename = platform.freedesktop_os_release()["VERSION_CODENAME"]
    fields = "$(RELEASE)|$(SITE)|$(ORIGIN)|$(LABEL)|$(SUITE)|$(CODENAME)|$(SIGNED_BY)"
    ask = ["apt-get", "indextargets", "--format", fields, "Created-By: Packages", "Component: main"]
    wanted = {codename, f"{codename}-updates", f"{codename}-security"}
    said = run(ask)  # a second each time on a busy machine
    if not said.strip():
        with (Path(tempfile.gettempdir()) / "mainstay-apt.lock").open(
            "w"
        ) as lock:  # apt itself does not wait for its lock
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not run(ask).strip():
                run(["apt-get", "-q", "update"])
        said = run(ask)
    found: dict[str, Suite] = {}
    for line in said.splitlines():
        suite = Suite(*line.split("|"))
        if suite.name in wanted and suite.origin in {"Debian", "Ubuntu"}:
            found.setdefault(suite.name, suite)
    if codename not in found:
        raise FleetError(f"apt knows no suite {codename}: the hosts are built from the machine's own mirrors")
    return sorted(found.values(), key=lambda s: s.name)


class Mirror:
    """apt with these suites alone, and with `status` (a dpkg status file) as what is installed; kept in `folder`."""

    def __init__(
        self, folder: Path, suites: Sequence[Suite], status: Path, components: Sequence[str] = ("main",)
    ) -> None:
        self.folder = folder
        for name in ("lists/partial", "cache/archives/partial", "none"):
            (folder / name).mkdir(parents=True)
        sources = folder / "sources.list"
        signed = {s.name: f"[signed-by={s.signed_by}] " if s.signed_by.startswith("/") else "" for s in suites}
        sources.write_text("".join(f"deb {signed[s.name]}{s.site} {s.name} {' '.join(components)}\n" for s in suites))
        options = {
            "Dir::State::status": status,
            "Dir::State::lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::SourceList": sources,
            "Dir::Etc::SourceParts": folder / "none",
            "Dir::Etc::Preferences": folder / "none/preferences",
            "Dir::Etc::PreferencesParts": folder / "none",
            "Acquire::Languages": "none",
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
            "Debug::NoLocking": "1",
        }
        self._apt = ["apt-get", "-q", *(word for k, v in options.items() for word in ("-o", f"{k}={v}"))]
        self.get("update")

    def get(self, *words: str, cwd: Path | None = None) -> str:
        """apt-get with these words; returns what it says. Raises FleetError."""
        return run([*self._apt, *words], cwd=cwd)

    def fetch(self, names: Sequence[str], into: Path) -> None:
        """Download these packages, and what they need beside what is installed, into a new folder."""
        self.get("-y", "--download-only", "--no-install-recommends", "install", *names)
        into.mkdir(parents=True)
        for deb in (self.folder / "cache/archives").glob("*.deb"):
            shutil.move(deb, into / deb.name.replace("%3a", ":"))

    def forget(self) -> None:
        shutil.rmtree(self.folder)
