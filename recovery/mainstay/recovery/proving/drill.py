"""The drill: an errand that restores the newest points of one host into a scratch place and says what is proved by that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from hashlib import sha256
from pathlib import Path
from time import monotonic

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.recovery.depot import Depot
from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.proving import scratch
from mainstay.recovery.proving.attempt import Tried, Untried
from mainstay.recovery.proving.drawing import SHOWN, gone, is_gone
from mainstay.recovery.proving.files import PointAttempt, try_out
from mainstay.recovery.proving.noting import PROVES, Noting, complete
from mainstay.recovery.proving.order import DRILL, DrillOrder
from mainstay.recovery.proving.trying import untried
from mainstay.recovery.restic.contract import Locked, ResticError, TooOld, Unreachable
from mainstay.recovery.words import span
from mainstay.runner.errand import Desk, Errand
from mainstay.runner.operation import Forecast
from mainstay.runner.steps import StepIO, Stopped
from mainstay.runner.verdict import Verdict

SCRATCH = "scratch"
"""Of the state's folder: where scratch places are."""


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
        noting = Noting(self.order, self.depot, desk.run, desk.host.name, desk.now)
        desk.step("sweep", self._sweep)
        proofs: list[Proof] = []
        roles: dict[str, tuple[str, ...]] = {}
        used, spent = 0, 0.0
        for point in noting.points:
            job = partial(self._prove, desk, noting, point, used, spent, roles.get(point.source, ()))
            try:
                done = desk.step(f"prove {point.unit}", job)
            except Stopped as stop:
                if stop.verdict is not Verdict.CANCELLED:
                    raise
                words = desk.step("verdict", partial(self._verdict, noting, proofs, stopped=True))
                raise Stopped(stop.step, stop.verdict, f"{stop.reason}; {words}", stop.kind) from None
            proof = Proof.from_json(done["proof"])
            proofs.append(proof)
            used, spent = used + done["bytes"], spent + proof.seconds
            if done["roles"]:
                roles[point.source] = tuple(done["roles"])
        words = desk.step("verdict", partial(self._verdict, noting, proofs))
        return str(words)

    def _sweep(self, io: StepIO) -> list[str]:
        left = scratch.sweep(self.scratch)
        io.detail = (
            f"left over by drills that were killed, and removed: {', '.join(left)}" if left else "nothing left over"
        )
        io.notes += [io.detail] if left else []
        return left

    def _prove(
        self,
        desk: Desk,
        noting: Noting,
        point: RecoveryPoint,
        used: int,
        spent: float,
        roles: Sequence[str],
        io: StepIO,
    ) -> Json:
        began = self.clock()
        tried, measures = self._tried(noting, point, used, spent, roles, io)
        proof = noting.prove(point, tried, self.clock() - began, measures)
        age = span(max(0.0, desk.now() - datetime.fromisoformat(point.at).timestamp()))
        said = proof.reason if proof.verdict not in PROVES else proof.scope
        io.verdict = proof.verdict
        io.detail = f"point {point.id[:SHOWN]} of {point.at} ({age} old): {said}"
        return {"proof": proof.to_json(), "bytes": tried.bytes, "roles": list(tried.roles)}

    def _tried(
        self, noting: Noting, point: RecoveryPoint, used: int, spent: float, roles: Sequence[str], io: StepIO
    ) -> tuple[Tried, Json]:
        """Never raises for what is wrong with the point: that is the answer."""
        measures: Json = {}
        proving, source = self.order.proving, self.order.plan.sources[point.source]
        name = f"{noting.run}-{sha256(f'{point.host}/{point.unit}'.encode()).hexdigest()[:16]}"
        try:
            with scratch.place(self.scratch, name) as place:
                attempt = PointAttempt(
                    kind=source.kind,
                    unit=point.unit,
                    item=point.item,
                    at=point.at,
                    made_at=complete(point),
                    point=point,
                    restic=self.depot.open(self.order.plan.repositories[point.repository], point.host),
                    place=place,
                    sample=proving.sample,
                    bytes_left=max(0, proving.max_bytes - used),
                    until=self.clock() + proving.max_time - spent,
                    checks=noting.checks(point),
                    may_be_empty=self.order.plan.expected(point.source).may_be_empty,
                    roles=roles,
                    superuser=source.postgresql.user if source.postgresql else "postgres",
                    progress=io.progress,
                    clock=self.clock,
                    measures=measures,
                )
                try:
                    attempt.left()
                    attempt.phase("locate")
                    if is_gone(attempt.restic, point.id):
                        raise gone(point.id)
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
            said = f"repository {error.repository}: {error.plain}" if isinstance(error, ResticError) else error.message
            return Tried(Verdict.FAILED, said), measures

    def _verdict(self, noting: Noting, proofs: Sequence[Proof], io: StepIO, *, stopped: bool = False) -> str:
        io.detail = noting.conclude(proofs, io, stopped=stopped)
        return io.detail
