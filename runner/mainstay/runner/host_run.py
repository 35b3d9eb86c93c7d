"""One host's work within a rollout, from admission to its part of the record: a workflow of its own, its steps strictly
in order."""

from __future__ import annotations

from contextlib import suppress

from mainstay.inventory.value import Json
from mainstay.runner import places
from mainstay.runner.asking import may
from mainstay.runner.engine.contract import Context, JsonValue, StepFailed
from mainstay.runner.errand import Errand, attend_to
from mainstay.runner.operation import Forecast, not_taken_back
from mainstay.runner.phases.ahead import stage_alone
from mainstay.runner.phases.change import health, hooks, make
from mainstay.runner.phases.finish import into_service, release
from mainstay.runner.phases.goback import go_back, may_go_back
from mainstay.runner.phases.prepare import NotAdmitted, admit, admit_again, prepare
from mainstay.runner.phases.reconcile import look
from mainstay.runner.record import STAGE, HostPart
from mainstay.runner.shell.contract import JobStatus
from mainstay.runner.steps import Recorder, Stopped
from mainstay.runner.toolbox import Toolbox
from mainstay.runner.track import Track, take_up
from mainstay.runner.verdict import Verdict
from mainstay.runner.wire import get_json, put_json


def host_workflow(tools: Toolbox, context: Context, argument: JsonValue) -> JsonValue:
    """argument: {run, host, wave, total, cohort, forecast (artifact), tested (artifact or None), keep}.
    Returns {host, verdict, kind, cohort, change (artifact or None), part (artifact)}."""
    track = _track(tools, context, argument)
    operation, total = track.operation, argument["total"]
    try:
        part, kind = attend_to(track, operation, total) if isinstance(operation, Errand) else work_through(track, total)
    except StepFailed as error:
        part, kind = broken_off(track, error), "failed"
    finally:
        track.close()
    return _recorded(track, part, kind, final=track.request.on_failure != "rollback-all")


def broken_off(track: Track, error: StepFailed) -> HostPart:
    """A fault of ours, not of the host: what it did until then is in the steps, how it stands is not known. Where it was
    touched, it is gone on with from there as one that contact was lost to; otherwise it is given back."""
    reason = f"internal error in {error.step}: {error.error_type}: {error}"
    if track.recorder.touched:
        track.lose(error.step, track.tools.clock.now(), reason)
        into_service(track, well=False)
        return track.part(Verdict.UNKNOWN, reason)
    with suppress(StepFailed):
        release(track)
    return track.part(Verdict.FAILED, reason)


def work_through(track: Track, total: int) -> tuple[HostPart, str]:
    """The order of the phases. Returns the host's part and the kind of stop ("" where there was none)."""
    try:
        admit(track, total)
    except NotAdmitted as refusal:
        return track.part(refusal.verdict, refusal.reason), "not-admitted"
    if track.request.kind == STAGE:
        return stage_alone(track)
    try:
        something = prepare(track)
    except Stopped as stop:
        release(track)
        return track.part(stop.verdict, stop.reason), stop.kind
    if not something:
        release(track)
        _stays(track)
        return track.part(Verdict.SUCCEEDED, "nothing to do"), ""
    hooked = bool(track.request.careful.before)
    if no := may(track, "permit", "before" if hooked else "apply"):
        release(track)
        return track.part(Verdict.REFUSED, no), "refused"
    track.recorder.touched, track.phase, track.drained = True, "before", True
    try:
        hooks(track, "before", track.request.careful.before)
    except Stopped as stop:
        return after_hook(track, f"before: {stop.reason}"), stop.kind
    if hooked and (no := may(track, "apply.permit", "apply")):
        return after_hook(track, no, Verdict.REFUSED), "refused"
    return change_host(track)


def change_host(track: Track, start: str = "") -> tuple[HostPart, str]:
    """From the change to the end. start: the step to go on with, where contact was lost in it."""
    change, kind = track.change, ""
    assert change is not None
    track.phase = "change"
    try:
        make(track, change, start=start)
        verdict, reason = Verdict.SUCCEEDED, track.operation.done(change, track.found)
        if track.stopped:
            verdict, reason = Verdict.CANCELLED, f"{track.stopped}; {reason}"
        if stale := track.measures.get("stale"):
            track.concerns.append(f"old code still runs in {', '.join(stale)}")
    except Stopped as stop:
        kind = stop.kind
        if stop.verdict is Verdict.UNKNOWN:
            into_service(track, well=False)
            return track.part(Verdict.UNKNOWN, f"{stop.step}: {stop.reason}"), kind
        if stop.verdict is Verdict.CANCELLED:
            return conclude(track, stop.verdict, stop.reason), kind
        why, against = f"{stop.step}: {stop.reason}", may_go_back(track)
        why += f"; {track.stopped}" if track.stopped else ""
        if not track.operation.software:
            verdict, reason = Verdict.FAILED, why
        else:
            verdict, reason = (Verdict.FAILED, f"{why} ({against})") if against else go_back(track, why)
    return conclude(track, verdict, reason), kind


def conclude(track: Track, verdict: Verdict, reason: str, start: str = "") -> HostPart:
    """The end of a host whose change has gone one way or the other: noted, back into service, given back.
    start: the step to go on with, where contact was lost in it."""
    if verdict is Verdict.UNKNOWN:
        into_service(track, well=False)
        return track.part(verdict, reason)
    track.phase, track.ended = "finish", (verdict, reason)
    undone = track.request.links.undoes
    if verdict is Verdict.SUCCEEDED and undone and start in ("", "note") and not _stays(track):
        track.step("note", lambda io: track.tools.state.mark_undone(undone, track.host.name, track.request.id))
    # What leaves the software as it is leaves the host as well as it was, whatever became of it: what `before` has stopped
    # is not to stay so because a backup failed.
    well = verdict in (Verdict.SUCCEEDED, Verdict.ROLLED_BACK) or not track.operation.software
    into_service(track, well=well, start=start)
    release(track)
    return track.part(verdict, reason)


def _stays(track: Track) -> bool:
    """Whether a rollback leaves something here: not all is undone then, and whoever reads the record has to know."""
    assert track.change is not None
    stays = not_taken_back(track.operation.left_out(track.change)) if track.request.links.undoes else ""
    track.concerns += [stays] if stays else []
    return bool(stays)


def after_hook(track: Track, reason: str, verdict: Verdict = Verdict.FAILED) -> HostPart:
    """Nothing was changed after it, but the host may be out of service: it goes back in if it is well. One that is not, or
    can't be put back, has failed."""
    if track.lost:
        return conclude(track, Verdict.UNKNOWN, reason)
    well, track.why = True, reason
    try:
        track.step("health", lambda io: health(track, io))
    except Stopped as stop:
        if track.lost:
            return conclude(track, Verdict.UNKNOWN, f"{reason}; then health: {stop.reason}")
        well = False
    verdict = verdict if well else Verdict.FAILED
    track.phase, track.ended = "finish", (verdict, reason)
    into_service(track, well=well)
    verdict = Verdict.FAILED if track.measures.get("drained") else verdict
    release(track)
    return track.part(verdict, f"put back into service unchanged: {reason}" if verdict is Verdict.REFUSED else reason)


def _track(tools: Toolbox, context: Context, argument: JsonValue) -> Track:
    request = tools.request(argument["run"])
    host = request.host(argument["host"])
    return Track(
        tools=tools,
        request=request,
        operation=tools.operation(request),
        host=host,
        recorder=Recorder(context, request.id, host.name, tools.artifacts, tools.clock, tools.listener),
        wave=argument["wave"],
        cohort=argument["cohort"],
        forecast=_forecast(tools, argument["forecast"]),
        tested=get_json(tools.artifacts, argument["tested"]) if argument["tested"] else None,
        keep=argument["keep"],
        total=argument["total"],
    )


def _forecast(tools: Toolbox, artifact: str | None) -> Forecast:
    """Of this host, as the survey at the start of the run left it; an empty one where the host is only taken back."""
    found = get_json(tools.artifacts, artifact)["forecast"] if artifact else {"change": {}, "count": 0, "reversible": 0}
    return Forecast.from_json(found)


def _recorded(track: Track, part: HostPart, kind: str, *, final: bool) -> JsonValue:
    """_record's checkpoint. Where that goes wrong the run says so at its end; until then others must not wait for this
    host's place."""
    context, state = track.recorder.context, track.tools.state
    try:
        return context.step("record", lambda: _record(track, part, kind, final=final))
    except StepFailed:
        context.step("give-back", lambda: state.free_slots(track.request.id, track.host.name))
        raise


def _record(track: Track, part: HostPart, kind: str, *, final: bool) -> Json:
    """Write the host's part once. Under rollback-all it waits: a host that is well now may still be taken back. That of a
    host that was lost waits too, until it is reconciled or the run ends."""
    tools, run = track.tools, track.request.id
    if track.carried is not None:
        # Also one that was proved well, and lost as it was put back into service: it keeps its place, and nobody is to
        # wait for that.
        part = part.model_copy(update={"verdict": Verdict.UNKNOWN})
    tools.state.note_outcome(run, part.host, part.verdict)
    if track.carried is None:
        if final:
            tools.state.write_part(run, part)
        places.give_back(tools.state, track.request, track.host, part.verdict)
        tools.listener.host_finished(run, part)
    change = put_json(tools.artifacts, track.change.to_json()) if track.change is not None else None
    lost = put_json(tools.artifacts, track.carried) if track.carried is not None else None
    if lost is not None:
        # Should it end as unknown, another run can go on from there.
        part = part.model_copy(update={"measures": {**part.measures, "lost": lost}})
    return {
        "host": part.host,
        "verdict": part.verdict.value,
        "kind": kind,
        "cohort": part.cohort,
        "change": change,
        "part": put_json(tools.artifacts, part.to_json()),
        "lost": lost,
    }


def reconcile_workflow(tools: Toolbox, context: Context, argument: JsonValue) -> JsonValue:
    """Go on with one host where it was lost, now that it answers. argument: host_workflow's, and `done`: what the workflow
    that lost it returned. Returns what host_workflow does, with all steps of the host in its part."""
    track = _track(tools, context, argument)
    before = HostPart.from_json(get_json(tools.artifacts, argument["done"]["part"]))
    lost = get_json(tools.artifacts, argument["done"]["lost"])
    try:
        part, kind = _go_on(track, lost, argument["done"]["lost"])
    except StepFailed as error:
        # Once is enough: asked again, it would go wrong again.
        track.carried = None
        part, kind = (
            track.part(Verdict.UNKNOWN, f"internal error in {error.step}: {error.error_type}: {error}"),
            "failed",
        )
    finally:
        track.close()
    part = part.model_copy(update={"steps": (*before.steps, *part.steps)})
    return _recorded(track, part, kind, final=track.request.on_failure != "rollback-all")


def _go_on(track: Track, lost: Json, kept: str) -> tuple[HostPart, str]:
    """Look at the host, and bring its work to an end from the step in which it was lost. kept: the artifact with `lost`."""
    take_up(track, lost)
    step = lost["step"]
    try:
        found = look(track, lost)
    except Stopped as stop:
        # Where its work was broken off is the same as before.
        if track.carried is not None:
            track.carried = lost
        else:  # Refused: this run does not ask it again, another one may.
            track.measures["lost"] = kept
        return track.part(Verdict.UNKNOWN, f"{step}: contact lost; then: {stop.reason}"), stop.kind
    if track.phase == "look":
        return _only_looked(track, lost, found["job"])
    if track.phase == "undo":
        return take_back(track), "failed"
    if track.phase == "prepare":
        release(track)
        return track.part(Verdict.REFUSED, f"contact was lost in {step}; nothing had been changed"), "unreachable"
    if track.phase == "finish":
        assert track.ended is not None, "a host ends with a verdict"
        return conclude(track, *track.ended, start=step), ""
    if track.phase == "before" or (step == "apply.launch" and found["job"] == JobStatus.ABSENT):
        why = track.why or f"contact was lost in {step}; nothing had been changed"
        return after_hook(track, why), "failed"
    if found["job"] not in (None, JobStatus.ABSENT):
        step = step.removesuffix(".launch")
    if track.phase == "back":
        return conclude(track, *go_back(track, track.why, step)), "failed"
    return change_host(track, step)


def _only_looked(track: Track, lost: Json, job: str | None) -> tuple[HostPart, str]:
    """Where it is not known what the run was to do: that nothing of it is at work, and that the host is well."""
    if job == JobStatus.RUNNING:
        track.carried = lost
        return track.part(Verdict.UNKNOWN, "what the run began there is still at work"), "contact-lost"
    try:
        track.step("health", lambda io: health(track, io))
    except Stopped as stop:
        if track.carried is not None:
            track.carried = lost
            return track.part(Verdict.UNKNOWN, f"health: {stop.reason}"), stop.kind
        return conclude(track, Verdict.FAILED, f"health: {stop.reason}"), stop.kind
    reason = f"well, and nothing of run {track.of} is at work; what that run was to change there is not known any more"
    return conclude(track, Verdict.DEGRADED, reason), ""


def undo_workflow(tools: Toolbox, context: Context, argument: JsonValue) -> JsonValue:
    """Take one host back that was well, because the rollout as a whole is taken back (rollback-all).
    argument: host_workflow's, and `done`: what host_workflow returned. Writes the host's only part."""
    track = _track(tools, context, argument)
    done = HostPart.from_json(get_json(tools.artifacts, argument["done"]["part"]))
    try:
        part = _take_back(track, argument, done)
    except StepFailed as error:
        part = broken_off(track, error)
    finally:
        track.close()
    part = part.model_copy(update={"steps": (*done.steps, *part.steps), "before": done.before})
    return _recorded(track, part, "", final=True)


def _take_back(track: Track, argument: JsonValue, done: HostPart) -> HostPart:
    tools, operation = track.tools, track.operation
    # Noted as undone by this very run: before a restart of ours, that now goes the same way again.
    ours = (None, track.request.id)
    rows = [row for row in tools.state.undos(run=track.request.id, host=track.host.name) if row.undone_by in ours]
    if not rows:
        return track.part(Verdict.FAILED, "nothing to go back to was captured")
    track.change = operation.read_change(get_json(tools.artifacts, argument["done"]["change"]))
    track.undo = operation.read_undo(rows[-1].undo)
    track.before, track.after = done.before, done.after
    against = may_go_back(track)
    if against:
        return track.part(done.verdict, f"{done.reason}; left as it is: {against}")
    admit_again(track)
    return take_back(track)


def take_back(track: Track) -> HostPart:
    """A host that was well goes back: locked, drained, changed, proved, given back."""
    track.phase, track.taken_back = "undo", True
    try:
        track.held = track.recorder.sent = track.step("undo.lock", lambda io: bool(track.work(io)))
        facts = track.patient_step("undo.probe", lambda io: track.tools.upkeep.probe(track.shell).to_json())
    except Stopped as stop:
        release(track)
        return track.part(Verdict.FAILED, f"could not be put back: {stop.reason}")
    track.facts = track.facts.from_json(facts)
    track.boot = track.facts.boot_id
    track.recorder.touched = track.drained = True
    try:
        hooks(track, "undo.before", track.request.careful.before)
    except Stopped as stop:
        return after_hook(track, f"could not be put back: before: {stop.reason}")
    return conclude(track, *go_back(track, "the rollout was stopped"))
