"""Who works on which run: what the engine's store says to a process that runs nothing itself."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mainstay.runner.engine.naming import short

Standing = Literal["in-hand", "waiting", "left-behind"]
"""A living process works on it; one that serves will take it up by itself; nobody does, until it is resumed."""


@dataclass(frozen=True, slots=True)
class Works:
    """owners: run → executor, "" for one that waits for whoever serves; a run that is not in it has not been begun.
    versions: run → the version that can go on with it. serving: version → executors that are alive and serve."""

    owners: Mapping[str, str] = field(default_factory=dict)
    alive: Set[str] = frozenset()
    versions: Mapping[str, str] = field(default_factory=dict)
    serving: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    version: str = ""
    """This program's."""

    def standing(self, run: str) -> Standing:
        if self.executor(run):
            return "in-hand"
        return "waiting" if self.serving.get(self.versions.get(run, self.version)) else "left-behind"

    def executor(self, run: str) -> str:
        """The living process that works on it; empty where none does."""
        owner = self.owners.get(run, "")
        return owner if owner in self.alive else ""

    def foreign(self, run: str) -> str:
        """The version that the run needs, where it is another than this program's; empty otherwise."""
        needed = self.versions.get(run, self.version)
        return needed if needed != self.version else ""

    @property
    def served(self) -> bool:
        """Whether somebody would take a run that is begun now."""
        return bool(self.serving.get(self.version))


def where(works: Works, run: str) -> str:
    """Who works on it, or what it waits for, in a few words; empty where it is left behind."""
    standing = works.standing(run)
    if standing == "in-hand":
        return f"on {short(works.executor(run))}"
    if standing == "left-behind":
        return ""
    foreign = works.foreign(run)
    return f"waiting for a worker of version {foreign}" if foreign else "waiting for a worker"


def ask(directory: Path, engine_url: str, runs: Collection[str]) -> Works:
    """Who works on these runs, and who serves; nobody where the engine's store can't be read. Starts nothing.
    directory, engine_url: the state's own, as the stores name them."""
    from mainstay.runner.engine.adapters.dbos_client import DbosClient
    from mainstay.runner.engine.contract import VERSION, EngineUnusable

    try:
        client = DbosClient(directory, engine_url)
    except EngineUnusable:
        return Works(version=VERSION)
    try:
        owners = {run: owner for run, owner in client.unfinished().items() if run in runs} if runs else {}
        versions = {run: version for run, version in client.versions().items() if run in runs} if runs else {}
        return Works(
            owners=owners,
            alive=frozenset(owner for owner in set(owners.values()) if owner and client.alive(owner)),
            versions=versions,
            serving={version: tuple(client.serving(version)) for version in {VERSION, *versions.values()}},
            version=VERSION,
        )
    finally:
        client.close()
