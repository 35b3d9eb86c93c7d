"""Rollout: the hosts of a run, wave after wave, until all are done or one failure too many has been seen.

It owns lock, gates, hooks, restart, reboot, health, waves and budget; what is done on a host is the operation's. A patch
and a rollback are both rollouts. This is the parent workflow: it decides in checkpointed steps and enqueues one child
workflow per host (`host_run`), in a fixed order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.value import Json
from mainstay.runner import asking
from mainstay.runner.budget import room, stop_reason
from mainstay.runner.engine.contract import Context, JsonValue, StepFailed, Unkept, WorkflowFailed
from mainstay.runner.forecasting import HostForecast, forecast, survey_part, workable
from mainstay.runner.housekeeping import tidy
from mainstay.runner.operation import not_taken_back
from mainstay.runner.places import spread_over, width
from mainstay.runner.reconciling import Lost, came_back, taken_up
from mainstay.runner.request import RunRequest
from mainstay.runner.sealing import seal, write_first
from mainstay.runner.steps import rfc3339
from mainstay.runner.toolbox import Toolbox
from mainstay.runner.verdict import Verdict
from mainstay.runner.waves import Candidate, PlannedWave, arrange, behind
from mainstay.runner.wire import get_json, put_json

HOST_WORKFLOW, UNDO_WORKFLOW, ROLLOUT_WORKFLOW = "host", "undo", "rollout"


@dataclass(slots=True)
class Rollout:
    """What the parent knows; everything in it comes from checkpoints."""

    tools: Toolbox
    context: Context
    request: RunRequest
    total: int = 0
    results: dict[str, Json] = field(default_factory=dict)
    """host → what its child workflow returned."""
    tested: dict[str, str] = field(default_factory=dict)
    """cohort → artifact with its tested set."""
    away: int = 0
    """Hosts that could not be reached in the survey."""
    arguments: dict[str, Json] = field(default_factory=dict)
    """host → what its child workflow was started with."""
    taken_back: set[str] = field(default_factory=set)
    all_begun: bool = False
    """It was stopped by a gate with no host to come."""
    failed: bool = False
    """A gate has stopped the rollout for how its hosts ended; a cancel alone is no failure."""

    def go(self) -> str:
        """Returns why it stopped early; empty where it went to its end."""
        run, tools = self.request.id, self.tools
        permission = self.context.step("permit", self._permit)
        if permission["refused"]:
            if permission.get("verdict") != Verdict.CANCELLED:
                self._refuse_all(permission["refused"], Verdict(permission.get("verdict") or Verdict.REFUSED))
            return str(permission["refused"])
        survey = self.context.step("survey", self._survey)
        forecasts = {
            host.name: HostForecast.from_json(host, get_json(tools.artifacts, survey["hosts"][host.name]))
            for host in self.request.hosts
        }
        self.away = sum(one.unreachable for one in forecasts.values())
        waves = self._plan_waves(forecasts, survey.get("last", []))
        self.total = sum(len(wave.hosts) for wave in waves)
        reason = self.context.step("settle", lambda: self._settle(forecasts))["refused"]
        if reason:
            return str(reason)
        candidates = {one.host.name: one for one in workable(forecasts)}
        forecasts.clear()  # of ten thousand hosts that is a tenth of a gigabyte
        tools.state.set_waves(run, [wave.hosts for wave in waves])
        tools.listener.run_started(run, self.request.plan, [list(wave.hosts) for wave in waves])
        for wave in waves:
            stop = self._may_begin(wave)
            if stop:
                return stop
            stop = self._wave(wave, candidates, survey["hosts"])
            if stop:
                self.all_begun = wave is waves[-1] and not self._stopped_within(wave)
                return stop
            if wave is not waves[-1] and self.request.careful.soak:
                self._soak(wave)
        return ""

    def _soak(self, wave: PlannedWave) -> None:
        """Wait between waves. A step and not the engine's sleep, so that a run that is cancelled meanwhile ends at once;
        the moment it lasts until is checkpointed, and is the same after a restart."""
        until = self.context.now() + timedelta(seconds=self.request.careful.soak)
        self.context.step(f"wave-{wave.number}.soak", lambda: asking.wait(self.tools, self.request.id, until))

    def _permit(self) -> Json:
        ours, theirs = self.tools.site_name, self.request.site_name
        if ours and theirs and ours != theirs:
            return {"refused": f"this worker works from the site {ours}, and the run is of {theirs}"}
        return asking.permitted(self.tools, self.request, "run")

    def _may_begin(self, wave: PlannedWave) -> str:
        """Why this wave does not begin, and none after it; empty where it does. A run that is bound to nothing is not asked
        about."""
        if not self.request.timing:
            return ""
        step = "soaked" if wave.number > 1 and self.request.careful.soak else "wave"
        answer = self.context.step(
            f"wave-{wave.number}.permit", lambda: asking.permitted(self.tools, self.request, step)
        )
        if answer["refused"] and answer["verdict"] != Verdict.CANCELLED:
            self._refuse_all(answer["refused"], Verdict(answer["verdict"]), each=True)
        return str(answer["refused"])

    def _survey(self) -> Json:
        tools, request = self.tools, self.request
        found = forecast(
            request.hosts,
            request.careful,
            tools.operation(request),
            tools.shells,
            tools.upkeep,
            tools.state,
            tools.clock,
            parallel=max(request.careful.parallel, 20),
            retry=request.retry,
            told=lambda one: tools.listener.step_progress(request.id, one.host.name, "survey", one.refused or "asked"),
        )
        hosts = {name: put_json(tools.artifacts, one.to_json()) for name, one in found.items()}
        return {"hosts": hosts, "last": asking.put_off(tools, request)}

    def _plan_waves(self, forecasts: Mapping[str, HostForecast], last: list[str]) -> list[PlannedWave]:
        request = self.request
        candidates, specs = workable(forecasts), request.careful.waves
        first = behind(request.hosts, request.first, last)
        return arrange(candidates, specs, self.tools.matches, request.hosts, spread_over(request), first)

    def _settle(self, forecasts: Mapping[str, HostForecast]) -> Json:
        """Write the parts of the hosts that need no work or can't have it, unless too many are away to begin at all."""
        away = self.away
        tolerated = self.request.careful.unreachable.of(len(forecasts))
        reason = f"{away} of {len(forecasts)} hosts unreachable, {tolerated} tolerated" if away > tolerated else ""
        now = rfc3339(self.tools.clock.now())
        written = {part.host for part in self.tools.state.parts(self.request.id)}
        software = self.tools.operation(self.request).software
        for name, one in sorted(forecasts.items()):
            if name in written:
                continue
            if one.refused:
                part = survey_part(one, Verdict.REFUSED, one.refused, now)
            elif reason:
                part = survey_part(one, Verdict.REFUSED, f"not started: {reason}", now)
            elif one.forecast is not None and not one.forecast.count:
                stays = not_taken_back(one.forecast.left_out) if self.request.links.undoes else ""
                # What is wrong is said also where nothing is done, and nothing is repaired.
                sick = one.facts.dpkg_broken if software and one.facts and one.facts.dpkg_broken else ()
                stays = stays or (f"nothing to do, but the package manager is not well: {sick[0]}" if sick else "")
                part = survey_part(one, Verdict.DEGRADED if stays else Verdict.SUCCEEDED, stays or "nothing to do", now)
            else:
                continue
            self.tools.state.note_outcome(self.request.id, name, part.verdict)
            write_first(self.tools.state, self.request.id, part)
            self.tools.listener.host_finished(self.request.id, part)
        return {"refused": reason}

    def _refuse_all(self, reason: str, verdict: Verdict = Verdict.REFUSED, *, each: bool = False) -> None:
        """Refuse every host whose turn has not come. each: the gate is asked why, host by host."""
        tools, request = self.tools, self.request

        def write() -> None:
            now = rfc3339(tools.clock.now())
            written = {part.host for part in tools.state.parts(request.id)}
            for host in request.hosts:
                if host.name not in written and host.name not in self.results:
                    why = asking.of_host(tools, request, host.name) if each else ""
                    write_first(tools.state, request.id, survey_part(HostForecast(host), verdict, why or reason, now))

        self.context.step("refuse", write)

    def _wave(self, wave: PlannedWave, candidates: Mapping[str, Candidate], surveyed: Mapping[str, str]) -> str:
        """Work through one wave. Returns why nothing may follow it; empty where it may."""
        tools, run = self.tools, self.request.id
        tools.state.set_run(run, state="running", wave=wave.number)
        tools.listener.wave_started(run, wave.number, list(wave.hosts))
        for batch in wave.batches:
            queue = list(batch)
            while queue:
                room = self._room()
                # Under a strict budget the room shrinks with each failure: no more than fit are handed out at once.
                now = queue if not self.request.careful.strict_budget else queue[:room]
                queue = queue[len(now) :]
                self._hand_out(now, wave, candidates, surveyed, width(self.request, now, room))
        self.lost.ask_again(f"wave-{wave.number}")
        unproved = self._unproved(wave, candidates)
        decision = self.context.step(f"wave-{wave.number}.gate", lambda: self._gate(wave, unproved))
        self.failed = decision["failed"]
        stop = str(decision["stop"])
        if not stop and self.request.careful.prove_first:
            self._freeze(wave)
        elif stop and stop == unproved:
            self._refuse_all(unproved)
        return stop

    def _room(self) -> int:
        outcomes = {name: Verdict(result["verdict"]) for name, result in self.results.items()}
        return room(self.request.careful, outcomes, total=self.total)

    def _hand_out(
        self,
        hosts: list[str],
        wave: PlannedWave,
        candidates: Mapping[str, Candidate],
        surveyed: Mapping[str, str],
        parallel: int,
    ) -> None:
        run = self.request.id
        handles = []
        for name in hosts:
            cohort = candidates[name].cohort
            argument = {
                "run": run,
                "host": name,
                "wave": wave.number,
                "total": self.total,
                "cohort": cohort,
                "forecast": surveyed[name],
                "tested": self.tested.get(cohort),
                "keep": cohort not in self.tested,
            }
            self.arguments[name] = argument
            handles.append(self.context.enqueue(HOST_WORKFLOW, f"{run}/{name}", argument, queue=run, parallel=parallel))
        fault: WorkflowFailed | None = None
        for name, handle in zip(hosts, handles, strict=True):
            try:
                self.results[name] = handle.result()
            except WorkflowFailed as error:
                # The record is not sealed while others are still at work.
                fault = fault or error
        if fault is not None:
            raise fault

    def _unproved(self, wave: PlannedWave, candidates: Mapping[str, Candidate]) -> str:
        """Why the first wave has proved nothing to a cohort that has more hosts to come: all that it had there were refused.
        Going back to what was there before needs no such proof. Pure, from the children's results."""
        if wave.number != 1 or self.request.links.undoes or not self.request.careful.prove_first:
            return ""
        to_come = {one.cohort for name, one in candidates.items() if name not in self.results}
        first: dict[str, list[str]] = {}
        for name in wave.hosts:
            first.setdefault(candidates[name].cohort, []).append(name)
        for cohort, names in sorted(first.items()):
            if cohort in to_come and all(self.results[name]["verdict"] == Verdict.REFUSED for name in names):
                who = f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} to be the first of {cohort}"
                return f"stopped in wave 1: {who}, and {'was' if len(names) == 1 else 'were'} refused"
        return ""

    def _gate(self, wave: PlannedWave, unproved: str) -> Json:
        """What must hold before the next wave."""
        row = self.tools.state.standing(self.request.id)
        away = self.away + sum(result["kind"] == "unreachable" for result in self.results.values())
        outcomes = {name: Verdict(result["verdict"]) for name, result in self.results.items()}
        stop = stop_reason(
            self.request.careful,
            outcomes,
            total=self.total,
            wave=wave.number,
            wave_over=True,
            unreachable=away,
            asked=len(self.request.hosts),
        )
        failed, stop = bool(stop), stop or unproved or self._stopped_within(wave)
        if row is not None and row.wish == "cancel":
            stop = f"cancelled by {row.wish_by}: {row.wish_reason}"
        return {"stop": stop, "failed": failed}

    def _stopped_within(self, wave: PlannedWave) -> str:
        """Why hosts of this wave were not let in. What stopped it may have been mended since (a host that was unknown is
        reconciled), and it stays stopped all the same: somebody is to look at it."""
        for name in wave.hosts:
            result = self.results[name]
            if result["kind"] == "not-admitted" and result["verdict"] == Verdict.CANCELLED:
                return str(get_json(self.tools.artifacts, result["part"])["reason"]).removeprefix("not started: ")
        return ""

    def _freeze(self, wave: PlannedWave) -> None:
        """The tested set of each cohort whose first hosts were in this wave. Pure, from the children's results."""
        operation = self.tools.operation(self.request)
        changes: dict[str, list[object]] = {}
        for name in wave.hosts:
            result = self.results[name]
            well = result["verdict"] in (Verdict.SUCCEEDED, Verdict.DEGRADED)
            if well and result["change"] and result["cohort"] not in self.tested:
                change = operation.read_change(get_json(self.tools.artifacts, result["change"]))
                changes.setdefault(result["cohort"], []).append(change)
        for cohort, of_cohort in sorted(changes.items()):
            self.tested[cohort] = put_json(self.tools.artifacts, operation.freeze(of_cohort))

    def take_all_back(self) -> None:
        """rollback-all: every host of this run that is well is taken back, the last first."""
        run = self.request.id
        well = (Verdict.SUCCEEDED, Verdict.DEGRADED)
        for name in reversed([name for name, result in self.results.items() if result["verdict"] in well]):
            result = self.results[name]
            if not result["change"] or result.get("lost") or name in self.taken_back:
                continue
            self.taken_back.add(name)
            argument = {
                "run": run,
                "host": name,
                "wave": 0,
                "total": self.total,
                "cohort": result["cohort"],
                "forecast": None,
                "tested": None,
                "keep": False,
                "done": result,
            }
            handle = self.context.enqueue(
                UNDO_WORKFLOW, f"{run}/{name}/undo", argument, queue=run, parallel=self.request.careful.parallel
            )
            self.arguments[name] = argument
            # Until that has ended nobody knows how the host is, whatever it was before.
            del self.results[name]
            self.results[name] = {**result, **handle.result()}

    def reconcile(self) -> str:
        """Instead of `go`, where another run's unknown hosts are looked at: they are this one's lost hosts."""
        self.tools.state.set_run(self.request.id, state="running", wave=1)
        names = [host.name for host in self.request.hosts]
        self.tools.listener.run_started(self.request.id, self.request.plan, [names])
        taken = self.context.step("take-up", lambda: taken_up(self.tools, self.request))
        self.results.update(taken)
        self.total = len(taken)
        for name, result in taken.items():
            self.arguments[name] = {
                "run": self.request.id,
                "host": name,
                "wave": 1,
                "total": self.total,
                "cohort": result["cohort"],
                "forecast": None,
                "tested": None,
                "keep": False,
            }
        return ""

    @property
    def lost(self) -> Lost:
        return Lost(self.tools, self.context, self.request, self.results, self.arguments)

    def settle_lost(self, reason: str) -> str:
        """At the end: ask the hosts that are unknown for as long as the plan says. Returns why the run stopped, in words
        that still hold then."""
        seconds = self.request.careful.reconcile_for
        back = self.lost.ask_again("end", seconds)
        if self.failed and self.request.on_failure == "rollback-all":
            self.take_all_back()
            self.lost.ask_again("end.undone", seconds)
        self.lost.give_up()
        if back and self.all_begun and not self.taken_back:
            # The last wave had been begun as a whole: what is said of it is what its hosts have come to. Where all was
            # taken back since, that stands for no wave any more.
            return str(self.context.step("end.gate", self._gate_again))
        return came_back(reason, back)

    def _gate_again(self) -> str:
        last = max((self.arguments[name]["wave"] for name in self.results), default=1)
        return str(self._gate(PlannedWave(last, ()), "")["stop"])


def rollout_workflow(tools: Toolbox, context: Context, argument: JsonValue) -> JsonValue:
    """argument: {run}. Returns {verdict, seq}. Whatever happens in between, the run ends with a sealed record."""
    request = tools.request(argument["run"])
    rollout = Rollout(tools, context, request)
    try:
        reason = rollout.reconcile() if request.links.reconciles else rollout.go()
        if rollout.failed and request.on_failure == "rollback-all":
            rollout.take_all_back()
    except Unkept:
        raise
    except (StepFailed, MainstayError) as error:
        reason = f"internal error: {error}"
    try:
        reason = rollout.settle_lost(reason)
    except Unkept:
        raise
    except (StepFailed, MainstayError) as error:
        reason = reason or f"internal error: {error}"
    results = rollout.results
    sealed: JsonValue = context.step("seal", lambda: seal(tools, request, reason, results))
    context.step("tidy", lambda: tidy(tools))
    return sealed
