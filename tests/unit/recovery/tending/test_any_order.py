"""Backups, proofs, losses, and retention that dies anywhere, in any order: what must hold of a repository whatever came before.
The order comes from a number, so that what fails fails again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import count
from random import Random
from typing import Any

import pytest
from tests.unit.recovery.points import NOW, proof
from tests.unit.recovery.tending.desk import plan
from tests.unit.recovery.tending.dying import Died, Dying, Fate

from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.contract import Ack
from mainstay.recovery.points.memory import MemoryPoints
from mainstay.recovery.points.renamed import RenamedPoints
from mainstay.recovery.tending.retention import RetentionErrand
from mainstay.runner.verdict import Verdict

MOMENTS = [
    *("before mark_going 1", "before mark_going 2", "before forget 1", "within forget 1", "after forget 1"),
    *("before mark_removed 1", "after mark_removed 1", "before note_tended 1", "after note_tended 1"),
]
POLICIES: list[dict[str, Any]] = [{"last": 1}, {"last": 3}, {"within": "3d"}, {"daily": 2, "weekly": 1}]


class Nights:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = Dying()
        self.world.repository()
        self.below: MemoryPoints = self.world.points
        self.names = {"old": "nightly"}
        self.world.points = RenamedPoints(self.below, lambda: self.names)  # type: ignore[assignment]  # the product's own
        self.number = count(1)
        self.day = 100
        self.untouchable: set[str] = set()
        """Snapshots that no retention may remove, by their ids."""
        self.lost: set[str] = set()
        """Points that somebody else took away, and no retention has said so yet."""
        self.gone: set[str] = set()
        """Those that were written down as lost."""
        self.ended: dict[str, Verdict] = {}
        self.removed = self.died = 0

    def night(self) -> None:
        """Something happens, and then retention, more often than not."""
        happens: list[Callable[[], None]] = [self.backups] * 6 + [self.failed_backup] * 2
        happens += [
            self.odd_backup,
            self.by_hand,
            self.proved,
            self.lose,
            self.lose,
            self.looked,
            self.looked,
            self.name_is_free,
        ]
        self.random.choice(happens)()
        if self.random.random() < 0.7:
            self.retention()
        assert self.untouchable <= set(self.there)

    @property
    def at(self) -> str:
        return (NOW - timedelta(days=self.day, seconds=next(self.number) % 60)).isoformat()

    @property
    def there(self) -> dict[str, Any]:
        return self.world.repository().snapshots

    @property
    def points(self) -> list[RecoveryPoint]:
        return self.world.points.points()

    def backup(self, verdict: Verdict, odd: tuple[str, ...] = ()) -> RecoveryPoint:
        name = "old" if self.names and self.day > 80 else "nightly"
        made = self.world.backup(self.at, verdict=verdict, anomalies=odd, plan=name)
        self.day = max(self.day - 1, 1)
        return made

    def backups(self) -> None:
        verdicts = self.random.choices([Verdict.SUCCEEDED, Verdict.DEGRADED], k=self.random.randint(1, 5))
        made = [self.backup(verdict) for verdict in verdicts]
        if self.random.random() < 0.5:
            self.world.points.add_proof(proof(made[0], self.at))

    def odd_backup(self) -> None:
        self.backup(Verdict.DEGRADED, ("less",))

    def failed_backup(self) -> None:
        run = f"R{next(self.number)}"
        self.ended[run] = self.random.choice([Verdict.FAILED, Verdict.UNKNOWN])
        whose = self.random.choice(["state=OURS", "state=THEIRS", "beside=it"])
        tags = ("mainstay", f"run={run}", "plan=nightly", "source=etc", whose)
        id = self.world.repository().back_up({"/x": b"x"}, host="web1", tags=tags, at=self.at)
        if whose == "state=THEIRS" or self.ended[run] is Verdict.UNKNOWN:
            self.untouchable.add(id)

    def by_hand(self) -> None:
        self.untouchable.add(self.world.repository().back_up({"/x": b"x"}, host="web1", at=self.at))

    def proved(self) -> None:
        for one in self.random.sample(self.points, min(1, len(self.points))):
            self.world.points.add_proof(proof(one, self.at))

    def lose(self) -> None:
        for one in self.random.sample(self.points, min(1, len(self.points))):
            # One that a run which died was about to remove is taken for removed by that.
            if self.there.pop(one.id, None) is not None and not one.removed_by:
                self.lost.add(one.id)

    def looked(self) -> None:
        for one in self.points:
            if one.anomalies:
                self.world.points.acknowledge(Ack(one.run, "", "", "anna", one.at, "it is well"))

    def name_is_free(self) -> None:
        """`renamed_from:` is taken out, once the points are handed over."""
        if self.below.points(plan="old") == []:
            self.names.clear()

    def retention(self) -> None:
        policy, run = self.random.choice(POLICIES), f"RET{next(self.number)}"
        before = [one for one in self.points if one.id in self.there]
        self.world.kept, self.world.fate = {}, Fate(self.random.choice(["", *MOMENTS]))
        self.world.ios.clear()
        try:
            self.retain(policy, run)
        except Died:
            self.died += 1
            if self.random.random() < 0.5:
                self.lost -= self.told()
                return
            self.world.fate = Fate()
            self.retain(policy, run)
        assert self.told() == self.lost
        left = {one.id for one in self.points}
        assert left <= set(self.there)
        assert set(self.kept_for_sure(before)) <= left
        self.removed += len({one.id for one in before} - left)
        self.lost = set()

    def retain(self, policy: dict[str, Any], run: str) -> None:
        data = {"plan": plan(retention=policy, renamed_from=list(self.names)).to_json(), "repository": "main"}
        self.world.do(RetentionErrand.tied(data, self.world.depot, lambda run, host: self.ended.get(run), "OURS"), run)

    def told(self) -> set[str]:
        """Those that the run which has just been there has said to be lost, and has written down."""
        gone = {one.id for one in self.world.points.points(removed=True) if one.removed_at and one.removed_by == ""}
        told, self.gone = gone - self.gone, gone
        alarm = any("gone from the repository without mainstay" in one for one in self.world.concerns())
        assert alarm if told else not alarm or self.lost, "no loss without an alarm, and no alarm without one"
        return told

    def kept_for_sure(self, before: list[RecoveryPoint]) -> Iterator[str]:
        """The newest proved one and the newest that succeeded."""
        proved = {one.point for one in self.world.points.proofs()}
        for wanted in (
            [one for one in before if one.id in proved],
            [one for one in before if one.verdict is Verdict.SUCCEEDED],
        ):
            yield from [max(wanted, key=lambda one: (datetime.fromisoformat(one.at), one.id)).id] if wanted else []


def lived(seeds: range) -> None:
    removed = died = 0
    for seed in seeds:
        world = Nights(seed)
        for _ in range(30):
            try:
                world.night()
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error
        removed, died = removed + world.removed, died + world.died
    assert removed > 3 * len(seeds) and died > 3 * len(seeds), (removed, died)


@pytest.mark.thorough
def test_whatever_the_order() -> None:
    lived(range(40))


@pytest.mark.long
def test_whatever_the_order_many_times() -> None:
    lived(range(60, 1060))
