"""What backups leave behind, in memory: for tests and for trying things out. Held to the same suite as the real one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from mainstay.recovery.freshness import PROVES
from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.points.contract import Ack, Tended, Vault
from mainstay.runner.steps import rfc3339

T = TypeVar("T", RecoveryPoint, Proof)
Place = tuple[str, str]


def moment(text: str) -> str:
    """RFC 3339 however it is written → as all are compared. Raises ValueError."""
    return rfc3339(datetime.fromisoformat(text))


class MemoryPoints:
    """Implements PointStore; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: dict[Place, RecoveryPoint] = {}
        self._proofs: dict[tuple[str, str, str], Proof] = {}
        self._vaults: dict[Place, Vault] = {}
        self._tended: dict[tuple[str, str, str, str, str], Tended] = {}
        self._acks: dict[tuple[str, str, str, str, str], Ack] = {}

    def add_point(self, point: RecoveryPoint) -> None:
        with self._lock:
            self._points.setdefault((point.repository, point.id), point)

    def points(
        self,
        *,
        hosts: Collection[str] | None = None,
        plan: str | None = None,
        source: str | None = None,
        repository: str | None = None,
        run: str | None = None,
        removed: bool = False,
        anomalous: bool = False,
    ) -> list[RecoveryPoint]:
        with self._lock:
            found = list(self._points.values())
        return in_order(
            one
            for one in found
            if (hosts is None or one.host in hosts)
            and plan in (None, one.plan)
            and source in (None, one.source)
            and repository in (None, one.repository)
            and run in (None, one.run)
            and (removed or one.removed_at is None)
            and (one.anomalies or not anomalous)
        )

    def newest(
        self, *, hosts: Collection[str] | None = None, plan: str | None = None, until: str | None = None
    ) -> list[RecoveryPoint]:
        found = self.points(hosts=hosts, plan=plan)
        there = [one for one in found if until is None or moment(one.at) <= moment(until)]
        return in_order(_last(there, lambda one: (*_group(one), str(one.verdict))))

    def proved(self, *, hosts: Collection[str] | None = None, plan: str | None = None) -> list[RecoveryPoint]:
        when = {(one.repository, one.point): moment(one.at) for one in self.proofs() if one.verdict in PROVES}
        there = [one for one in self.points(hosts=hosts, plan=plan) if (one.repository, one.id) in when]
        by_proof = sorted(there, key=lambda one: when[one.repository, one.id])
        both = [*_last(there, _group), *_last(by_proof, _group)]
        return in_order({(one.repository, one.id): one for one in both}.values())

    def newest_proofs(self, *, hosts: Collection[str] | None = None, plan: str | None = None) -> list[Proof]:
        found = [one for one in self.proofs(hosts=hosts) if plan in (None, one.plan)]
        return proofs_in_order(_last(found, lambda one: (*_group(one), str(one.verdict))))

    def find(self, prefix: str) -> list[RecoveryPoint]:
        if not prefix:
            return []
        return [one for one in self.points(removed=True) if one.id.startswith(prefix)]

    def mark_going(self, repository: str, ids: Sequence[str], run: str) -> None:
        with self._lock:
            for id in ids:
                there = self._points.get((repository, id))
                if there is not None and there.removed_at is None:
                    self._points[repository, id] = there.model_copy(update={"removed_by": run or None})

    def mark_removed(self, repository: str, ids: Sequence[str], run: str, at: str) -> None:
        with self._lock:
            for id in ids:
                there = self._points.get((repository, id))
                if there is not None and there.removed_at is None:
                    gone = {"removed_at": moment(at), "removed_by": run}
                    self._points[repository, id] = there.model_copy(update=gone)

    def hand_over(self, old: str, new: str, mine: Callable[[str], bool] = lambda run: True) -> None:
        with self._lock:
            self._points = {key: _handed(one, old, new, mine) for key, one in self._points.items()}
            self._proofs = {key: _handed(one, old, new, mine) for key, one in self._proofs.items()}
            for key, one in [(key, one) for key, one in self._tended.items() if one.subject == old and mine(one.run)]:
                repository, host, what, _, part = key
                there = self._tended.get((repository, host, what, new, part))
                if there is None or moment(there.at) < moment(one.at):
                    self._tended[repository, host, what, new, part] = replace(one, subject=new)
                del self._tended[key]

    def add_proof(self, proof: Proof) -> None:
        with self._lock:
            self._proofs.setdefault((proof.point, proof.repository, proof.run), proof)

    def proofs(
        self, *, hosts: Collection[str] | None = None, source: str | None = None, points: Collection[str] | None = None
    ) -> list[Proof]:
        with self._lock:
            found = list(self._proofs.values())
        return proofs_in_order(
            one
            for one in found
            if (hosts is None or one.host in hosts)
            and source in (None, one.source)
            and (points is None or one.point in points)
        )

    def vault(self, repository: str, host: str) -> Vault | None:
        with self._lock:
            return self._vaults.get((repository, host))

    def vaults(self) -> list[Vault]:
        with self._lock:
            return [vault for _, vault in sorted(self._vaults.items())]

    def note_vault(self, vault: Vault) -> None:
        with self._lock:
            self._vaults[vault.repository, vault.host] = vault

    def tended(
        self, *, repository: str | None = None, host: str | None = None, part: str | None = None
    ) -> list[Tended]:
        with self._lock:
            found = [one for _, one in sorted(self._tended.items())]
        return [
            one
            for one in found
            if repository in (None, one.repository) and host in (None, one.host) and part in (None, one.part)
        ]

    def note_tended(self, tended: Tended) -> None:
        key = (tended.repository, tended.host, tended.what, tended.subject, tended.part)
        with self._lock:
            self._tended[key] = tended

    def acknowledge(self, ack: Ack) -> None:
        with self._lock:
            self._acks.setdefault((ack.item, ack.host, ack.source, ack.by, ack.at), ack)

    def acks(self) -> list[Ack]:
        with self._lock:
            found = list(self._acks.values())
        return sorted(found, key=lambda one: (moment(one.at), one.item, one.host, one.source, one.by))

    def tidy(self, before: str) -> int:
        with self._lock:
            limit = moment(before)
            gone = {key for key, one in self._points.items() if one.removed_at and moment(one.removed_at) < limit}
            self._points = {key: one for key, one in self._points.items() if key not in gone}
            self._proofs = {key: one for key, one in self._proofs.items() if (one.repository, one.point) not in gone}
        return len(gone)


def in_order(points: Iterable[RecoveryPoint]) -> list[RecoveryPoint]:
    return sorted(points, key=lambda one: (moment(one.at), one.id, one.repository))


def proofs_in_order(proofs: Iterable[Proof]) -> list[Proof]:
    return sorted(proofs, key=lambda one: (moment(one.at), one.point, one.repository, one.run))


def _handed(one: T, old: str, new: str, mine: Callable[[str], bool]) -> T:
    return one.model_copy(update={"plan": new}) if one.plan == old and mine(one.run) else one


def _group(one: RecoveryPoint | Proof) -> tuple[str, ...]:
    return one.host, one.plan, one.source, one.item, one.repository


def _last(ordered: Sequence[T], key: Callable[[T], tuple[str, ...]]) -> Collection[T]:
    return {key(one): one for one in ordered}.values()
