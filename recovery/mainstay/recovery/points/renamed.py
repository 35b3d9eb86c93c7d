"""Points of plans that have another name now (`renamed_from:`), as those of the plan that they belong to.

Whoever asks gets the new name, so that history, freshness, proofs, copies and retention go on; records keep the old one. With the
first thing that is written for the plan under its new name, what is stored is handed over to it for good: it stays the plan's
when `renamed_from:` is taken out again, and a new plan that is given the old name begins with nothing. When that was is
written down: whoever still finds `renamed_from:` in an old copy of the site gets no more than was begun under that name before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeVar

from ulid import ULID

from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.points.contract import Ack, PointStore, Tended, Vault
from mainstay.runner.steps import rfc3339

T = TypeVar("T", RecoveryPoint, Proof)
Hosts = Collection[str] | None


class RenamedPoints:
    """Implements PointStore upon another one. names: old name of a plan → the one it has now."""

    def __init__(
        self,
        store: PointStore,
        names: Callable[[], Mapping[str, str]],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """now: by the clock that ids of runs are made by."""
        self._store = store
        self._names = names
        self._now = now
        self._handed: set[tuple[str, str]] = set()
        self._since: dict[tuple[str, str], str] = {}
        """(old, new) → when it was handed over first; it stays so."""

    def points(
        self,
        *,
        hosts: Hosts = None,
        plan: str | None = None,
        source: str | None = None,
        repository: str | None = None,
        run: str | None = None,
        removed: bool = False,
        anomalous: bool = False,
    ) -> list[RecoveryPoint]:
        return self._ours(
            plan,
            lambda one: self._store.points(
                hosts=hosts,
                plan=one,
                source=source,
                repository=repository,
                run=run,
                removed=removed,
                anomalous=anomalous,
            ),
        )

    def newest(self, *, hosts: Hosts = None, plan: str | None = None, until: str | None = None) -> list[RecoveryPoint]:
        return _last(self._ours(plan, lambda one: self._store.newest(hosts=hosts, plan=one, until=until)))

    def proved(self, *, hosts: Hosts = None, plan: str | None = None) -> list[RecoveryPoint]:
        return self._ours(plan, lambda one: self._store.proved(hosts=hosts, plan=one))

    def newest_proofs(self, *, hosts: Hosts = None, plan: str | None = None) -> list[Proof]:
        return _last(self._ours(plan, lambda one: self._store.newest_proofs(hosts=hosts, plan=one)))

    def find(self, prefix: str) -> list[RecoveryPoint]:
        return self._ours(None, lambda one: self._store.find(prefix))

    def proofs(
        self, *, hosts: Hosts = None, source: str | None = None, points: Collection[str] | None = None
    ) -> list[Proof]:
        return self._ours(None, lambda one: self._store.proofs(hosts=hosts, source=source, points=points))

    def tended(
        self, *, repository: str | None = None, host: str | None = None, part: str | None = None
    ) -> list[Tended]:
        names, found = self._names(), dict[tuple[str, ...], Tended]()
        for one in self._store.tended(repository=repository, host=host, part=part):
            if one.what == "rename":
                continue
            new = names.get(one.subject)
            mine = replace(one, subject=new) if new and self._ours_still(one.subject, new)(one.run) else one
            key = mine.repository, mine.host, mine.what, mine.subject, mine.part
            other = found.get(key)
            if other is None or _moment(other.at) <= _moment(mine.at):
                found[key] = mine
        return list(found.values())

    def add_point(self, point: RecoveryPoint) -> None:
        self._settle(point.plan)
        self._store.add_point(point)

    def mark_going(self, repository: str, ids: Sequence[str], run: str) -> None:
        self._store.mark_going(repository, ids, run)

    def mark_removed(self, repository: str, ids: Sequence[str], run: str, at: str) -> None:
        self._store.mark_removed(repository, ids, run, at)

    def hand_over(self, old: str, new: str, mine: Callable[[str], bool] = lambda run: True) -> None:
        """Once: a daemon whose site is older than another's must not take from a new plan of the old name what that adds."""
        if (old, new) in self._handed:
            return
        still = self._ours_still(old, new)
        if (old, new) not in self._since:
            # First: where this process ends between the two, all that is there by now is still handed over.
            self._since[old, new] = at = rfc3339(self._now())
            self._store.note_tended(Tended("", "", "rename", new, old, "", at, "succeeded"))
        self._store.hand_over(old, new, lambda run: mine(run) and still(run))
        self._handed.add((old, new))

    def _ours_still(self, old: str, new: str) -> Callable[[str], bool]:
        """Whether what a run has left under the old name belongs to the new one."""
        if (old, new) not in self._since:
            noted = self._store.tended(repository="", host="", part=old)
            for one in noted:
                if (one.what, one.subject) == ("rename", new):
                    self._since[old, new] = one.at
        since = self._since.get((old, new))
        return lambda run: since is None or asked_before(run, _moment(since))

    def add_proof(self, proof: Proof) -> None:
        self._settle(proof.plan)
        self._store.add_proof(proof)

    def vault(self, repository: str, host: str) -> Vault | None:
        return self._store.vault(repository, host)

    def vaults(self) -> list[Vault]:
        return self._store.vaults()

    def note_vault(self, vault: Vault) -> None:
        self._store.note_vault(vault)

    def note_tended(self, tended: Tended) -> None:
        self._settle(tended.subject)
        self._store.note_tended(tended)

    def acknowledge(self, ack: Ack) -> None:
        self._store.acknowledge(ack)

    def acks(self) -> list[Ack]:
        return self._store.acks()

    def tidy(self, before: str) -> int:
        return self._store.tidy(before)

    def _settle(self, plan: str) -> None:
        """What a run of the old name adds after that, which was in flight, is handed over by the next process."""
        for old, new in self._names().items():
            if new == plan:
                self.hand_over(old, new)

    def _named(self, found: Iterable[T], names: Mapping[str, str]) -> list[T]:
        still: dict[str, Callable[[str], bool]] = {}  # there may be many of one plan: the store is asked once
        named: list[T] = []
        for one in found:
            new = names.get(one.plan)
            if new and one.plan not in still:
                still[one.plan] = self._ours_still(one.plan, new)
            named.append(one.model_copy(update={"plan": new}) if new and still[one.plan](one.run) else one)
        return named

    def _ours(self, plan: str | None, ask: Callable[[str | None], list[T]]) -> list[T]:
        """Oldest first, as each answer is."""
        names: Mapping[str, str] = self._names()
        if not names:
            return ask(plan)
        asked: list[str | None] = (
            [plan] if plan is None else [plan, *(old for old, new in names.items() if new == plan)]
        )
        found = self._named((one for name in asked for one in ask(name)), names)
        found = [one for one in found if plan is None or one.plan == plan]
        return found if len(asked) == 1 else sorted(found, key=lambda one: (_moment(one.at), _id(one)))


def asked_before(run: str, at: datetime) -> bool:
    """Ids of runs hold when they were asked for, or were to begin; of what has another one that is not known, and taken for so."""
    try:
        return ULID.from_str(run).datetime <= at
    except ValueError:
        return True


def _last(oldest_first: Iterable[T]) -> list[T]:
    """Of each group and verdict the newest: what two names had is one group."""
    found: dict[tuple[str, ...], T] = {}
    for one in oldest_first:
        key = one.host, one.plan, one.source, one.item, one.repository, one.verdict
        found.pop(key, None)
        found[key] = one
    return list(found.values())


def _id(one: RecoveryPoint | Proof) -> str:
    return one.id if isinstance(one, RecoveryPoint) else one.point


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
