"""How each source of each host stands: fresh, proved, in all its places, without an anomaly that nobody has seen. Pure.

What is not known is never well: a source without a point, or one that no restore has proved, is trouble from the first day.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

from mainstay.inventory.value import Value
from mainstay.recovery.anomalies import Group, acknowledged, group_of
from mainstay.recovery.freshness import PROVES, Exposure, MissingCopy, copies_missing, exposures, present
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import ADOPTED, Proof, RecoveryPoint
from mainstay.recovery.points.contract import Ack
from mainstay.recovery.words import counted, span
from mainstay.runner.verdict import Verdict

Health = Literal["well", "look", "wrong", "unknown"]
Say = Callable[..., "Trouble"]
WORST_FIRST: tuple[Health, ...] = ("wrong", "unknown", "look", "well")

FRESH = 1.5
"""Schedule's intervals that the newest point may be old, where the plan does not say `fresh:`."""
STALE = 2.0
"""Times what is promised, from which on it is wrong and not only to be looked at."""
NO_POINT = "no recovery point"
SHORT = 12
"""Characters of a point's id that name it for people."""
PROOF = 2.0
"""Times `prove.every` within which a restore has to have proved it."""


class Trouble(Value):
    """Something about a backup that somebody should know. kind: what it is, in a few words without figures, by which the same
    of many hosts can be told together."""

    health: Health
    kind: str
    text: str
    host: str = ""
    plan: str = ""
    source: str = ""
    """Its unit; empty: of the host or the repository."""
    hint: str = ""
    """A command, mostly."""


class Place(Value):
    """A repository that is to have the newest point of a unit. point: the newest that it has. missing: why that is too old."""

    repository: str
    point: RecoveryPoint | None = None
    age: float | None = None
    """Seconds."""
    missing: str = ""


class Standing(Value):
    """One unit of one plan on one host."""

    exposure: Exposure
    promised: float | None = None
    """Seconds that the newest point may be old; None: the plan has neither a window nor `fresh:`."""
    prove_every: float | None = None
    """Seconds; None: the plan proves nothing."""
    places: tuple[Place, ...] = ()
    """The plan's own repository first."""
    proof: Proof | None = None
    """The newest that proved something."""
    failed: Proof | None = None
    """The newest that did not, where nothing has been proved since."""
    anomalies: tuple[RecoveryPoint, ...] = ()
    """Points with an anomaly that nobody has acknowledged: retention leaves the unit alone."""
    troubles: tuple[Trouble, ...] = ()

    @property
    def host(self) -> str:
        return self.exposure.host

    @property
    def plan(self) -> str:
        return self.exposure.plan

    @property
    def source(self) -> str:
        """The unit."""
        return self.exposure.source

    @property
    def health(self) -> Health:
        return worst(one.health for one in self.troubles)


def worst(found: Iterable[Health]) -> Health:
    return min(found, key=WORST_FIRST.index, default="well")


def standings(
    plan: BackupPlan,
    hosts: Collection[str],
    points: Sequence[RecoveryPoint],
    proofs: Sequence[Proof],
    now: datetime,
    *,
    interval: float | None,
    copy_lags: Mapping[str, float],
    acks: Sequence[Ack] = (),
) -> list[Standing]:
    """Of every source that the plan backs up on these hosts, by host and unit. points: at least the newest of each unit,
    repository and verdict, those that are proved, and all with anomalies. interval: seconds between two openings of the plan's
    windows. copy_lags: repository of a copy → seconds within which a point is to be there."""
    declared = {(host, plan.name, source) for host in hosts for source in plan.sources}
    mine = [one for one in points if one.plan == plan.name and one.host in hosts]
    mine.sort(key=lambda one: datetime.fromisoformat(one.at))
    originals = {one.id: one for one in mine}
    last_run = {(one.host, one.source): one.run for one in present(mine, now) if one.copy_of is None}
    seen = acknowledged(mine, acks)
    odd: dict[Group, list[RecoveryPoint]] = {}
    for one in mine:
        # A copy tells nothing that its original does not; it counts where that is gone.
        if one.copy_of in originals:
            continue
        if one.anomalies and one.removed_at is None and (one.repository, one.id) not in seen:
            odd.setdefault(group_of(one), []).append(one)
    at: dict[tuple[Group, str], RecoveryPoint] = {}
    for one in present(mine, now):
        at[group_of(one), one.repository] = one  # oldest first
    behind: dict[Group, list[MissingCopy]] = {}
    for missing in copies_missing(mine, {plan.repository: 0.0, **copy_lags}, now):
        behind.setdefault((missing.host, missing.plan, missing.source), []).append(missing)
    tried: dict[Group, list[Proof]] = {}
    for proof in sorted(proofs, key=lambda one: datetime.fromisoformat(one.at)):
        unit = f"{proof.source}/{proof.item}" if proof.item else proof.source
        tried.setdefault((proof.host, proof.plan, unit), []).append(proof)
    promised = plan.fresh if plan.fresh is not None else interval * FRESH if interval is not None else None
    found = []
    for exposure in exposures(mine, proofs, now, declared=declared, acks=acks):
        group = exposure.group
        mine_tried = tried.get(group, [])  # oldest first
        good = [number for number, proof in enumerate(mine_tried) if proof.verdict in PROVES]
        since = mine_tried[good[-1] + 1 :] if good else mine_tried
        places = tuple(
            _place(name, at.get((group, name)), behind.get(group, ()), now) for name in (plan.repository, *copy_lags)
        )
        standing = Standing(
            exposure=exposure,
            promised=promised,
            prove_every=plan.prove.every if plan.prove else None,
            places=places,
            proof=mine_tried[good[-1]] if good else None,
            failed=since[-1] if since else None,
            anomalies=tuple(odd.get(group, ())),
        )
        found.append(standing.model_copy(update={"troubles": tuple(_troubles(standing, acks, originals, last_run))}))
    return found


def _place(name: str, point: RecoveryPoint | None, behind: Iterable[MissingCopy], now: datetime) -> Place:
    why = next((one.reason for one in behind if one.repository == name), "")
    age = (now - datetime.fromisoformat(point.at)).total_seconds() if point else None
    return Place(repository=name, point=point, age=None if age is None else max(0.0, age), missing=why)


def _troubles(
    one: Standing,
    acks: Sequence[Ack],
    originals: Mapping[str, RecoveryPoint],
    last_run: Mapping[tuple[str, str], str],
) -> Iterator[Trouble]:
    """last_run: (host, source) → the run that backed it up last."""

    def say(health: Health, kind: str, text: str, hint: str = "") -> Trouble:
        return Trouble(health=health, kind=kind, text=text, hint=hint, host=one.host, plan=one.plan, source=one.source)

    exposure = one.exposure
    if exposure.newest is None:
        yield say("wrong", NO_POINT, NO_POINT, f"mainstay run {one.plan} --hosts {one.host}")
        return
    newest = originals.get(exposure.newest.copy_of or "", exposure.newest)
    hint = f"mainstay run {one.plan} --hosts {one.host}"
    if newest.item and last_run.get((one.host, newest.source)) != newest.run:
        hint = f"if it is gone for good: mainstay records ack {newest.id[:SHORT]} --reason …"
    age = exposure.since_newest
    if one.promised is not None and age is not None and age > one.promised:
        health: Health = "wrong" if age > one.promised * STALE else "look"
        text = f"the newest point is {span(age)} old, promised is {span(one.promised)}"
        yield say(health, "older than promised", text, hint)
    elif one.promised is None and age is not None:
        text = f"the newest point is {span(age)} old; nothing says how old it may be"
        yield say("look", "no promise of its age", text, f"give {one.plan} a window, or fresh: 26h")
    yield from _about_anomalies(one, newest, acks, say_of=say)
    yield from _about_proof(one, acks, say_of=say)
    for place in one.places:
        if place.missing:
            text = place.missing.removeprefix(f"{one.source}: ")
            yield say("look", f"behind in {place.repository}", text)


def _about_anomalies(one: Standing, newest: RecoveryPoint, acks: Sequence[Ack], say_of: Say) -> Iterator[Trouble]:
    if one.anomalies:
        last = one.anomalies[-1]
        more = f" (and {len(one.anomalies) - 1} more)" if len(one.anomalies) > 1 else ""
        text = f"{last.anomalies[0]}{more}; retention waits until somebody has looked"
        yield say_of(
            "look", "an anomaly that nobody has acknowledged", text, f"mainstay records ack {last.run} --reason …"
        )
    elif newest.verdict is not Verdict.SUCCEEDED and not _looked_at(newest, acks):
        unread = f": {counted(newest.unreadable, 'file')} unreadable" if newest.unreadable else ""
        hint = f"mainstay records show {newest.run} --host {one.host}"
        if ADOPTED in newest.measures:
            unread, hint = ": how its backup ended is not known here", f"mainstay run {one.plan} --hosts {one.host}"
        yield say_of("look", "the newest point is degraded", f"the newest point is degraded{unread}", hint)


def _about_proof(one: Standing, acks: Sequence[Ack], say_of: Say) -> Iterator[Trouble]:
    failed, since = one.failed, one.exposure.since_proof
    if failed is not None and not any(ack.item == failed.run and ack.host in ("", one.host) for ack in acks):
        word = "did not prove it" if failed.verdict is Verdict.FAILED else f"ended {failed.verdict}"
        why = f": {failed.reason}" if failed.reason else ""
        health: Health = "wrong" if failed.verdict is Verdict.FAILED else "unknown"
        yield say_of(
            health, "a restore did not prove it", f"the last restore {word}{why}", f"mainstay records show {failed.run}"
        )
    if one.prove_every is None:
        return
    hint = f"mainstay prove {one.plan} --hosts {one.host}"
    if since is None:
        yield say_of("look", "never proved", "no restore has ever proved it", hint)
    elif since > one.prove_every * PROOF:
        text = f"last proved {span(since)} ago, the plan says every {span(one.prove_every)}"
        yield say_of("look", "proved too long ago", text, hint)


def _looked_at(point: RecoveryPoint, acks: Iterable[Ack]) -> bool:
    return any(
        ack.item in (point.id, point.run)
        and ack.host in ("", point.host)
        and ack.source in ("", point.source, point.unit)
        for ack in acks
    )
