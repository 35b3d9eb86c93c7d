"""The package manager's port. dnf, zypper and apk join by implementing it and passing tests/contract/test_package_manager.py.

What only reads takes a Shell, needs no sudo and leaves no trace unless `real` is said; what changes a host takes a
HostWork and carries its fence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.value import Value
from mainstay.runner.operation import HostWork, Outcome
from mainstay.runner.patching.change import Change, Conffile, Where
from mainstay.runner.shell.contract import Job, Shell

Phased = Literal["follow", "take", "skip"]


Captured = Callable[[str, str, str], str | None]
"""(package, version, architecture) → SHA-256 of its file in the artifact store, where an earlier run has kept it."""


class Offer(Value):
    """A version that the repositories have, newer than the installed one."""

    version: str
    security: bool = False
    origin: str = ""
    dated: str | None = None
    """RFC 3339 UTC: the version was published then or earlier."""
    dated_by: str = ""
    """Who says so: `signed Release of bookworm-security`, `repository's Last-Modified`."""
    phased: int | None = None
    """Percent of the machines that are to take it by now; None: all."""


class Upgradable(Value):
    """An installed package for which there is something newer."""

    name: str
    arch: str
    installed: str
    offers: tuple[Offer, ...]
    """Newest first."""
    candidate: str | None = None
    """What the package manager itself would take; None where its pins say no."""
    candidate_security: bool = False
    taken: bool = False
    """The package manager's own upgrade would take it now, without removing anything."""
    held: bool = False
    obtainable: Where = "missing"
    """Where the installed version could be had again; `captured` means: in the host's own cache."""


class Installed(Value):
    name: str
    arch: str
    version: str
    state: str = "installed"
    """`installed`; or half-configured, unpacked, half-installed, triggers-pending…"""
    held: bool = False


class Survey(Value):
    """What one look at a host tells."""

    problem: str = ""
    """Why nothing can be said (a repository that does not answer); the rest is empty then."""
    hint: str = ""
    upgradable: tuple[Upgradable, ...] = ()
    installed: tuple[Installed, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Want:
    """version None: remove it. file: a package file on the host, instead of the repository's."""

    name: str
    version: str | None
    file: str | None = None


class Planned(Value):
    """One thing that the package manager says it would do."""

    name: str
    arch: str = ""
    before: str | None = None
    after: str | None = None
    origin: str = ""
    security: bool = False
    sha256: str | None = None
    size: int | None = None


class Simulation(Value):
    """ok False: the package manager can't; `problem` says why, `missing` names the versions that are not to be had."""

    ok: bool
    problem: str = ""
    missing: tuple[str, ...] = ()
    planned: tuple[Planned, ...] = ()


@dataclass(frozen=True, slots=True)
class Rights:
    """What a simulated or real transaction may do beyond installing what is newer."""

    remove: bool = False
    downgrade: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class Staged:
    """A package file on the host."""

    name: str
    path: str
    sha256: str


@dataclass(frozen=True, slots=True)
class OldVersion:
    """What is known about the installed version of a package before it is replaced."""

    name: str
    arch: str
    version: str
    repository: bool
    cached: str | None
    """Path of its package file in the host's cache."""
    auto: bool


@dataclass(frozen=True, slots=True)
class Old:
    versions: Mapping[str, OldVersion] = field(default_factory=dict)
    conffiles: tuple[Conffile, ...] = ()


class LogEntry(Value):
    """One line of the host's own package log. at: the host's local time, as written there."""

    at: str
    action: Literal["install", "upgrade", "remove", "purge"]
    name: str
    before: str | None = None
    after: str | None = None


class PackageManager(Protocol):
    @property
    def name(self) -> str: ...

    def valid(self, name: str, version: str | None) -> bool:
        """Whether these can be a package's name (with architecture) and version here. Nothing else reaches a host."""

    def compare(self, left: str, right: str) -> int:
        """-1, 0 or 1 as `left` is older than, the same as or newer than `right`."""

    def survey(
        self,
        shell: Shell,
        *,
        phased: Phased = "follow",
        allow_new: bool = True,
        dates: bool = False,
        keep: bool = False,
    ) -> Survey:
        """One round trip, fresh lists in a temporary folder. dates: also ask the repository for each file's age.
        keep: leave the lists for the simulations that follow through the same shell, until `done`."""

    def done(self, shell: Shell) -> None:
        """Remove what `survey` was asked to keep; nothing kept is success. A host that can't be reached any more removes it
        by itself, after some minutes."""

    def simulate(self, shell: Shell, wants: Sequence[Want], rights: Rights, *, real: bool) -> Simulation:
        """real: against the host's own lists, as root; otherwise like `survey`. All wants in one transaction."""

    def simulate_each(self, shell: Shell, wants: Sequence[Want], rights: Rights, *, real: bool) -> list[Simulation]:
        """As many simulations as wants, in one round trip: which of them brings what along."""

    def inspect(self, shell: Shell, *, real: bool) -> tuple[dict[str, Installed], tuple[str, ...]]:
        """(everything installed by name, what is not well). real: as root, with the package manager's own audit; a login
        without rights sees the packages' states alone."""

    def unlock(self, work: HostWork, wait: float) -> None:
        """Wait until nobody else holds the package manager. Raises Refused naming the holder."""

    def repair(self, work: HostWork) -> list[str]:
        """End an interrupted transaction. What was found and done; empty: nothing was wrong. Raises Broken."""

    def refresh(self, work: HostWork, wait: float) -> None:
        """Bring the host's own lists up to date. Raises Refused unless every repository answered."""

    def stage(
        self, work: HostWork, wants: Sequence[Want], rights: Rights, files: Sequence[tuple[str, str, str]]
    ) -> dict[str, Staged]:
        """Download without installing. Returns, by name, those of `files` (name, version, architecture) that lie in the
        host's cache now. Without wants nothing is downloaded. Raises Refused."""

    def old(self, shell: Shell, names: Sequence[str], *, real: bool) -> Old:
        """What going back from a change of these packages needs to know. real: as root, so that every configuration
        file can be read."""

    def rebuild(self, work: HostWork, name: str) -> Staged | None:
        """Put a package file together from the installed files; None where that can't be done. The caller removes it."""

    def discard(self, work: HostWork, paths: Sequence[str]) -> None:
        """Remove files that `rebuild` or a push left in our own folder on the host."""

    def place(self, sha256: str) -> str:
        """Where a package file of that digest is put on the host, in our own folder there."""

    def job(self, change: Change, name: str, *, lock_wait: float) -> Job:
        """The detached job that makes the change; packages that are `pushed` are taken from their `place`."""

    def outcome(self, exit: int | None, output: bytes) -> Outcome: ...

    def progress(self, output: bytes, total: int) -> str: ...

    def kept(self, output: bytes) -> tuple[str, ...]: ...

    def log_mark(self, shell: Shell) -> str:
        """Where the host's package log ends now."""

    def log_since(self, shell: Shell, mark: str) -> list[LogEntry]:
        """What the log has gained since the mark, over one rotation."""


class Broken(MainstayError):
    """An interrupted or failed transaction that could not be ended. `packages`: those concerned, as far as known."""

    kind = "broken"

    def __init__(self, message: str, packages: frozenset[str], *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.packages = packages
