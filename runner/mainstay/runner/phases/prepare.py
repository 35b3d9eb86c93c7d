"""Before anything is changed: may this host start, is it fit, what exactly would change, and can that be undone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from mainstay.inventory.errors import Refused
from mainstay.inventory.facts import Facts
from mainstay.inventory.value import Json
from mainstay.runner import asking, places
from mainstay.runner.asking import LATE, SOON
from mainstay.runner.budget import FAILURES, stop_reason
from mainstay.runner.ports import Permission
from mainstay.runner.record import STAGE
from mainstay.runner.state.contract import UndoRow
from mainstay.runner.steps import StepIO, rfc3339
from mainstay.runner.track import Track
from mainstay.runner.verdict import Verdict


def admit(track: Track, total: int) -> None:
    """Ask what only the present can answer: was the run stopped or paused, is the budget used up, is the jump host
    well, do the gates allow it, is there a place. Raises NotAdmitted with `cancelled` or `refused`."""
    answer = track.step("admit", lambda io: _patiently(track, io, lambda: _admission(track, total, io)))
    if answer["stop"]:
        raise NotAdmitted(Verdict(answer["verdict"]), answer["stop"])
    track.ends = answer.get("ends") or ""
    if runs := answer.get("relies_on"):
        track.measures["relies_on"] = runs
    track.tools.hands.hold(track.recorder.context.id)


def admit_again(track: Track) -> None:
    """Before a host is taken back at the end of its run: it is in flight once more. It goes on where no place will ever
    become free, because leaving it as it is would be worse."""
    if not track.request.timing and len(places.scopes(track.request, track.host)) == 1:
        # Nothing but itself to wait for: as it always was, so that a run from before goes on step by step.
        track.tools.hands.hold(track.recorder.context.id)
        return

    def ask() -> Json | str:
        waits = _place(track)
        return {"stop": ""} if waits is None or waits[1] else waits[0]

    track.step("undo.admit", lambda io: _patiently(track, io, ask))
    track.tools.hands.hold(track.recorder.context.id)


def _patiently(track: Track, io: StepIO, ask: Callable[[], Json | str]) -> Json:
    """Until there is an answer; a text says what is waited for. Told once: every word is a write to the state."""
    told, pause = "", SOON
    while isinstance(answer := ask(), str):
        if answer != told:
            io.progress(answer)
            told = answer
        track.tools.doze(pause)
        pause = min(LATE, pause * 1.5)
    return answer


class NotAdmitted(Exception):
    """This host does not start; nothing was sent to it."""

    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason


def _admission(track: Track, total: int, io: StepIO) -> Json | str:
    state, run = track.tools.state, track.request.id
    row = state.standing(run)
    assert row is not None, "a run's row is written before it starts"
    if row.wish == "cancel":
        io.verdict = Verdict.CANCELLED
        io.detail = f"not started: cancelled by {row.wish_by}"
        return {"stop": io.detail, "verdict": Verdict.CANCELLED}
    outcomes = state.outcomes(run, FAILURES)  # of all would be as many as hosts have ended, for each host once more
    stop = stop_reason(track.request.careful, outcomes, total=total, wave=track.wave, wave_over=False, unreachable=0)
    if stop:
        io.verdict, io.detail = Verdict.CANCELLED, f"not started: {stop}"
        return {"stop": io.detail, "verdict": Verdict.CANCELLED}
    jump = track.host.ssh.jump
    if jump and outcomes.get(jump) in (Verdict.FAILED, Verdict.UNKNOWN):
        io.verdict, io.detail = Verdict.REFUSED, f"its jump host {jump} is {outcomes[jump]}"
        return {"stop": io.detail, "verdict": Verdict.REFUSED}
    if row.wish == "pause":
        return f"paused by {row.wish_by}"
    permission = track.tools.gate(track.request).permit(run, track.host.name, "host", None)
    if permission.answer == "wait":
        return asking.in_words(permission)
    if permission.answer == "refuse":
        io.verdict, io.detail = Verdict(permission.verdict), asking.refused(permission)
        return {"stop": io.detail, "verdict": io.verdict}
    why = track.tools.able(track.request, track.host)
    if why:
        io.verdict, io.detail = Verdict.REFUSED, why
        return {"stop": why, "verdict": Verdict.REFUSED}
    return _in_place(track, io, permission)


def _in_place(track: Track, io: StepIO, permission: Permission) -> Json | str:
    waits = _place(track)
    if waits is None:
        return {"stop": "", "ends": permission.until or "", "relies_on": list(permission.relies_on)}
    why, refused = waits
    if refused:
        io.verdict, io.detail = Verdict.REFUSED, why
        return {"stop": why, "verdict": Verdict.REFUSED}
    return why


def _place(track: Track) -> tuple[str, bool] | None:
    """Take the host's places. None: they are its own. Otherwise why not, and whether that is for good."""
    state, run, wanted = track.tools.state, track.request.id, places.scopes(track.request, track.host)
    if not track.tools.hands.take(track.recorder.context.id):
        return "waiting for a free thread of this worker", False
    # Where it is only the host's own it is mostly free. Otherwise looked at before it is taken: whoever waits reads, and
    # does not write.
    if len(wanted) == 1 and state.take_slots(run, track.host.name, wanted):
        return None
    held = state.slots()
    scopes = places.full(held, wanted, (run, track.host.name))
    if not scopes and state.take_slots(run, track.host.name, wanted):
        return None
    # Whoever waits for others keeps no thread from those that could go on.
    track.tools.hands.give_back(track.recorder.context.id)
    if not scopes:
        return "waiting for a place", False
    for scope in scopes:
        if why := places.never(state, held, scope, run):
            return why, True
    return places.waiting_for(held, scopes[0], run), False


def prepare(track: Track) -> bool:
    """Lock, probe, preflight, resolve, stage, capture. False: there is nothing to do here. Raises Stopped."""
    plan, operation = track.request.careful, track.operation
    track.held = track.recorder.sent = track.step("lock", lambda io: _lock(track, io))
    track.facts = Facts.from_json(track.patient_step("probe", lambda io: _probe(track, io)))
    track.boot = track.facts.boot_id
    track.log_mark = track.patient_step("preflight", lambda io: _preflight(track, io))
    if plan.other_updaters == "fence" and operation.software:
        # Until it is known to have gone well it may be there, and is to be taken away.
        track.updaters_fenced = True
        track.updaters_fenced = track.patient_step("fence-updaters", lambda io: _fence_updaters(track, io))
    resolved = track.patient_step("resolve", lambda io: _resolve(track, io))
    track.change = operation.read_change(resolved["change"])
    if not operation.changes(track.change):
        track.before = track.after = resolved["before"]
        return False
    track.change = operation.read_change(track.patient_step("stage", lambda io: _stage(track, io)))
    if not operation.software or track.request.kind == STAGE:
        return True
    captured = track.patient_step("capture", lambda io: _capture(track, io))
    track.undo = operation.read_undo(captured["undo"])
    track.before = captured["before"]
    return True


def _lock(track: Track, io: StepIO) -> bool:
    work = track.work(io)
    io.detail = f"fence {work.fence.number}"
    return True


def _probe(track: Track, io: StepIO) -> Json:
    track.work(io)
    facts = track.tools.upkeep.probe(track.shell)
    io.detail = f"{facts.cohort}, kernel {facts.kernel}"
    return facts.to_json()


def _preflight(track: Track, io: StepIO) -> str:
    upkeep, plan, work = track.tools.upkeep, track.request.careful, track.work(io)
    judgement = upkeep.judge(track.facts, plan, packages=track.operation.software)
    if judgement.refusals:
        raise Refused("; ".join(judgement.refusals))
    if track.request.careful.health:
        well = upkeep.well(work, plan.health)
        if not well.ok and not track.request.links.undoes:
            raise Refused(f"not well before the change: {well.detail}")
        # That a host is not well is why it is taken back; how it is afterwards decides.
        io.notes += [] if well.ok else [f"not well before it went back: {well.detail}"]
    repaired = track.operation.prepare(work, wait=plan.lock_wait)
    io.detail = "; ".join(repaired) or "fit"
    io.notes += [*judgement.notes, *repaired]
    return track.operation.log_mark(track.shell)


def _fence_updaters(track: Track, io: StepIO) -> bool:
    plan = track.request.careful
    # Longer than the host can take at the worst: the fence ends by itself if nobody is left to take it away.
    longest = plan.apply_timeout + plan.reboot_timeout + plan.overrun + plan.lock_wait
    units = track.tools.upkeep.fence_updaters(track.work(io), longest, plan.lock_wait)
    io.detail = ", ".join(units) or "none found"
    return bool(units)


def _resolve(track: Track, io: StepIO) -> Json:
    operation, work = track.operation, track.work(io)
    change = operation.resolve(work, track.forecast, track.tested)
    mark = operation.fingerprint(change)
    blocked = track.tools.state.blocked(track.host.name, mark) if mark else None
    if blocked and operation.changes(change) and not track.request.retry:
        raise Refused(f"run {blocked} was rolled back with just this change here", hint="--retry tries it again")
    count = operation.changes(change)
    io.detail = f"{count} to {'change' if operation.software else 'do'}" if count else "nothing to do"
    before = {} if count else _record_state(track, operation.snapshot(work, change))
    return {"change": change.to_json(), "before": before}


def _stage(track: Track, io: StepIO) -> Json:
    change = track.operation.stage(track.work(io), track.change, keep=track.keep)
    result: Json = change.to_json()
    return result


def _capture(track: Track, io: StepIO) -> Json:
    operation, work, tools = track.operation, track.work(io), track.tools
    undo = operation.capture(work, track.change)
    able, of = operation.readiness(undo)
    io.detail = f"{able} of {of} can go back"
    now = tools.clock.now()
    tools.state.add_undo(
        UndoRow(
            run=track.request.id,
            host=track.host.name,
            operation=operation.kind,
            undo=undo.to_json(),
            made_at=rfc3339(now),
            keep_until=rfc3339(now + timedelta(seconds=track.request.undo_for)),
        )
    )
    before = _record_state(track, operation.snapshot(work, track.change))
    return {"undo": undo.to_json(), "before": before}


def _record_state(track: Track, snapshot: Json) -> Json:
    return {**snapshot, "boot_id": track.facts.boot_id, "kernel": track.facts.kernel, "stale": []}
