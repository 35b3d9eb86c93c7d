"""A package manager in memory, for tests of what stands on patching. Held to the suite that apt passes.

web1 = FakePackages(FakeHost("web1")).has("openssl", "1").offers("openssl", "2", security=True)
manager = FakePackageManager([web1])
web1.breaks("demo-web", "1.3", "its postinst fails")     # installed half-way, the job fails
web1.withdraws("openssl", "1"); web1.dead_mirror = True; web1.locked_by = "apt-get (pid 7)"
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from mainstay.inventory.errors import Refused
from mainstay.runner.operation import HostWork, Outcome
from mainstay.runner.patching.apt.version import compare, key, valid
from mainstay.runner.patching.change import Change, PackageChange
from mainstay.runner.patching.contract import (
    Broken,
    Installed,
    LogEntry,
    Offer,
    Old,
    OldVersion,
    Phased,
    Planned,
    Rights,
    Simulation,
    Staged,
    Survey,
    Upgradable,
    Want,
)
from mainstay.runner.shell.contract import STATE_DIR, Job, Shell
from mainstay.runner.shell.fake import FakeHost

CACHE = "/var/cache/packages"


def file_of(name: str, version: str) -> bytes:
    """A package file's content: the same for the same package and version everywhere."""
    return f"{name} {version}".encode()


def digest_of(name: str, version: str) -> str:
    return hashlib.sha256(file_of(name, version)).hexdigest()


@dataclass
class FakePackages:
    """The packages of one host. available: versions in its repositories; needs: (name, version) →
    what comes along (None: what goes)."""

    there: FakeHost
    installed: dict[str, Installed] = field(default_factory=dict)
    available: dict[str, dict[str, Offer]] = field(default_factory=dict)
    needs: dict[tuple[str, str], dict[str, str | None]] = field(default_factory=dict)
    broken: dict[tuple[str, str], str] = field(default_factory=dict)
    auto: set[str] = field(default_factory=set)
    log: list[LogEntry] = field(default_factory=list)
    dead_mirror: bool = False
    locked_by: str = ""
    rebuildable: bool = True

    def has(self, name: str, version: str, *, held: bool = False) -> FakePackages:
        self.installed[name] = Installed(name=name, arch="amd64", version=version, held=held)
        return self

    def offers(self, name: str, version: str, **offer: object) -> FakePackages:
        made = Offer.model_validate({"version": version, "origin": "fake", **offer})
        self.available.setdefault(name, {})[version] = made
        return self

    def withdraws(self, name: str, version: str) -> FakePackages:
        del self.available[name][version]
        return self

    def breaks(self, name: str, version: str, why: str) -> FakePackages:
        self.broken[name, version] = why
        return self

    def install(self, name: str, version: str | None) -> None:
        """As somebody else would, by hand."""
        before = self.installed.pop(name, None)
        if version is not None:
            state = "half-configured" if (name, version) in self.broken else "installed"
            self.installed[name] = Installed(name=name, arch="amd64", version=version, state=state)
        action = "remove" if version is None else "upgrade" if before else "install"
        was = before.version if before else None
        self.log.append(
            LogEntry.model_validate({"at": "", "action": action, "name": name, "before": was, "after": version})
        )


class FakePackageManager:
    """Implements PackageManager over the packages of some hosts."""

    name = "fake"

    def __init__(self, hosts: Sequence[FakePackages]) -> None:
        self.hosts = {packages.there.name: packages for packages in hosts}

    def valid(self, name: str, version: str | None) -> bool:
        return valid(name, version)

    def compare(self, left: str, right: str) -> int:
        return compare(left, right)

    def place(self, sha256: str) -> str:
        return f"{STATE_DIR}/debs/{sha256}.deb"

    def _of(self, shell: Shell) -> FakePackages:
        packages = self.hosts[shell.host.name]
        packages.there.reach()
        return packages

    def survey(
        self,
        shell: Shell,
        *,
        phased: Phased = "follow",
        allow_new: bool = True,
        dates: bool = False,
        keep: bool = False,
    ) -> Survey:
        packages = self._of(shell)
        if packages.dead_mirror:
            return Survey(problem="not every repository answers: connection refused")
        found = (self._upgradable(packages, one) for one in packages.installed.values())
        return Survey(
            upgradable=tuple(one for one in found if one is not None), installed=tuple(packages.installed.values())
        )

    def done(self, shell: Shell) -> None:
        """Nothing is kept here: its lists are always fresh."""

    def _upgradable(self, packages: FakePackages, here: Installed) -> Upgradable | None:
        known = packages.available.get(here.name, {})
        newer = sorted((v for v in known if compare(v, here.version) > 0), key=key, reverse=True)
        if not newer:
            return None
        return Upgradable(
            name=here.name,
            arch=here.arch,
            installed=here.version,
            offers=tuple(known[version] for version in newer),
            candidate=newer[0],
            candidate_security=known[newer[0]].security,
            taken=not here.held,
            held=here.held,
            obtainable="repository" if here.version in known else "missing",
        )

    def simulate(self, shell: Shell, wants: Sequence[Want], rights: Rights, *, real: bool) -> Simulation:
        packages = self._of(shell)
        planned: dict[str, Planned] = {}
        missing, problems = [], []
        for want in wants:
            self._check(want)
            version = want.version
            if version is not None and want.file is None and version not in packages.available.get(want.name, {}):
                missing.append(want.name)
                continue
            along = packages.needs.get((want.name, version or ""), {})
            for name, after in [(want.name, version), *along.items()]:
                if one := self._plan(packages, name, after):
                    planned.setdefault(name, one)
        for one in planned.values():
            here = packages.installed.get(one.name)
            if one.after is None and not rights.remove:
                problems.append(f"{one.name} would be removed")
            if one.after and one.before and compare(one.after, one.before) < 0 and not rights.downgrade:
                problems.append(f"{one.name} would be downgraded")
            if here and here.held and not rights.held:
                problems.append(f"{one.name} is held")
        if missing:
            return Simulation(ok=False, problem=f"not found: {', '.join(missing)}", missing=tuple(missing))
        if problems:
            return Simulation(ok=False, problem="; ".join(problems))
        return Simulation(ok=True, planned=tuple(planned.values()))

    def _plan(self, packages: FakePackages, name: str, after: str | None) -> Planned | None:
        here = packages.installed.get(name)
        before = here.version if here else None
        if before == after:
            return None
        offer = packages.available.get(name, {}).get(after or "")
        return Planned(
            name=name,
            arch="amd64",
            before=before,
            after=after,
            security=bool(offer and offer.security),
            sha256=digest_of(name, after) if after else None,
            size=len(file_of(name, after)) if after else None,
        )

    def _check(self, want: Want) -> None:
        if not valid(want.name, want.version):
            raise Refused(f"{want.name!r} {want.version!r} is no package with a version", hint="nothing was sent")

    def simulate_each(self, shell: Shell, wants: Sequence[Want], rights: Rights, *, real: bool) -> list[Simulation]:
        return [self.simulate(shell, [want], rights, real=real) for want in wants]

    def inspect(self, shell: Shell, *, real: bool) -> tuple[dict[str, Installed], tuple[str, ...]]:
        installed = dict(self._of(shell).installed)
        return installed, tuple(f"{n} is {one.state}" for n, one in installed.items() if one.state != "installed")

    def unlock(self, work: HostWork, wait: float) -> None:
        if holder := self._of(work.shell).locked_by:
            work.progress(f"waiting: {holder}")
            raise Refused(f"busy: {holder}")

    def repair(self, work: HostWork) -> list[str]:
        packages = self._of(work.shell)
        sick = {name: one for name, one in packages.installed.items() if one.state != "installed"}
        lasting = frozenset(name for name, one in sick.items() if (name, one.version) in packages.broken)
        for name in sick.keys() - lasting:
            packages.installed[name] = sick[name].model_copy(update={"state": "installed"})
        if lasting:
            raise Broken(f"{', '.join(sorted(lasting))} could not be repaired", lasting)
        return [f"repaired {', '.join(sorted(sick))}"] if sick else []

    def refresh(self, work: HostWork, wait: float) -> None:
        if self._of(work.shell).dead_mirror:
            raise Refused("not every repository answers: connection refused")

    def stage(
        self, work: HostWork, wants: Sequence[Want], rights: Rights, files: Sequence[tuple[str, str, str]]
    ) -> dict[str, Staged]:
        packages = self._of(work.shell)
        simulated = self.simulate(work.shell, wants, rights, real=True)
        if not simulated.ok:
            raise Refused(f"could not be downloaded: {simulated.problem}")
        for one in simulated.planned:
            if one.after:
                packages.there.files[f"{CACHE}/{one.name}_{one.after}"] = file_of(one.name, one.after)
        found = {}
        for name, version, _ in files:
            data = packages.there.files.get(f"{CACHE}/{name}_{version}")
            if data is not None:
                found[name] = Staged(name, f"{CACHE}/{name}_{version}", hashlib.sha256(data).hexdigest())
        return found

    def old(self, shell: Shell, names: Sequence[str], *, real: bool) -> Old:
        packages = self._of(shell)
        found = {}
        for name in names:
            here = packages.installed.get(name)
            if here:
                path = f"{CACHE}/{name}_{here.version}"
                found[name] = OldVersion(
                    name=name,
                    arch=here.arch,
                    version=here.version,
                    repository=here.version in packages.available.get(name, {}),
                    cached=path if path in packages.there.files else None,
                    auto=name in packages.auto,
                )
        return Old(found)

    def rebuild(self, work: HostWork, name: str) -> Staged | None:
        packages = self._of(work.shell)
        here = packages.installed.get(name)
        if here is None or not packages.rebuildable:
            return None
        sha256 = digest_of(name, here.version)
        packages.there.files[self.place(sha256)] = file_of(name, here.version)
        return Staged(name, self.place(sha256), sha256)

    def discard(self, work: HostWork, paths: Sequence[str]) -> None:
        for path in paths:
            self._of(work.shell).there.files.pop(path, None)

    def job(self, change: Change, name: str, *, lock_wait: float) -> Job:
        """On every fake host this job is scripted to make the change there; only the one that it is launched on does."""
        for item in change.items:
            self._check(Want(item.name, item.after))
        for packages in self.hosts.values():
            failing = [item for item in change.items if (item.name, item.after or "") in packages.broken]
            said = "".join(f"Setting up {item.name} ({item.after}) ...\n" for item in change.items if item.after)
            said += "".join(f"E: {item.name}: {packages.broken[item.name, item.after or '']}\n" for item in failing)
            effect = partial(self._make, packages, change.items)
            packages.there.job(name, said, exit=100 if failing else 0, effect=effect)
        return Job(name=name, script=json.dumps(change.to_json()))

    def _make(self, packages: FakePackages, items: Sequence[PackageChange], there: FakeHost) -> None:
        for item in items:
            packages.install(item.name, item.after)
            if item.auto:
                packages.auto.add(item.name)

    def outcome(self, exit: int | None, output: bytes) -> Outcome:
        if exit is None:
            return Outcome(ok=False, unknown=True, detail="how it ended is not known")
        said = [line.removeprefix("E: ") for line in output.decode().splitlines() if line.startswith("E: ")]
        return Outcome(ok=exit == 0, detail="; ".join(said))

    def progress(self, output: bytes, total: int) -> str:
        done = [line.split()[2] for line in output.decode().splitlines() if line.startswith("Setting up ")]
        return f"{len(done)} of {total}  {done[-1]}" if done else ""

    def kept(self, output: bytes) -> tuple[str, ...]:
        return ()

    def log_mark(self, shell: Shell) -> str:
        return str(len(self._of(shell).log))

    def log_since(self, shell: Shell, mark: str) -> list[LogEntry]:
        return self._of(shell).log[int(mark) :]
