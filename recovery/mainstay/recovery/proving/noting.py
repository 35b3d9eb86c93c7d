"""What a drill leaves behind, wherever it ran: a proof of each point, the note that it was done, and its part of the record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from mainstay.inventory.redaction import redact
from mainstay.inventory.value import Json
from mainstay.recovery.depot import Depot
from mainstay.recovery.plan import Assertion
from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.points.contract import Tended
from mainstay.recovery.proving.asserting import Check
from mainstay.recovery.proving.attempt import Tried
from mainstay.recovery.proving.order import CONTROLLER, DrillOrder
from mainstay.recovery.proving.trying import CLUSTER, GLOBALS
from mainstay.recovery.words import counted, sized
from mainstay.runner.steps import HostFailed, rfc3339
from mainstay.runner.verdict import Verdict

PROVES = (Verdict.SUCCEEDED, Verdict.DEGRADED)


class Said(Protocol):
    """What a host's part of the record is told through."""

    @property
    def notes(self) -> list[str]: ...
    @property
    def concerns(self) -> list[str]: ...
    @property
    def measures(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Noting:
    """host: whose points they are. now: Unix seconds. machine: which restored."""

    order: DrillOrder
    depot: Depot
    run: str
    host: str
    now: Callable[[], float]
    machine: str = CONTROLLER

    @property
    def points(self) -> list[RecoveryPoint]:
        """A cluster's roles first: its databases need them."""
        points = self.order.points.get(self.host, ())
        return sorted(points, key=lambda point: (point.source, point.item != GLOBALS, point.item))

    def checks(self, point: RecoveryPoint) -> list[Check]:
        """Those that are asked of this point."""
        return [Check(**one.to_json()) for one in self.asked(point)]

    def asked(self, point: RecoveryPoint) -> list[Assertion]:
        mine = [one for one in self.order.proving.check if one.source == point.source]
        names = {point.item, f"/{point.item}"}  # of SQLite, a path without its first stroke
        return [one for one in mine if point.item == CLUSTER or one.database in names]

    def prove(self, point: RecoveryPoint, tried: Tried, seconds: float, measures: Json) -> Proof:
        """Written down; the first of a run stands."""
        proof = Proof(
            point=point.id,
            host=point.host,
            plan=point.plan,
            source=point.source,
            item=point.item,
            repository=point.repository,
            run=self.run,
            at=self._at(),
            verdict=tried.verdict,
            reason=redact(tried.reason),
            scope=tried.scope,
            left_out=tried.left_out,
            seconds=round(seconds, 3),
            machine=self.machine,
            measures=measures,
        )
        self.depot.points.add_proof(proof)
        return proof

    def conclude(self, proofs: Sequence[Proof], said: Said, *, stopped: bool = False) -> str:
        """Puts down what is proved; returns it in words. Raises HostFailed where a point is not what it should be. stopped: the run
        was cancelled before all were tried, which says nothing of the rest, and is not a drill that was done."""
        points = {point.id: point for point in self.points}
        good = [proof for proof in proofs if proof.verdict in PROVES]
        bad = [proof for proof in proofs if proof.verdict is Verdict.FAILED]
        open_ = [proof for proof in proofs if proof not in good and proof not in bad]
        unasked = self._unasked(list(points.values()))
        said.measures["proves"] = sorted({points[proof.point].run for proof in good})
        said.measures["proofs"] = [_short(proof, points[proof.point]) for proof in proofs]
        said.measures["restored_bytes"] = sum(int(proof.measures.get("bytes", 0)) for proof in proofs)
        wrong = bool(bad) if stopped else bool(bad or unasked or not good)
        if wrong or not stopped:
            self._note(proofs, Verdict.FAILED if wrong else Verdict.SUCCEEDED)
        said.concerns.extend(f"{_unit(proof)} is not proved: {proof.reason}" for proof in open_)
        said.concerns.extend(f"{_unit(proof)}: {one}" for proof in good for one in proof.left_out)
        known = self.depot.points.points(hosts=[self.host], plan=self.order.plan.name)
        said.notes.extend(newer_than(known, list(points.values())))
        words = in_words(said.measures, len(points) if stopped else len(proofs))
        if wrong:
            why = [f"{_unit(proof)} is not proved: {proof.reason}" for proof in (bad or open_)]
            raise HostFailed("; ".join([words, *why, *unasked]))
        return words

    def _unasked(self, points: Sequence[RecoveryPoint]) -> list[str]:
        """Assertions of databases that no point is of: nothing was asked, so nothing holds."""
        found = []
        for one in self.order.proving.check:
            mine = [point for point in points if point.source == one.source]
            if mine and not any(one in self.asked(point) for point in mine):
                found.append(f"{one.source}: there is no point of the database {one.database} that prove.check asks of")
        return found

    def _note(self, proofs: Sequence[Proof], verdict: Verdict) -> None:
        plan = self.order.plan
        self.depot.points.note_tended(
            Tended(
                repository=plan.repository,
                host=self.host,
                what="prove",
                subject=plan.name,
                part="",
                run=self.run,
                at=self._at(),
                verdict=verdict.value,
                detail=f"{len(proofs)} points tried",
            )
        )

    def _at(self) -> str:
        return rfc3339(datetime.fromtimestamp(self.now(), UTC))


def in_words(measures: Json, points: int) -> str:
    """Of what `conclude` has told. points: of so many."""
    proofs = measures.get("proofs", ())
    good = [one for one in proofs if one["verdict"] in PROVES]
    restored = sized(measures.get("restored_bytes", 0))
    return f"{len(good)} of {counted(points, 'point')} proved, {restored} restored"


def newer_than(known: Sequence[RecoveryPoint], proved: Sequence[RecoveryPoint]) -> list[str]:
    """Points that were made since the drill was asked for: they are not what was proved."""
    found = []
    for point in proved:
        later = [
            one for one in known if one.unit == point.unit and one.repository == point.repository and one.at > point.at
        ]
        if later:
            found.append(f"{point.unit}: a newer point was made since ({later[-1].at}); it is not proved by this")
    return found


def _unit(proof: Proof) -> str:
    return f"{proof.source}/{proof.item}" if proof.item else proof.source


def complete(point: RecoveryPoint) -> str:
    """The last moment that the point may hold anything of, RFC 3339: of a copy, not when that was made."""
    if point.copy_of is None:
        return point.made_at
    took = min(float(point.measures.get("seconds") or 0.0), (_at(point.made_at) - _at(point.at)).total_seconds())
    return rfc3339(_at(point.at) + timedelta(seconds=max(0.0, took)))


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _short(proof: Proof, point: RecoveryPoint) -> Json:
    """For the record: the exact point, and where it was restored."""
    return {
        "of": point.host,
        "on": proof.machine,
        "unit": point.unit,
        "point": point.id,
        "at": point.at,
        "run": point.run,
        "verdict": proof.verdict.value,
        "scope": proof.scope,
        "reason": proof.reason,
        "left_out": list(proof.left_out),
        "seconds": proof.seconds,
        "measures": proof.measures,
    }
