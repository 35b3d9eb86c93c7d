"""The change itself and the proof that it went well: apply, verify, restart, reboot, health. The way back takes the
same steps with the names prefixed by `undo.`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from mainstay.inventory.facts import Facts
from mainstay.inventory.value import Json, Value
from mainstay.runner.operation import Outcome
from mainstay.runner.plan import Hook
from mainstay.runner.shell.contract import ContactLost, JobState, JobStatus, ShellError
from mainstay.runner.steps import HostFailed, StepIO
from mainstay.runner.track import Track

POLL_FIRST, POLL_LATER = 0.2, 1.0
"""Seconds between two looks at a detached job: short work is seen soon, long work is not asked all the time."""


def hooks(track: Track, name: str, listed: Sequence[Hook]) -> None:
    """Run the hooks one after the other, each a step. Raises Stopped at the first that fails."""
    for number, hook in enumerate(listed, 1):
        step = name if len(listed) == 1 else f"{name}.{number}"
        track.step(step, partial(_hook, track, hook, track.job(step)))


def _hook(track: Track, hook: Hook, job: str, io: StepIO) -> None:
    work = track.work(io)
    work.job = job
    outcome = track.tools.upkeep.hook(work, hook)
    io.detail = outcome.detail
    if not outcome.ok:
        raise HostFailed(outcome.detail)


def make(track: Track, change: Value, prefix: str = "") -> None:
    """Make the change and prove it. Raises Stopped."""
    plan = track.request.careful
    track.step(f"{prefix}apply.launch", lambda io: _launch(track, io, change, prefix))
    lost = track.step(f"{prefix}apply", lambda io: _collect(track, io, change, prefix))
    track.step(f"{prefix}verify", lambda io: _verify(track, io, change, lost))
    stale: list[str] = []
    if plan.restart == "affected":
        restarted = track.step(f"{prefix}restart", lambda io: _restart(track, io))
        stale = restarted["stale"]
    need = track.step(f"{prefix}reboot.need", lambda io: _reboot_need(track, io))
    reboots = plan.reboot == "always" or (plan.reboot == "when-needed" and need["needed"])
    if reboots:
        _reboot(track, prefix, need["boot_id"])
        stale = []
    elif need["needed"]:
        track.measures["reboot_pending"] = need["reasons"]
    elif need["needed"] is None:
        track.recorder.notes.append("whether a reboot is needed can't be known: " + "; ".join(need["reasons"]))
    if plan.restart == "none" and not reboots:
        stale = track.step(f"{prefix}stale", lambda io: _still_old(track, io))
    track.step(f"{prefix}health", lambda io: health(track, io))
    track.measures["stale"] = stale


def _launch(track: Track, io: StepIO, change: Value, prefix: str) -> None:
    work = track.work(io)
    name = track.job(f"{prefix}apply")
    job = track.operation.apply(work, change, name)
    track.patiently(io, lambda: track.shell.launch(job, work.fence))
    io.detail = name


def _collect(track: Track, io: StepIO, change: Value, prefix: str) -> bool:
    """Returns whether the job was lost, so that only the host itself can tell what it did."""
    state, output = follow(track, io, track.job(f"{prefix}apply"), change)
    if state.status is JobStatus.LOST:
        io.notes.append("the job was killed or the host went down in the middle; what it did was found by looking")
        return True
    outcome: Outcome = track.operation.outcome(change, state.exit, output)
    if not outcome.ok:
        raise HostFailed(outcome.detail)
    io.detail = outcome.detail
    io.notes += [f"kept its own {path}" for path in track.operation.kept(output)]
    return outcome.unknown


def follow(track: Track, io: StepIO, name: str, change: Value) -> tuple[JobState, bytes]:
    """Watch a detached job to its end, over breaks in contact. Raises ContactLost when they last too long."""
    tools, plan = track.tools, track.request.careful
    started = last_contact = tools.monotonic()
    output, offset, pause = bytearray(), 0, POLL_FIRST
    track.work(io)
    while True:
        try:
            state = track.shell.poll(name, offset)
        except ShellError:
            # Whatever the reason: the job may be at work all the same, and how it ends is not known from here.
            silent = tools.monotonic() - last_contact
            if silent > tools.patience:
                raise ContactLost(track.host.name, f"no contact for {silent:.0f} s while it works") from None
            io.progress(f"no contact for {silent:.0f} s")
            tools.sleep(POLL_LATER)
            continue
        last_contact = tools.monotonic()
        if state.output:
            io.output(state.output)
            output += state.output
            io.progress(track.operation.progress(bytes(output[-65536:]), change))
        offset = state.offset
        if state.status is JobStatus.ABSENT:
            raise HostFailed(f"the host knows nothing of job {name}")
        if state.status is not JobStatus.RUNNING:
            return state, bytes(output)
        if last_contact - started > plan.apply_timeout:
            raise ContactLost(track.host.name, f"still working after {plan.apply_timeout:.0f} s; it is left alone")
        if not state.output:
            tools.sleep(pause)
            pause = min(POLL_LATER, pause * 1.5)


def _verify(track: Track, io: StepIO, change: Value, lost: bool) -> None:
    work = track.work(io)
    if lost:
        io.detail = "; ".join(track.operation.prepare(work, wait=track.request.careful.lock_wait))
    wrong = track.patiently(io, lambda: track.operation.verify(work, change))
    if wrong:
        raise HostFailed("not as meant: " + "; ".join(wrong))
    io.detail = io.detail or f"{track.operation.changes(change)} as meant"


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


def _reboot(track: Track, prefix: str, old: str) -> None:
    plan, name = track.request.careful, track.job(f"{prefix}reboot")
    track.step(f"{prefix}reboot.launch", lambda io: track.tools.upkeep.reboot_start(track.work(io), name, old))
    facts = track.step(f"{prefix}reboot", lambda io: _reboot_wait(track, io, old, plan.reboot_timeout))
    track.measures["reboots"] = track.measures.get("reboots", 0) + 1
    track.measures["booted"] = facts["boot_id"]


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
