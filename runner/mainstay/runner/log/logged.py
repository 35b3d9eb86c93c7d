"""The events of runs: told by what listens to them and by what stands between their workflows and the engine, so that no
line of the work itself is about logging."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from logging import DEBUG, ERROR, INFO, WARNING
from typing import Any

from mainstay.runner.engine.contract import Context, Handle, JsonValue
from mainstay.runner.log.events import binding, tell
from mainstay.runner.ports import Quiet
from mainstay.runner.record import HostPart, MaintenanceRecord, Step
from mainstay.runner.verdict import Verdict

Body = Callable[[Context, JsonValue], JsonValue]

_BAD = (Verdict.FAILED, Verdict.UNKNOWN, Verdict.ROLLED_BACK)


class Logged(Quiet):
    """A listener, and a wrapper of workflow bodies (`watch`). Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: set[tuple[str, str, str]] = set()
        """Steps that were begun by this process: the others are replayed, and were told by the one that did them."""
        self._taken: set[str] = set()

    def watch(self, body: Body) -> Body:
        """The same body; what is logged in it names its run, host and step, and what it raises is logged as a fault.

        argument of the body: an object with `run` and, for one host's work, `host`."""

        def watched(context: Context, argument: JsonValue) -> JsonValue:
            about: dict[str, Any] = {key: str(argument[key]) for key in ("run", "host") if key in argument}
            with binding(**about):
                return body(Watched(context, lambda: self._take_over(about)), argument)

        return watched

    def _take_over(self, about: dict[str, Any]) -> None:
        if "host" in about:
            tell(INFO, "host taken over", **about)
            return
        with self._lock:
            self._taken.add(about["run"])
        tell(WARNING, "run taken over", **about)

    def run_started(self, run: str, plan: str, waves: list[list[str]]) -> None:
        with self._lock:
            event = "run goes on" if run in self._taken else "run started"
        tell(INFO, event, run=run, plan=plan, waves=len(waves), hosts=sum(map(len, waves)))

    def wave_started(self, run: str, number: int, hosts: list[str]) -> None:
        tell(INFO, "wave", run=run, wave=number, hosts=hosts)

    def step_started(self, run: str, host: str, step: str) -> None:
        with self._lock:
            self._live.add((run, host, step))
        tell(DEBUG, "step started", run=run, host=host, step=step)

    def step_progress(self, run: str, host: str, step: str, detail: str) -> None:
        tell(DEBUG, "step goes on", run=run, host=host, step=step, detail=detail)

    def step_finished(self, run: str, host: str, step: Step) -> None:
        with self._lock:
            live = (run, host, step.name) in self._live
            self._live.discard((run, host, step.name))
        if not live:
            return
        took = datetime.fromisoformat(step.finished_at) - datetime.fromisoformat(step.started_at)
        tell(
            WARNING if step.verdict in _BAD else INFO,
            "contact lost" if step.verdict is Verdict.UNKNOWN else "step finished",
            run=run,
            host=host,
            step=step.name,
            verdict=str(step.verdict),
            seconds=round(took.total_seconds(), 3),
            detail=step.detail,
        )

    def host_finished(self, run: str, part: HostPart) -> None:
        level = WARNING if part.verdict in _BAD else INFO
        tell(level, "host ended", run=run, host=part.host, verdict=str(part.verdict), reason=part.reason)

    def run_finished(self, record: MaintenanceRecord) -> None:
        summary = record.summary
        with self._lock:
            self._taken.discard(summary.id)
        for one in summary.interventions:
            tell(
                INFO, "intervention", run=summary.id, at=one.at, wish=one.wish or "go on", by=one.by, reason=one.reason
            )
        tell(
            WARNING if summary.verdict in _BAD else INFO,
            "run ended",
            run=summary.id,
            plan=summary.plan,
            verdict=str(summary.verdict),
            reason=summary.reason,
            counts=dict(summary.counts),
            seconds=summary.measures.get("wall_seconds"),
            seq=record.seq,
        )


class Watched:
    """A Context that tells what its steps raise, and that it is replayed (at its first step, once)."""

    def __init__(self, context: Context, replayed: Callable[[], None]) -> None:
        self._context = context
        self._replayed = replayed
        self._first = True

    @property
    def id(self) -> str:
        return self._context.id

    def step(self, name: str, work: Callable[[], JsonValue]) -> JsonValue:
        ran = False

        def live() -> JsonValue:
            nonlocal ran
            ran = True
            with binding(step=name):
                try:
                    return work()
                except Exception as error:
                    # What a host did wrong is a step's result by now: this is ours.
                    tell(ERROR, "fault", fault=error)
                    raise

        first, self._first = self._first, False
        try:
            return self._context.step(name, live)
        finally:
            if first and not ran:
                self._replayed()

    def stay(self) -> None:
        self._context.stay()

    def now(self) -> datetime:
        return self._context.now()

    def sleep(self, seconds: float) -> None:
        self._context.sleep(seconds)

    def wait(self, topic: str, timeout: float) -> JsonValue | None:
        return self._context.wait(topic, timeout)

    def enqueue(self, workflow: str, id: str, argument: JsonValue, *, queue: str, parallel: int) -> Handle:
        return self._context.enqueue(workflow, id, argument, queue=queue, parallel=parallel)
