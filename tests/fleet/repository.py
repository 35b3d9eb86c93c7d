"""The only package repository the hosts can reach: real updates and hand-built packages, signed, published by method."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Literal

from tests.fleet import packages
from tests.fleet.base import Base, alone
from tests.fleet.mirror import Mirror, Suite
from tests.fleet.server import OUT_OF_ORDER
from tests.fleet.system import FleetError, birth, kill_group, quietly, run, wait_until

DEMO = "demo"


@dataclass(frozen=True, slots=True)
class Deb:
    """One package file that can be offered. stanza: its entry in a Packages index, without a final blank line."""

    name: str
    version: str
    suite: str
    path: str
    stanza: str


class Repository:
    """url: what the hosts' apt reads. Every change is there for the next `apt-get update`, however soon it comes."""

    def __init__(self, path: Path, base: Base, address: str) -> None:
        self.path = path
        self.url = f"http://{address}"
        self._address = address
        self._base = base
        self._www = path / "www"
        self._suites = [*base.suites, Suite(DEMO, self.url, "Fleet", "Fleet", DEMO, DEMO)]
        self._architecture = ""
        self._catalogue: dict[tuple[str, str], Deb] = {}
        self._published: set[tuple[str, str]] = set()
        self._server: subprocess.Popen[bytes] | None = None

    # -- what tests do with it

    def publish(self, name: str, version: str) -> None:
        """Offer this version: of demo-web one of packages.VERSIONS, else one of the real updates or what they replace."""
        if name == "demo-web" and (name, version) not in self._catalogue:
            self.add(packages.build(version, self.path / "built"))
        if (name, version) not in self._catalogue:
            raise FleetError(f"{name} {version} is unknown here; known: {', '.join(self.versions(name)) or 'none'}")
        self._published.add((name, version))
        self._write(self._catalogue[name, version].suite)

    def withdraw(self, name: str, version: str | None = None) -> None:
        """Offer this version (or any version) no longer; the file is gone from the server as well."""
        gone = {entry for entry in self._published if entry[0] == name and version in (None, entry[1])}
        self._published -= gone
        for suite in {self._catalogue[entry].suite for entry in gone}:
            self._write(suite)
        for entry in gone:
            self._pool(self._catalogue[entry]).unlink(missing_ok=True)

    def add(self, deb: Path, suite: str = DEMO) -> None:
        """Make a .deb known, so that `publish` can offer it."""
        known = self._describe(deb, suite)
        self._catalogue[known.name, known.version] = known

    def fetch(self, *names: str) -> None:
        """Offer more of the release's own packages, with all that they need; fetched once from the machine's mirrors."""
        folder = self._base.path / "more" / "+".join(sorted(names))
        with alone(self._base.path / "more.lock"):
            if not folder.exists():
                mirror = Mirror(self.path / "mirror", self._base.suites, self._base.root / "var/lib/dpkg/status")
                mirror.fetch(names, self.path / "fetched")
                folder.parent.mkdir(exist_ok=True)
                shutil.move(self.path / "fetched", folder)
                mirror.forget()
        release = self._base.suites[0].name
        for deb in sorted(folder.glob("*.deb")):
            known = self._describe(deb, release)
            self._catalogue.setdefault((known.name, known.version), known)  # it may be one of the updates
            self._published.add((known.name, known.version))
        self._write(release)

    def versions(self, name: str) -> list[str]:
        """The versions of a package that are known here, published or not."""
        return sorted(version for known, version in self._catalogue if known == name)

    def published(self) -> set[tuple[str, str]]:
        """(name, version) of everything on offer."""
        return set(self._published)

    def updates(self) -> dict[str, str]:
        """The real updates that are pending on a new host: name and new version."""
        release = self._base.suites[0].name
        return {deb.name: deb.version for deb in self._catalogue.values() if deb.suite not in (release, DEMO)}

    def break_it(self, how: Literal["refused", "error"] = "refused") -> None:
        """The mirror is dead: connections are refused, or every answer is 500."""
        if how == "error":
            (self.path / OUT_OF_ORDER).touch()
        else:
            self.stop()

    def mend(self) -> None:
        (self.path / OUT_OF_ORDER).unlink(missing_ok=True)
        if not self._listens():
            self.start()

    def reset(self) -> None:
        """As it was in the beginning: all real updates, the versions that they replace, demo-web 1.0."""
        self.mend()
        if "demo-web" not in {name for name, _ in self._catalogue}:
            self.add(packages.build("1.0", self.path / "built"))
        self._published = {e for e, d in self._catalogue.items() if d.suite != DEMO} | {("demo-web", "1.0")}
        shutil.rmtree(self._www / "pool", ignore_errors=True)
        for suite in self._suites:
            self._write(suite.name)

    def requests(self) -> list[str]:
        """What was asked of it: `address "GET /… HTTP/1.1" status -`, a line each."""
        return (self.path / "requests.log").read_text().splitlines()

    @property
    def sources(self) -> str:
        """What belongs into a host's sources.list.d."""
        suites = " ".join(s.name for s in self._suites)
        signed = "/usr/share/keyrings/fleet.gpg"
        return f"Types: deb\nURIs: {self.url}\nSuites: {suites}\nComponents: main\nSigned-By: {signed}\n"

    # -- its life

    def create(self) -> None:
        self._www.mkdir(parents=True)
        shutil.copytree(self._base.gnupg, self.path / "gnupg", ignore=shutil.ignore_patterns("S.*"))
        self.open()
        self.reset()

    def open(self) -> None:
        """Learn what can be offered, and what is."""
        self._architecture = run(["dpkg", "--print-architecture"]).strip()
        index = self._base.path / "index.json"
        if not index.exists():
            found = [asdict(self._describe(deb, deb.parent.name)) for deb in sorted(self._base.debs.glob("*/*.deb"))]
            new = index.with_suffix(f".{os.getpid()}")
            new.write_text(json.dumps(found))
            new.rename(index)
        for entry in json.loads(index.read_text()):
            self._catalogue[entry["name"], entry["version"]] = Deb(**entry)
        for deb in (self.path / "built").glob("*.deb"):
            self.add(deb)
        self._published = {e for e, d in self._catalogue.items() if self._pool(d).exists()}

    def start(self) -> None:
        argv = [sys.executable, str(Path(__file__).parent / "server.py"), str(self._www), self._address, "80"]
        with (self.path / "requests.log").open("ab") as log:
            server = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        (self.path / "server.json").write_text(json.dumps([server.pid, birth(server.pid)]))
        self._server = server
        wait_until(self._listens, "the repository's server answers", deadline=60)

    def stop(self) -> None:
        try:
            pid, born = json.loads((self.path / "server.json").read_text())
        except FileNotFoundError:
            return
        kill_group(pid, born)
        if self._server is not None:
            self._server.wait()
        wait_until(lambda: not self._listens(), "the repository's server is gone", deadline=60)
        (self.path / "server.json").unlink()

    def destroy(self) -> None:
        self.stop()
        quietly(["gpgconf", "--homedir", self.path / "gnupg", "--kill", "all"])
        shutil.rmtree(self.path, ignore_errors=True)

    # -- inside

    def _listens(self) -> bool:
        try:
            socket.create_connection((self._address, 80), timeout=1).close()
        except OSError:
            return False
        return True

    def _describe(self, deb: Path, suite: str) -> Deb:
        control = run(["dpkg-deb", "-f", deb]).strip()
        fields = dict(line.split(": ", 1) for line in control.splitlines() if ": " in line and line[0] not in " \t")
        content = deb.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        more = f"Filename: pool/{suite}/{deb.name}\nSize: {len(content)}\nSHA256: {digest}"
        return Deb(fields["Package"], fields["Version"], suite, str(deb), f"{control}\n{more}")

    def _pool(self, deb: Deb) -> Path:
        return self._www / "pool" / deb.suite / Path(deb.path).name

    def _write(self, name: str) -> None:
        """Write one suite's index and its signed Release; debs first, so that nothing is announced that is not there."""
        suite = next(s for s in self._suites if s.name == name)
        debs = sorted((self._catalogue[e] for e in self._published), key=lambda d: (d.name, d.version))
        debs = [d for d in debs if d.suite == name]
        for deb in debs:
            place = self._pool(deb)
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.symlink_to(deb.path)
        index = "".join(f"{deb.stanza}\n\n" for deb in debs).encode()
        digest = hashlib.sha256(index).hexdigest()
        inside = f"main/binary-{self._architecture}/Packages"
        folder = self._www / "dists" / name
        by_hash = folder / inside
        by_hash = by_hash.parent / "by-hash/SHA256" / digest
        by_hash.parent.mkdir(parents=True, exist_ok=True)
        by_hash.write_bytes(index)
        release = {
            "Origin": suite.origin,
            "Label": suite.label,
            "Suite": suite.suite,
            "Codename": suite.codename,
            "Date": formatdate(usegmt=True),
            "Acquire-By-Hash": "yes",
            "Architectures": self._architecture,
            "Components": "main",
            "SHA256": f"\n {digest} {len(index)} {inside}",
        }
        text = folder / "Release.new"
        text.write_text("".join(f"{k}: {v}\n" if v[0] != "\n" else f"{k}:{v}\n" for k, v in release.items()))
        signed = folder / "InRelease.new"
        signed.unlink(missing_ok=True)
        run(["gpg", "--homedir", self.path / "gnupg", "--batch", "--quiet", "--output", signed, "--clearsign", text])
        (folder / inside).write_bytes(index)
        text.rename(folder / "Release")
        signed.rename(folder / "InRelease")
