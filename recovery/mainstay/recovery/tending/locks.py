"""Locks that restic left behind: whose they are, and which may be removed. Pure, but for what the repository is asked.

restic refreshes a lock every five minutes with a new file, and leaves it when it is killed. Nothing removes it by itself: backups
go on beside it, while prune and check fail for ever. Only a lock that can be tied to a run of ours that has ended is
removed: of that machine, written during that run, and not refreshed since.
Source: https://restic.readthedocs.io/en/stable/design.html#locks, restic internal/repository/lock_file.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from mainstay.recovery.restic.replies import Lock
from mainstay.recovery.words import span

REFRESHED = timedelta(minutes=15)
"""A lock that is younger may be alive: three refreshes, and five minutes by which clocks may differ."""
STALE = timedelta(minutes=30)
"""From this age on restic itself calls a lock stale, and it is an alarm whoever left it."""
SKEW = timedelta(minutes=5)

Standing = Literal["dead", "live", "foreign"]


@dataclass(frozen=True, slots=True)
class Worked:
    """A run of ours that worked with the repository. machines: names that its restic may have called itself.
    ended: None while it is at work, or nobody knows."""

    run: str
    machines: frozenset[str]
    started: datetime
    ended: datetime | None


@dataclass(frozen=True, slots=True)
class Judged:
    """dead: of a run of ours that has ended. live: it may be at work. foreign: not of ours, as far as can be told."""

    lock: Lock
    standing: Standing
    why: str
    stale: bool
    """Old enough to be an alarm."""


def judge(locks: Iterable[Lock], worked: Sequence[Worked], now: datetime) -> list[Judged]:
    return [_judge(lock, worked, now) for lock in locks]


def _judge(lock: Lock, worked: Sequence[Worked], now: datetime) -> Judged:
    if not lock.at:
        return Judged(lock, "foreign", "it can't be read", stale=True)
    at = datetime.fromisoformat(lock.at)
    age = now - at
    stale = age >= STALE
    since = span(max(age.total_seconds(), 0))
    who = f"{lock.user or 'somebody'} on {lock.host or 'an unknown machine'}, process {lock.pid}, {since} ago"
    during = [
        one
        for one in worked
        if lock.host in one.machines and one.started - SKEW <= at and (one.ended is None or at <= one.ended + SKEW)
    ]
    working = next((one for one in during if one.ended is None), None)
    if working is not None:
        return Judged(lock, "live", f"run {working.run} is at work ({who})", stale)
    if age < REFRESHED:
        return Judged(lock, "live", f"it may be at work ({who})", stale=False)
    if during:
        return Judged(lock, "dead", f"left by run {during[-1].run}, which has ended ({who})", stale)
    return Judged(lock, "foreign", f"no run of ours left it ({who})", stale)


def alarms(locks: Iterable[Lock], unlock: str, now: datetime) -> list[str]:
    """What to say at once of those that nobody has refreshed for so long that no restic can be behind them. unlock: the command
    that removes what a dead run of ours has left."""
    said = []
    for one in judge(locks, (), now):
        if not one.stale:
            continue
        lock = one.lock
        whose = f"by {lock.user or 'somebody'} on {lock.host or 'an unknown machine'}, process {lock.pid}"
        age = f", not refreshed for {span((now - datetime.fromisoformat(lock.at)).total_seconds())}" if lock.at else ""
        held = f"{whose}{age}" if lock.at else "by a lock that can't be read"
        said.append(f"the repository is locked {held}; prune and check fail until it is gone: {unlock}")
    return said
