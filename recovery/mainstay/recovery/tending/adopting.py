"""Points that the state of another controller has made, read out of a repository again: for when that controller is lost. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from urllib.parse import unquote

from mainstay.recovery.backup.change import STATE, TAG
from mainstay.recovery.point import ADOPTED, RecoveryPoint
from mainstay.recovery.restic.replies import Snapshot
from mainstay.runner.verdict import Verdict


def adoptable(
    snapshots: Sequence[Snapshot],
    *,
    plan: str,
    named: Collection[str],
    repository: str,
    copies: bool,
    known: Collection[str],
    ours: Callable[[str], bool],
    state: str,
    run: str,
    now: str,
) -> list[RecoveryPoint]:
    """Those of the plan that are not known, oldest first. How their backups ended is not in the repository: each is degraded, so
    that one that is known to have succeeded counts before it. What holds no byte, or has no date, is left.

    named: the plan's name and those that it had. copies: whether the repository holds copies. known: ids of all points that were
    ever known there. ours: whether a run is this state's; what one of its own has left is a point already, or is none. state: this
    state's id. run: that takes them over. now: RFC 3339 UTC."""
    found = []
    for one in sorted(snapshots, key=lambda one: (one.at, one.id)):
        tag, summary = (
            {name: unquote(one.tagged(name)) for name in ("plan", "source", "item", "run", STATE)},
            one.summary,
        )
        own = tag[STATE] in ("", state) and ours(tag["run"])
        if TAG not in one.tags or own or tag["plan"] not in named or not tag["source"] or one.id in known:
            continue
        at = (summary.began_at if summary else "") or one.at
        # Whoever can write there can date a snapshot as nobody can read it: no store takes such a one.
        if summary is None or not summary.bytes or not at:
            continue
        point = RecoveryPoint(
            id=one.id,
            host=one.host,
            plan=plan,
            source=tag["source"],
            item=tag["item"],
            repository=repository,
            run=tag["run"],
            at=at,
            made_at=min(summary.ended_at or now, now),
            verdict=Verdict.DEGRADED,
            files=summary.files,
            bytes=summary.bytes,
            added=summary.added,
            changed=summary.files_new + summary.files_changed,
            paths=one.paths,
            copy_of=(one.original or None) if copies else None,
            measures={ADOPTED: run, "restic": one.program},
        )
        found.append(point)
    return found
