"""The change itself and the proof that it went well: apply, verify, restart, reboot, health. The way back takes the
same steps with the names prefixed by `undo.`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mainstay.inventory.facts import Facts
from mainstay.inventory.value import Json, Value
from mainstay.runner.asking import may
from mainstay.runner.calling_off import Cancelled
from mainstay.runner.operation import Outcome
from mainstay.runner.phases.following import called_off, cancelled, follow
from mainstay.runner.plan import Hook
from mainstay.runner.shell.contract import JobStatus
from mainstay.runner.steps import HostFailed, StepIO
from mainstay.runner.track import Track

ORDER = (
    *("apply.launch", "apply", "repair", "apply-again.launch", "apply-again", "verify", "restart"),
    *("reboot.need", "reboot.launch", "reboot", "stale", "health"),
)
"""The steps of a change as they follow one another; which of them there are is decided on the way."""

AMID = "in the middle of the change"
CUT_SHORT = "the job was killed or the host went down in the middle; what it did was found by looking"


def hooks(track: Track, name: str, listed: Sequence[Hook], start: str = "") -> None:
    """Run the hooks one after the other, each a step. Raises Stopped at the first that fails. One on a host is found
    again by its name, however often its step is begun. start: the step to go on with."""
    steps = [name if len(listed) == 1 else f"{name}.{number}" for number in range(1, len(listed) + 1)]
    first = steps.index(start) if start in steps else 0
    for step, hook in list(zip(steps, listed, strict=True))[first:]:
        track.patient_step(step, partial(_hook, track, hook, track.job(step)))


def _hook(track: Track, hook: Hook, job: str, io: StepIO) -> None:
    work = track.work(io)
    work.job = job
    outcome = track.tools.upkeep.hook(work, hook)
    io.detail = outcome.detail
    if not outcome.ok:
        raise HostFailed(outcome.detail)


def make(track: Track, change: Value, prefix: str = "", start: str = "") -> None:
    """Make the change and prove it. start: the step (of ORDER) to go on with, where contact was lost in it; what comes
    before it was done. Raises Stopped."""
    plan = track.request.careful
    first = ORDER.index(start) if start else 0

    def due(step: str) -> bool:
        return ORDER.index(step) >= first

    if due("apply"):
        _apply(track, change, prefix, "apply", launch=due("apply.launch"))
    software = track.operation.software
    if due("apply-again") and track.cut and software:
        _complete(track, change, prefix, start)
    if due("verify"):
        track.step(f"{prefix}verify", lambda io: _verify(track, io, change))
    if not software:
        if plan.health:
            track.step(f"{prefix}health", lambda io: health(track, io))
        return
    left_alone = plan.restart == "none"
    if plan.restart == "affected":
        if due("restart") and _in_time(track, prefix, "restart"):
            track.measures["stale"] = track.step(f"{prefix}restart", lambda io: _restart(track, io))["stale"]
        left_alone = "stale" not in track.measures  # also where that was before contact was lost
    if due("reboot.need"):
        track.need = track.step(f"{prefix}reboot.need", lambda io: _reboot_need(track, io))
        track.booted(track.need["boot_id"])
    need = track.need
    reboots = plan.reboot == "always" or (plan.reboot == "when-needed" and need["needed"])
    if reboots and due("reboot.launch"):
        reboots = _in_time(track, prefix, "reboot")
    if reboots and due("reboot"):
        _reboot(track, prefix, launch=due("reboot.launch"))
    elif need["needed"] and not reboots:
        track.measures["reboot_pending"] = need["reasons"]
    elif need["needed"] is None and not reboots:
        track.recorder.notes.append("whether a reboot is needed can't be known: " + "; ".join(need["reasons"]))
    if due("stale") and left_alone and not reboots:
        track.measures["stale"] = track.step(f"{prefix}stale", lambda io: _still_old(track, io))
    track.step(f"{prefix}health", lambda io: health(track, io))
    track.measures.setdefault("stale", [])


def _in_time(track: Track, prefix: str, step: str) -> bool:
    """Whether this may still be begun. The way back is gone to its end whatever the time is: the host is to be as it was."""
    late = "" if prefix else may(track, f"{step}.permit", step)
    track.concerns += [f"no {step}: {late}"] if late else []
    return not late


def _apply(track: Track, change: Value, prefix: str, name: str, *, launch: bool) -> None:
    try:
        if launch:
            track.step(f"{prefix}{name}.launch", lambda io: _launch(track, io, change, f"{prefix}{name}"))
        ended = track.step(f"{prefix}{name}", lambda io: _collect(track, io, change, f"{prefix}{name}"))
    finally:
        track.leave()
    track.cut, track.stopped = ended["cut"], ended.get("stopped", "")
    track.rebooted = track.booted(ended["boot_id"], AMID) if track.cut else False


def _complete(track: Track, change: Value, prefix: str, start: str) -> None:
    """After a job that was cut short: mend the package manager and, where the host went down under it, bring what is left
    of the very same set to its end."""
    first = ORDER.index(start) if start else 0
    if first <= ORDER.index("repair"):
        found = track.step(f"{prefix}repair", lambda io: _repair(track, io, change))
        # A host that goes down in order kills the job first, and is in another boot only by now.
        track.rebooted = track.booted(found["boot_id"], AMID) or track.rebooted
        if not track.rebooted:
            track.concerns.append("the job that made the change was killed on the host")
        track.concerns += found["repaired"]
        track.again = bool(found["left"]) and track.rebooted
    if track.again:
        _apply(track, change, prefix, "apply-again", launch=first <= ORDER.index("apply-again.launch"))


def _launch(track: Track, io: StepIO, change: Value, step: str) -> None:
    work = track.work(io)
    name = track.job(step)
    _unless_cancelled(track, io, name)
    track.patiently(io, lambda: track.attend(work, change, name))
    _unless_cancelled(track, io, name)
    job = track.operation.apply(work, change, name)
    track.patiently(io, lambda: track.shell.launch(job, work.fence))
    io.detail = name


def _unless_cancelled(track: Track, io: StepIO, name: str) -> None:
    """What would be stopped at the first look is not begun. One that a process before this one has launched is followed to its
    end in order. Raises Cancelled."""
    if not track.operation.stoppable or not (by := cancelled(track)):
        return
    if track.patiently(io, lambda: track.shell.poll(name)).status is JobStatus.ABSENT:
        raise Cancelled(f"{by}; it had not begun")


def _collect(track: Track, io: StepIO, change: Value, step: str) -> Json:
    """Whether the job was cut short, so that only the host itself can tell what it did; and the boot it is in then."""
    name = track.job(step)
    if not track.attended and not track.operation.software:
        # Another process has launched it; what stands beside it went down with that one.
        work = track.work(io)
        if track.patiently(io, lambda: track.shell.poll(name)).status is JobStatus.RUNNING:
            track.patiently(io, lambda: track.attend(work, change, name))
    state, output = follow(track, io, name, change)
    if state.status is JobStatus.LOST:
        io.notes.append(CUT_SHORT)
        io.detail, stopped = "cut short", ""
        if not track.operation.software:
            # What it had told until then is kept: of several parts some may have come to their end.
            told = track.operation.outcome(change, None, output)
            io.measures |= told.measures
            stopped = _why_stopped(track, told)
        boot_id = track.patiently(io, lambda: track.tools.upkeep.probe(track.shell)).boot_id
        return {"cut": True, "boot_id": boot_id, "stopped": stopped}
    outcome: Outcome = track.operation.outcome(change, state.exit, output)
    if not outcome.ok:
        raise HostFailed(outcome.detail)
    io.detail = outcome.detail
    io.concerns += outcome.concerns
    io.measures |= outcome.measures
    io.notes += [f"kept its own {path}" for path in track.operation.kept(output)]
    return {"cut": False, "boot_id": "", "stopped": _why_stopped(track, outcome)}


def _why_stopped(track: Track, outcome: Outcome) -> str:
    """Empty where it was not."""
    return (called_off(track) or "stopped") if outcome.stopped else ""


def _repair(track: Track, io: StepIO, change: Value) -> Json:
    """Returns what was repaired, in words, and what of the change is still not as meant."""
    work = track.work(io)
    wait = track.request.careful.lock_wait
    repaired = track.patiently(io, lambda: track.operation.prepare(work, wait=wait))
    left = track.patiently(io, lambda: track.operation.verify(work, change))
    io.detail = "; ".join([*repaired, *left]) or "nothing to repair"
    boot_id = track.patiently(io, lambda: track.tools.upkeep.probe(track.shell)).boot_id
    return {"repaired": list(repaired), "left": list(left), "boot_id": boot_id}


def _verify(track: Track, io: StepIO, change: Value) -> None:
    work = track.work(io)
    wrong = track.patiently(io, lambda: track.operation.verify(work, change))
    if wrong:
        raise HostFailed("not as meant: " + "; ".join(wrong))
    meant = "what was done before it was stopped" if track.stopped else f"{track.operation.changes(change)} as meant"
    io.detail = io.detail or meant


def _restart(track: Track, io: StepIO) -> Json:
    work = track.work(io)
    done = track.patiently(io, lambda: track.tools.upkeep.restart(work, track.request.careful))
    if done.failed:
        raise HostFailed("did not come up after its restart: " + ", ".join(done.failed))
    words = [f"restarted {', '.join(done.restarted)}"] if done.restarted else []
    words += [f"still old: {', '.join(done.stale)}"] if done.stale else []
    io.detail = "; ".join(words) or "nothing runs old code"
    return {"stale": list(done.stale)}


def _still_old(track: Track, io: StepIO) -> list[str]:
    """Nothing is restarted here; what runs old code is found and named all the same."""
    work = track.work(io)
    stale = list(track.patiently(io, lambda: track.tools.upkeep.stale(work)))
    io.detail = f"still old: {', '.join(stale)}" if stale else "nothing runs old code"
    return stale


def _reboot_need(track: Track, io: StepIO) -> Json:
    plan, work = track.request.careful, track.work(io)
    need = track.patiently(io, lambda: track.tools.upkeep.reboot_need(work))
    needed, reasons = need.needed, list(need.reasons)
    if plan.restart == "reboot" and not needed:
        stale = track.patiently(io, lambda: track.tools.upkeep.stale(work))
        needed, reasons = (True, [f"{', '.join(stale)} still run old code"]) if stale else (needed, reasons)
    io.detail = "; ".join(reasons) or "no"
    # The id of the boot that may have to end is checkpointed before anything ends it, so that after a restart of ours
    # the same one is compared with.
    boot_id = track.patiently(io, lambda: track.tools.upkeep.probe(track.shell)).boot_id
    return {"needed": needed, "reasons": reasons, "boot_id": boot_id}


def _reboot(track: Track, prefix: str, *, launch: bool) -> None:
    name, old, deadline = track.job(f"{prefix}reboot"), track.need["boot_id"], track.request.careful.reboot_timeout
    if launch:
        track.step(f"{prefix}reboot.launch", lambda io: _reboot_start(track, io, name, old))
    facts = track.step(f"{prefix}reboot", lambda io: _reboot_wait(track, io, old, deadline))
    track.measures["reboots"] = track.measures.get("reboots", 0) + 1
    track.measures["booted"] = track.boot = facts["boot_id"]
    track.measures["stale"] = []


def _reboot_start(track: Track, io: StepIO, name: str, old: str) -> None:
    work = track.work(io)
    track.patiently(io, lambda: track.tools.upkeep.reboot_start(work, name, old))


def _reboot_wait(track: Track, io: StepIO, old: str, deadline: float) -> Json:
    facts: Facts = track.tools.upkeep.reboot_wait(track.tools.shells, track.host, old, deadline)
    io.detail = f"up again, boot {facts.boot_id[:8]}, kernel {facts.kernel}"
    return facts.to_json()


def health(track: Track, io: StepIO) -> None:
    """The health checks with their retries, and no service lost. Raises HostFailed."""
    work = track.work(io)
    well = track.patiently(io, lambda: track.tools.upkeep.until_well(work, track.request.careful.health, track.facts))
    io.detail = well.detail
    if not well.ok:
        raise HostFailed(well.detail)
