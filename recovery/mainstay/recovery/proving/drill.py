"""The drill: an errand that restores the newest points of one host into a scratch place and says what is proved by that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import monotonic

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.host import Host
from mainstay.inventory.redaction import redact
from mainstay.inventory.value import Json
from mainstay.recovery.depot import Depot
from mainstay.recovery.plan import Assertion, Proving
from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.points.contract import Tended
from mainstay.recovery.proving import scratch
from mainstay.recovery.proving.asserting import Check
from mainstay.recovery.proving.attempt import Tried, Untried
from mainstay.recovery.proving.files import PointAttempt, try_out
from mainstay.recovery.proving.order import DRILL, DrillOrder
from mainstay.recovery.proving.trying import CLUSTER, GLOBALS, untried
from mainstay.recovery.restic.contract import Locked, ResticError, TooOld, Unreachable
from mainstay.recovery.words import counted, sized, span
from mainstay.runner.errand import Desk, Errand
from mainstay.runner.operation import Forecast
from mainstay.runner.steps import HostFailed, StepIO, rfc3339
from mainstay.runner.verdict import Verdict

PROVES = (Verdict.SUCCEEDED, Verdict.DEGRADED)
SCRATCH = "scratch"
"""Of the state's folder: where scratch places are."""
SHOWN = 12
"""Hexadecimal digits of an id that people are shown."""


class DrillErrand(Errand):
    """Steps: one for each point, which leaves nothing behind, then `verdict`. scratch: folder of the scratch places."""

    kind = DRILL

    def __init__(
        self, order: DrillOrder, depot: Depot, scratch: Path, *, clock: Callable[[], float] = monotonic
    ) -> None:
        self.order, self.depot, self.scratch, self.clock = order, depot, scratch, clock

    @classmethod
    def of(cls, data: Json, depot: Depot, scratch: Path) -> DrillErrand:
        """From a DrillOrder, as a request holds it."""
        return cls(DrillOrder.from_json(data), depot, scratch)

    @property
    def proving(self) -> Proving:
        assert self.order.plan.prove is not None, "no drill was asked for without"
        return self.order.plan.prove

    def preview(self, host: Host, now: float) -> Forecast:
        points = self.order.points.get(host.name, ())
        items = tuple(sorted((point.unit, point.id[:SHOWN], point.at) for point in points))
        return Forecast(
            change={},
            count=len(points),
            reversible=0,
            items=items,
            reboot="no",
            refused="" if points else "it has no point that could be proved",
        )

    def work(self, desk: Desk, forecast: Forecast) -> str:
        points = _in_order(self.order.points[desk.host.name])
        desk.step("sweep", self._sweep)
        proofs: list[Proof] = []
        roles: dict[str, tuple[str, ...]] = {}
        used, spent = 0, 0.0
        for point in points:
            job = partial(self._prove, desk, point, used, spent, roles.get(point.source, ()))
            done = desk.step(f"prove {point.unit}", job)
            proof = Proof.from_json(done["proof"])
            proofs.append(proof)
            used, spent = used + done["bytes"], spent + proof.seconds
            if done["roles"]:
                roles[point.source] = tuple(done["roles"])
        words: str = desk.step("verdict", partial(self._verdict, desk, proofs))
        return words

    def _sweep(self, io: StepIO) -> list[str]:
        left = scratch.sweep(self.scratch)
        io.detail = (
            f"left over by drills that were killed, and removed: {', '.join(left)}" if left else "nothing left over"
        )
        io.notes += [io.detail] if left else []
        return left

    def _prove(
        self, desk: Desk, point: RecoveryPoint, used: int, spent: float, roles: Sequence[str], io: StepIO
    ) -> Json:
        began = self.clock()
        tried, measures = self._tried(desk, point, used, spent, roles, io)
        proof = Proof(
            point=point.id,
            host=point.host,
            plan=point.plan,
            source=point.source,
            item=point.item,
            repository=point.repository,
            run=desk.run,
            at=rfc3339(datetime.fromtimestamp(desk.now(), UTC)),
            verdict=tried.verdict,
            reason=redact(tried.reason),
            scope=tried.scope,
            left_out=tried.left_out,
            seconds=round(self.clock() - began, 3),
            measures=measures,
        )
        self.depot.points.add_proof(proof)
        age = span(max(0.0, desk.now() - datetime.fromisoformat(point.at).timestamp()))
        said = proof.reason if proof.verdict not in PROVES else proof.scope
        io.verdict = proof.verdict
        io.detail = f"point {point.id[:SHOWN]} of {point.at} ({age} old): {said}"
        return {"proof": proof.to_json(), "bytes": tried.bytes, "roles": list(tried.roles)}

    def _tried(
        self, desk: Desk, point: RecoveryPoint, used: int, spent: float, roles: Sequence[str], io: StepIO
    ) -> tuple[Tried, Json]:
        """Never raises for what is wrong with the point: that is the answer."""
        measures: Json = {}
        source = self.order.plan.sources[point.source]
        name = f"{desk.run}-{sha256(f'{point.host}/{point.unit}'.encode()).hexdigest()[:16]}"
        try:
            with scratch.place(self.scratch, name) as place:
                attempt = PointAttempt(
                    kind=source.kind,
                    unit=point.unit,
                    item=point.item,
                    at=point.at,
                    point=point,
                    restic=self.depot.open(self.order.plan.repositories[point.repository], point.host),
                    place=place,
                    sample=self.proving.sample,
                    bytes_left=max(0, self.proving.max_bytes - used),
                    until=self.clock() + self.proving.max_time - spent,
                    checks=[Check(**one.to_json()) for one in self._checks(point)],
                    may_be_empty=self.order.plan.expected(point.source).may_be_empty,
                    roles=roles,
                    superuser=source.postgresql.user if source.postgresql else "postgres",
                    progress=io.progress,
                    clock=self.clock,
                    measures=measures,
                )
                try:
                    attempt.left()
                    self._still_there(attempt)
                    return try_out(attempt), attempt.end()
                finally:
                    attempt.end()
        except Untried as error:
            return untried(point.unit, error), measures
        except (Unreachable, Locked, TooOld) as error:
            return Tried(Verdict.UNKNOWN, f"could not be tried: {error.plain}"), measures
        except scratch.Unclean as error:
            return Tried(Verdict.FAILED, error.message), measures
        except MainstayError as error:
            return Tried(Verdict.FAILED, error.plain if isinstance(error, ResticError) else error.message), measures

    def _checks(self, point: RecoveryPoint) -> tuple[Assertion, ...]:
        """Those that are asked of this point."""
        mine = [one for one in self.proving.check if one.source == point.source]
        names = {point.item, f"/{point.item}"}  # of SQLite, a path without its first stroke
        return tuple(one for one in mine if point.item == CLUSTER or one.database in names)

    def _still_there(self, attempt: PointAttempt) -> None:
        attempt.phase("locate")
        there = {snapshot.id for snapshot in attempt.restic.snapshots()}
        if attempt.point.id not in there:
            raise MainstayError(f"point {attempt.point.id[:SHOWN]} is gone from the repository")

    def _verdict(self, desk: Desk, proofs: Sequence[Proof], io: StepIO) -> str:
        """Puts down what is proved. Raises HostFailed where a point is not what it should be."""
        points = {point.id: point for point in self.order.points[desk.host.name]}
        good = [proof for proof in proofs if proof.verdict in PROVES]
        bad = [proof for proof in proofs if proof.verdict is Verdict.FAILED]
        open_ = [proof for proof in proofs if proof not in good and proof not in bad]
        unasked = self._unasked(list(points.values()))
        io.measures["proves"] = sorted({points[proof.point].run for proof in good})
        io.measures["proofs"] = [_short(proof, points[proof.point]) for proof in proofs]
        io.measures["restored_bytes"] = sum(int(proof.measures.get("bytes", 0)) for proof in proofs)
        self._note(desk, proofs, Verdict.FAILED if bad or unasked or not good else Verdict.SUCCEEDED)
        io.concerns += [f"{_unit(proof)} is not proved: {proof.reason}" for proof in open_]
        io.concerns += [f"{_unit(proof)}: {one}" for proof in good for one in proof.left_out]
        newer = newer_than(
            self.depot.points.points(hosts=[desk.host.name], plan=self.order.plan.name), list(points.values())
        )
        io.notes += newer
        words = (
            f"{len(good)} of {counted(len(proofs), 'point')} proved, {sized(io.measures['restored_bytes'])} restored"
        )
        io.detail = words
        if bad or unasked or not good:
            wrong = [f"{_unit(proof)} is not proved: {proof.reason}" for proof in (bad or open_)]
            raise HostFailed("; ".join([words, *wrong, *unasked]))
        return words

    def _unasked(self, points: Sequence[RecoveryPoint]) -> list[str]:
        """Assertions of databases that no point is of: nothing was asked, so nothing holds."""
        found = []
        for one in self.proving.check:
            mine = [point for point in points if point.source == one.source]
            if mine and not any(one in self._checks(point) for point in mine):
                found.append(f"{one.source}: there is no point of the database {one.database} that prove.check asks of")
        return found

    def _note(self, desk: Desk, proofs: Sequence[Proof], verdict: Verdict) -> None:
        plan = self.order.plan
        repository = plan.repositories[plan.repository]
        self.depot.points.note_tended(
            Tended(
                repository=plan.repository,
                host=repository.vault(desk.host.name),
                what="prove",
                subject=plan.name,
                part="",
                run=desk.run,
                at=rfc3339(datetime.fromtimestamp(desk.now(), UTC)),
                verdict=verdict.value,
                detail=f"{len(proofs)} points tried",
            )
        )


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


def _in_order(points: Sequence[RecoveryPoint]) -> list[RecoveryPoint]:
    """A cluster's roles first: its databases need them."""
    return sorted(points, key=lambda point: (point.source, point.item != GLOBALS, point.item))


def _unit(proof: Proof) -> str:
    return f"{proof.source}/{proof.item}" if proof.item else proof.source


def _short(proof: Proof, point: RecoveryPoint) -> Json:
    """For the record: the exact point."""
    return {
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
