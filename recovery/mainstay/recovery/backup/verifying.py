"""What came of a backup: the repository is asked, every item is judged, good ones become recovery points."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from mainstay.inventory.names import clean
from mainstay.recovery.anomalies import past_of
from mainstay.recovery.backup.change import BackupChange, Item
from mainstay.recovery.backup.output import JobSaid, Taken
from mainstay.recovery.depot import Depot
from mainstay.recovery.judging import NAMED, Ending, Found, Judgement, found_of, judge, together
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.restic.contract import NoRepository, ResticError, Unreachable
from mainstay.recovery.restic.exits import meaning
from mainstay.recovery.restic.messages import BackupSummary, Said
from mainstay.recovery.restic.replies import Lock, Snapshot
from mainstay.recovery.restic.version import parse_version
from mainstay.recovery.tending.locks import alarms
from mainstay.recovery.words import counted, sized, span
from mainstay.runner.operation import HostWork
from mainstay.runner.preflight import CLOCK_SKEW_MAX
from mainstay.runner.shell.contract import Command, ContactLost
from mainstay.runner.steps import HostFailed, rfc3339
from mainstay.runner.verdict import Verdict

LEAST = (0, 17, 1)

_AT_WORK = r"""
for one in "$1/taking/$2-"*/pid; do
  { read -r pid && read -r stat; } <"$one" 2>/dev/null || continue
  now=$(cat "/proc/$pid/stat" 2>/dev/null) || now=") gone"
  case ${now##*) } in [ZX]*) now=") gone";; esac
  set -- "$1" "$2" $(printf '%s\n%s\n' "${stat##*) }" "${now##*) }" | cut -d' ' -f20)
  if [ "$3" = "$4" ]; then echo "works $pid"; else echo "dead $pid"; fi
done
"""
"""mainstay's folder, the run → a line for each of its restic processes that had not ended when the job did."""


def verify(plan: BackupPlan, depot: Depot, work: HostWork, change: BackupChange) -> None:
    """Fills in measures and concerns, writes the points. Again is success. Raises HostFailed where a source has failed,
    ContactLost where it can't be known now, which may be asked again."""
    said = JobSaid.from_json(work.found["job"]) if "job" in work.found else JobSaid()
    # Before the repository is asked: of one that has ended by then it has all that it will ever have.
    works, dead = ([], []) if said.whole or said.stopped else _orphans(work, change)
    with ThreadPoolExecutor(1, thread_name_prefix="locks") as beside:
        # restic derives its key anew for each question, half a second: both at once.
        locks = beside.submit(lambda: depot.open(plan.repositories[plan.repository], work.host.name).locks())
        snapshots = _snapshots(plan, depot, work, change, said)
    taken = {one.unit: one for one in said.items}
    judgements: list[Judgement] = []
    points: list[RecoveryPoint] = []
    rows: dict[str, Any] = {}
    odd: list[str] = []
    parts: dict[str, tuple[Item, Snapshot | None, Found]] = {}
    for item in change.items:
        snapshot = _of(item, snapshots, change, plan, taken.get(item.unit))
        asked = snapshots is not None
        found = _found(plan, item, taken.get(item.unit), snapshot, bool(works), change, asked=asked)
        parts[item.unit] = item, snapshot, found
    short = {name: why for name in plan.sources if (why := _too_small(plan, name, parts.values()))}
    for item, snapshot, found in parts.values():
        judgement = _off(said, item, taken.get(item.unit), found)
        judgement = judgement or _not_taken(plan, item, taken.get(item.unit), found)
        judgement = judgement or _judged(plan, depot, change, item, found)
        if item.source in short and judgement.is_point:
            judgement = _worse(judgement, Verdict(plan.expected(item.source).too_small), short[item.source])
        judgements.append(judgement)
        point = None
        if snapshot is not None and judgement.is_point:
            point = _point(plan, change, item, snapshot, found, judgement, depot)
            odd += [f"{item.unit}: {why}" for why in [_odd_time(snapshot, change, depot)] if why]
            depot.points.add_point(point)
            points.append(point)
        rows[item.unit] = _row(judgement, found, point)
    for name, why in change.lost.items():
        judgements.append(Judgement(source=name, verdict=Verdict.FAILED, reasons=(why,)))
        rows[name] = {"verdict": Verdict.FAILED.value, "reason": why}
    work.measures |= {
        "points": [point.id for point in points],
        "bytes": sum(point.bytes for point in points),
        "files": sum(point.files for point in points),
        "added": sum(point.added for point in points),
        "sources": rows,
    }
    # What was not taken because the run is cancelled is not judged: its host is cancelled by that, or worse by the others.
    off = {each.source for each in judgements if each.verdict is Verdict.CANCELLED}
    rest = [each for each in judgements if each.source not in off]
    units = [item.unit for item in change.items if item.unit not in off]
    verdict, reason = together(rest, units) if rest or not off else (Verdict.CANCELLED, "")
    if verdict is Verdict.UNKNOWN:
        raise ContactLost(work.host.name, reason)
    work.measures["job"] = _kept(said)
    if snapshots is not None:
        # 137: its own job has seen it die, killed because it had not ended when it was told to.
        killed = {one.pid for one in said.items if one.pid and one.code == 137}
        _locks(plan, depot, work, said, locks, {*dead, *killed, *(one.pid for one in said.dead if one.pid)})
    work.concerns += [reason] if verdict is Verdict.DEGRADED else []
    work.concerns += odd
    work.notes += [f"read without a snapshot: {path}" for one in said.items for path in one.live]
    work.notes += [f"{said.full} has no room for a cache; it went without"] if said.full else []
    work.concerns += [f"{one}: a snapshot of the filesystem could not be removed" for one in said.left]
    links = [link for one in said.items for link in one.links]
    work.concerns += [f"{link} is only a symbolic link; what it leads to was not taken" for link in links]
    work.notes += [f"{each.source}: {remark}" for each in judgements for remark in each.remarks]
    if verdict in (Verdict.FAILED, Verdict.REFUSED):
        raise HostFailed(reason)


def _snapshots(
    plan: BackupPlan, depot: Depot, work: HostWork, change: BackupChange, said: JobSaid
) -> list[Snapshot] | None:
    """Those of this run; None where the repository can't say for a reason that stays."""
    repository = plan.repositories[plan.repository]
    try:
        restic = depot.open(repository, work.host.name)
        return restic.snapshots(tags=[f"run={change.run}"], host=change.host)
    except Unreachable as error:
        raise ContactLost(work.host.name, f"the repository can't be asked what it has: {error.plain}") from error
    except NoRepository as error:
        if not any(one.code in (0, 3) for one in said.items):
            return []
        # restic has written to it: a disk that is not mounted any more has not lost what is on it.
        raise ContactLost(work.host.name, f"the repository is not at its place any more: {error.plain}") from error
    except ResticError as error:
        work.notes.append(f"the repository could not be asked: {error.plain}")
        return None


def _of(
    item: Item, snapshots: list[Snapshot] | None, change: BackupChange, plan: BackupPlan, one: Taken | None
) -> Snapshot | None:
    """The one that restic has named in the job: in a repository that hosts share each of them could add another with these tags.
    Another controller's run may have this run's id; its snapshots have another state in their tags."""
    wanted = set(item.tags(change.run, plan.name, change.maker))
    found = [one for one in snapshots or () if wanted <= set(one.tags) and (item.name or not one.tagged("item"))]
    named = one.said.summary.snapshot if one and one.said.summary else ""
    return next((one for one in found if named and one.id == named), found[-1] if found else None)


def _found(
    plan: BackupPlan,
    item: Item,
    one: Taken | None,
    snapshot: Snapshot | None,
    working: bool,
    change: BackupChange,
    *,
    asked: bool,
) -> Found:
    """working: a restic of this run still works there, though its job has ended."""
    there = snapshot is not None if asked else None
    summary = snapshot.summary if snapshot else None
    if one is None:
        return found_of(Said(), "interrupted", there, summary=summary)
    said, code = one.said, one.code
    ending: Ending = "lost" if working else "interrupted"
    if code is not None:
        ending = meaning(code, parse_version(change.program.version) or LEAST)
    dump = one.dump if item.kind != "files_from" else None
    made = found_of(said, ending, there, code=code, summary=summary, missing=one.missing, dump=dump)
    return made if made.seconds is not None else made.model_copy(update={"seconds": _seconds(one)})


def _off(said: JobSaid, item: Item, one: Taken | None, found: Found) -> Judgement | None:
    """Where the job was told to stop before it had taken this."""
    if not said.stopped or found.in_repository:
        return None
    if one is None:
        why = "was not begun"
    elif one.stopped and found.in_repository is False:
        why = "was stopped in the middle"
    else:
        return None
    return Judgement(source=item.unit, verdict=Verdict.CANCELLED, reasons=(f"{why}: the run was cancelled",))


def _not_taken(plan: BackupPlan, item: Item, one: Taken | None, found: Found) -> Judgement | None:
    """Where restic was not begun, or was stopped by us: what it says itself is not why."""
    if one is not None and one.filled:
        return _failed(
            item, f"the snapshot {', '.join(one.filled)} ran out of room: what was read of it can't be relied on"
        )
    if one is None or found.in_repository or not (one.cannot or _late(plan, item, one)):
        return None
    last = f"; restic had said: {one.said.words[-1]}" if one.said.words else ""
    why = one.cannot or f"broken off after {span(plan.sources[item.source].max_time)} (max_time){last}"
    missing = (
        [f"declared, but not there: {', '.join(clean(path, 200) for path in one.missing[:NAMED])}"]
        if one.missing
        else []
    )
    return _failed(item, why, *missing)


def _failed(item: Item, *reasons: str) -> Judgement:
    return Judgement(source=item.unit, verdict=Verdict.FAILED, reasons=reasons)


def _late(plan: BackupPlan, item: Item, one: Taken) -> bool:
    """Whether timeout has stopped it: it says so by 124, or by 137 where even that did not help."""
    limit = plan.sources[item.source].max_time
    return one.code == 124 or (one.code == 137 and (_seconds(one) or 0.0) >= limit)


def _seconds(one: Taken) -> float | None:
    return float(max(0, one.ended_at - one.begun_at)) if one.begun_at and one.ended_at else None


def _judged(plan: BackupPlan, depot: Depot, change: BackupChange, item: Item, found: Found) -> Judgement:
    before = depot.points.points(hosts=[change.host], plan=plan.name, source=item.source, removed=True)
    before = [point for point in before if point.unit == item.unit and point.run != change.run]
    history = past_of(before, depot.points.acks())
    expect = plan.expected(item.source)
    if item.name:
        # What a source is to hold at least, its databases hold together.
        expect = expect.model_copy(update={"min_size": None, "min_files": None})
    return judge(item.unit, found, history, expect, depot.clock.now())


def _too_small(plan: BackupPlan, source: str, parts: Iterable[tuple[Item, Snapshot | None, Found]]) -> str:
    """Why a source of several items holds less than it should, all of them together; empty where it does not."""
    ours = [found for item, snapshot, found in parts if item.source == source and item.name and snapshot]
    expect, size, files = (
        plan.expected(source),
        sum(one.bytes or 0 for one in ours),
        sum(one.files or 0 for one in ours),
    )
    if ours and expect.min_size is not None and size < expect.min_size:
        return f"all of {source} is {sized(size)}, and at least {sized(expect.min_size)} are expected"
    if ours and expect.min_files is not None and files < expect.min_files:
        return f"all of {source} is {counted(files, 'file')}, and at least {expect.min_files:,} are expected"
    return ""


def _worse(judgement: Judgement, verdict: Verdict, why: str) -> Judgement:
    return judgement.model_copy(update={"verdict": verdict, "reasons": (why, *judgement.reasons)})


def _point(
    plan: BackupPlan,
    change: BackupChange,
    item: Item,
    snapshot: Snapshot,
    found: Found,
    judgement: Judgement,
    depot: Depot,
) -> RecoveryPoint:
    held, now = snapshot.summary or BackupSummary(), rfc3339(depot.clock.now())
    return RecoveryPoint(
        id=snapshot.id,
        host=change.host,
        plan=plan.name,
        source=item.source,
        item=item.name,
        repository=plan.repository,
        run=change.run,
        at=change.began_at if _odd_time(snapshot, change, depot) else held.began_at or snapshot.at,
        made_at=min(held.ended_at or now, now),
        verdict=judgement.verdict,
        files=found.files or 0,
        bytes=found.bytes or 0,
        added=found.added or 0,
        changed=(found.new or 0) + (found.changed or 0),
        paths=snapshot.paths,
        unreadable=judgement.unreadable_count,
        anomalies=judgement.anomalies,
        measures={"kind": item.kind, "seconds": found.seconds, "restic": snapshot.program},
    )


def _odd_time(snapshot: Snapshot, change: BackupChange, depot: Depot) -> str:
    """Why the moment that the host gave its snapshot is not believed; empty where it is. Whoever has broken into a host could
    date points back or ahead, and so push the good ones out of what retention keeps."""
    said = (snapshot.summary.began_at if snapshot.summary else "") or snapshot.at
    began, now = datetime.fromisoformat(change.began_at), depot.clock.now()
    at = datetime.fromisoformat(said) if said else datetime.min.replace(tzinfo=UTC)
    skew = timedelta(seconds=CLOCK_SKEW_MAX)
    if began - skew <= at <= now + skew:
        return ""
    dated = said or "wrongly"
    return f"its snapshot is dated {dated}, and it was made between {change.began_at} and {rfc3339(now)}; that is what counts"


def _row(judgement: Judgement, found: Found, point: RecoveryPoint | None) -> dict[str, Any]:
    numbers = {name: getattr(found, name) for name in ("files", "bytes", "added", "new", "changed", "seconds")}
    row: dict[str, Any] = {"verdict": judgement.verdict.value}
    row |= {name: value for name, value in numbers.items() if value is not None}
    row |= {"reason": judgement.reason} if judgement.reasons else {}
    row |= {"point": point.id} if point else {}
    row |= {"anomalies": list(judgement.anomalies)} if judgement.anomalies else {}
    if judgement.unreadable_count:
        row |= {
            "unreadable": judgement.unreadable_count,
            "unreadable_items": [one.item for one in judgement.unreadable[:20]],
        }
    return row


def _kept(said: JobSaid) -> dict[str, Any]:
    """What a record keeps of the job's own words: who held a lock on what machine."""
    return {"hostname": said.hostname, "pids": [one.pid for one in said.items if one.pid], "whole": said.whole}


def _orphans(work: HostWork, change: BackupChange) -> tuple[list[int], list[int]]:
    """(pids of the run's restic processes that still work on the host though nobody watches them, of those that were killed)"""
    command = Command(("sh", "-c", _AT_WORK, "mainstay", change.state_dir, change.run), sudo=True)
    found: dict[str, list[int]] = {"works": [], "dead": []}
    for line in work.shell.run(command).text.splitlines():
        word, _, pid = line.partition(" ")
        if word in found and pid.isdecimal():
            found[word].append(int(pid))
    return found["works"], found["dead"]


def _locks(
    plan: BackupPlan, depot: Depot, work: HostWork, said: JobSaid, asked: Future[list[Lock]], dead: set[int]
) -> None:
    """Remove the locks of processes that our own jobs on this host had begun, and that are known to be dead; no others. One that
    stays is no reason to call the backup bad, but a stale one is said tonight."""
    repository = plan.repositories[plan.repository]
    try:
        there = asked.result()
        ours = [one.id for one in there if dead and said.hostname == one.host and one.pid in dead]
        gone = depot.open(repository, work.host.name).unlock(ours) if ours else []
    except ResticError as error:
        work.notes.append(f"locks of the repository could not be looked at or removed: {error.plain}")
        return
    if gone:
        work.notes.append(f"removed {counted(len(gone), 'lock')} that a killed restic of ours had left")
    which = f" --hosts {work.host.name}" if repository.vault(work.host.name) else ""
    left = [one for one in there if one.id not in gone]
    work.concerns += alarms(left, f"mainstay repo unlock {plan.name}{which}", depot.clock.now())
