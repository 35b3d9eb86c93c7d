"""What becomes of the occurrences that fell due: which run, which run late, and which are missed and why. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from mainstay.inventory.amounts import seconds
from mainstay.schedules.openings import Opening

MOST = 200
"""Missed occurrences of one schedule that get a record each; one more record stands for those beyond (a week of every hour
is 168)."""


@dataclass(frozen=True, slots=True)
class Fate:
    """Of one occurrence: it runs, unless `missed` says why not. late: in another opening than its own. through: it stands for
    all missed ones up to the one that opened then."""

    opening: Opening
    missed: str = ""
    late: bool = False
    through: datetime | None = None


Elsewhere = Callable[[], Opening | None]
"""Another window of the plan that is open now: the opening in which something may still start."""


def fates(
    due: Sequence[Opening], now: datetime, policy: str, *, elsewhere: Elsewhere, why: Callable[[Opening], str]
) -> Iterator[Fate]:
    """Oldest first, but for the one that runs, which comes last. due: openings that started up to now, at least one, oldest
    first. policy: `Timed.missed`. why: what kept the clock from one.

    The newest runs, however late, where its cutoff has not come; those before it are missed, since it does their work.
    Where it is over, `skip` runs none; `run-if-late` runs the newest in another window of the plan that is open now, if its
    own opening is not longer ago than that; `next-window` leaves the work to the next opening, which comes anyway. Which
    of the missed get a record each is counted from the oldest on: it has to come out the same when another daemon looks,
    or the same one again, a moment later.
    """
    newest = due[-1]
    late = not newest.may_start(now) and _may_be_late(newest, now, policy) and elsewhere() is not None
    runs = late or newest.may_start(now)
    missed = due[:-1] if runs else due
    after = "; its work is done by the next occurrence, which runs" if runs else _left(policy)
    for opening in missed[:MOST]:
        yield Fate(opening, missed=f"{why(opening)}{after}")
    if rest := missed[MOST:]:
        count = f"{len(rest)} occurrences in a row were missed: " if len(rest) > 1 else ""
        yield Fate(rest[0], missed=f"{count}{why(rest[0])}{after}", through=rest[-1].starts_at)
    if runs:
        yield Fate(newest, late=late)


def _may_be_late(opening: Opening, now: datetime, policy: str) -> bool:
    word, _, limit = policy.partition(":")
    return word == "run-if-late" and now - opening.starts_at <= timedelta(seconds=seconds(limit.strip()))


def _left(policy: str) -> str:
    if policy == "next-window":
        return "; its work is left to the next opening"
    if policy.startswith("run-if-late"):
        return f"; no other window of the plan was open for it within {policy.partition(':')[2].strip()}"
    return ""
