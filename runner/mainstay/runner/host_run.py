"""One host's work within a rollout, from admission to its part of the record: a workflow of its own, its steps strictly
in order."""

from __future__ import annotations

from mainstay.inventory.value import Json
from mainstay.runner import places
from mainstay.runner.engine.contract import Context, JsonValue, StepFailed
from mainstay.runner.operation import Forecast, not_taken_back
from mainstay.runner.phases.change import health, hooks, make
from mainstay.runner.phases.finish import into_service, release
from mainstay.runner.phases.goback import go_back, may_go_back
from mainstay.runner.phases.prepare import NotAdmitted, admit, admit_again, prepare
from mainstay.runner.record import HostPart
from mainstay.runner.request import RunRequest
from mainstay.runner.steps import Recorder, Stopped
from mainstay.runner.toolbox import Toolbox
from mainstay.runner.track import Track
from mainstay.runner.verdict import Verdict
from mainstay.runner.wire import get_json, put_json


def host_workflow(tools: Toolbox, context: Context, argument: JsonValue) -> JsonValue:
    """argument: {run, host, wave, total, cohort, forecast (artifact), tested (artifact or None), keep}.
    Returns {host, verdict, kind, cohort, change (artifact or None), part (artifact)}."""
    track = _track(tools, context, argument)
    try:
        part, kind = work_through(track, argument["total"])
    except StepFailed as error:
        # A fault of ours, not of the host: what it did until then is in the steps, how it stands is not known.
        verdict = Verdict.UNKNOWN if track.recorder.touched else Verdict.FAILED
        into_service(track, well=False)
        part, kind = track.part(verdict, f"internal error in {error.step}: {error.error_type}: {error}"), "failed"
    finally:
        track.close()
    try:
        return context.step("record", lambda: _record(track, part, kind))
    except StepFailed:
        # The run says so at its end; until then others of it must not wait for this host's place.
        context.step("give-back", lambda: tools.state.free_slots(track.request.id, track.host.name))
        raise


def work_through(track: Track, total: int) -> tuple[HostPart, str]:
    """The order of the phases. Returns the host's part and the kind of stop ("" where there was none)."""
    try:
        admit(track, total)
    except NotAdmitted as no:
        return track.part(no.verdict, no.reason), "not-admitted"
    try:
        something = prepare(track)
    except Stopped as stop:
        release(track)
        return track.part(stop.verdict, stop.reason), stop.kind
    if not something:
        release(track)
        _stays(track)
        return track.part(Verdict.SUCCEEDED, "nothing to do"), ""
    track.recorder.touched = True
    try:
        hooks(track, "before", track.request.careful.before)
        track.drained = True
    except Stopped as stop:
        track.drained = True
        return _after_failed_hook(track, stop), stop.kind
    return _change(track)


def _change(track: Track) -> tuple[HostPart, str]:
    change, kind = track.change, ""
    assert change is not None
    try:
        make(track, change)
        verdict, reason = Verdict.SUCCEEDED, f"{track.operation.changes(change)} changed, checked"
        if stale := track.measures.get("stale"):
            track.concerns.append(f"old code still runs in {', '.join(stale)}")
    except Stopped as stop:
        kind = stop.kind
        if stop.verdict is Verdict.UNKNOWN:
            into_service(track, well=False)
            return track.part(Verdict.UNKNOWN, f"{stop.step}: {stop.reason}"), kind
        why, against = f"{stop.step}: {stop.reason}", may_go_back(track)
        verdict, reason = (Verdict.FAILED, f"{why} ({against})") if against else go_back(track, why)
        if verdict is Verdict.UNKNOWN:
            into_service(track, well=False)
            return track.part(verdict, reason), kind
    undone = track.request.links.undoes
    if verdict is Verdict.SUCCEEDED and undone and not _stays(track):
        track.step("note", lambda io: track.tools.state.mark_undone(undone, track.host.name, track.request.id))
    into_service(track, well=verdict in (Verdict.SUCCEEDED, Verdict.ROLLED_BACK))
    release(track)
    return track.part(verdict, reason), kind


def _stays(track: Track) -> bool:
    """Whether a rollback leaves something here: not all is undone then, and whoever reads the record has to know."""
    assert track.change is not None
    stays = not_taken_back(track.operation.left_out(track.change)) if track.request.links.undoes else ""
    track.concerns += [stays] if stays else []
    return bool(stays)


def _after_failed_hook(track: Track, stop: Stopped) -> HostPart:
    """Nothing was changed, but the host may be out of service: it goes back in if it is well."""
    well = True
    try:
        track.step("health", lambda io: health(track, io))
    except Stopped:
        well = False
    into_service(track, well=well)
    release(track)
    return track.part(Verdict.UNKNOWN if stop.verdict is Verdict.UNKNOWN else Verdict.FAILED, f"before: {stop.reason}")


def _track(tools: Toolbox, context: Context, argument: JsonValue) -> Track:
    row = tools.state.run(argument["run"])
    assert row is not None, "a run's row is written before it starts"
    request = RunRequest.from_json(row.request)
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
    )


def _forecast(tools: Toolbox, artifact: str | None) -> Forecast:
    """Of this host, as the survey at the start of the run left it; an empty one where the host is only taken back."""
    found = get_json(tools.artifacts, artifact)["forecast"] if artifact else {"change": {}, "count": 0, "reversible": 0}
    return Forecast.from_json(found)


def _record(track: Track, part: HostPart, kind: str) -> Json:
    """Write the host's part once. Under rollback-all it waits: a host that is well now may still be taken back."""
    tools, run = track.tools, track.request.id
    tools.state.note_outcome(run, part.host, part.verdict)
    if track.request.on_failure != "rollback-all":
        tools.state.write_part(run, part)
    places.give_back(tools.state, track.request, track.host, part.verdict)
    tools.listener.host_finished(run, part)
    change = put_json(tools.artifacts, track.change.to_json()) if track.change is not None else None
    return {
        "host": part.host,
        "verdict": part.verdict.value,
        "kind": kind,
        "cohort": part.cohort,
        "change": change,
        "part": put_json(tools.artifacts, part.to_json()),
    }


def undo_workflow(tools: Toolbox, context: Context, argument: JsonValue) -> JsonValue:
    """Take one host back that was well, because the rollout as a whole is taken back (rollback-all).
    argument: host_workflow's, and `done`: what host_workflow returned. Writes the host's only part."""
    track = _track(tools, context, argument)
    done = HostPart.from_json(get_json(tools.artifacts, argument["done"]["part"]))
    try:
        part = _take_back(track, argument, done)
    except StepFailed as error:
        part = track.part(Verdict.UNKNOWN, f"internal error in {error.step}: {error.error_type}: {error}")
    finally:
        track.close()
    part = part.model_copy(update={"steps": (*done.steps, *part.steps), "before": done.before})
    return context.step("record", lambda: _record_undone(track, part))


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
    try:
        admit_again(track)
        track.held = track.step("undo.lock", lambda io: bool(track.work(io)))
        facts = track.step("undo.probe", lambda io: tools.upkeep.probe(track.shell).to_json())
    except Stopped as stop:
        return track.part(Verdict.FAILED, f"could not be put back: {stop.reason}")
    track.facts = track.facts.from_json(facts)
    track.recorder.touched = True
    try:
        hooks(track, "undo.before", track.request.careful.before)
        track.drained = True
    except Stopped as stop:
        release(track)
        return track.part(Verdict.FAILED, f"could not be put back: before: {stop.reason}")
    verdict, reason = go_back(track, "the rollout was stopped")
    if verdict is not Verdict.UNKNOWN:
        into_service(track, well=verdict is Verdict.ROLLED_BACK)
        release(track)
    return track.part(verdict, reason)


def _record_undone(track: Track, part: HostPart) -> Json:
    track.tools.state.note_outcome(track.request.id, part.host, part.verdict)
    track.tools.state.write_part(track.request.id, part)
    places.give_back(track.tools.state, track.request, track.host, part.verdict)
    track.tools.listener.host_finished(track.request.id, part)
    return {"host": part.host, "verdict": part.verdict.value}
