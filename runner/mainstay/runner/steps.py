"""Steps of one host's work: each is one checkpoint, timed, with what it printed, and becomes a line of the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from mainstay.inventory.errors import MainstayError, Refused
from mainstay.inventory.redaction import redact
from mainstay.inventory.value import Json
from mainstay.runner.artifacts.contract import Artifacts
from mainstay.runner.calling_off import Cancelled
from mainstay.runner.engine.contract import Context, Unkept
from mainstay.runner.ports import Clock, Listener
from mainstay.runner.record import Step
from mainstay.runner.shell.contract import ContactLost, FenceRefused, HostKeyRefused, Unreachable
from mainstay.runner.verdict import Verdict


def rfc3339(moment: datetime) -> str:
    """UTC, milliseconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Stopped(Exception):
    """A step did not go well; the host's work goes another way from here. Raised again by every replay."""

    def __init__(
        self, step: str, verdict: Verdict, reason: str, kind: str, silent: float = 0.0, fault: str = ""
    ) -> None:
        super().__init__(reason)
        self.step = step
        self.verdict = verdict
        self.reason = reason
        self.kind = kind
        """unreachable, refused, contact-lost, cancelled, failed."""
        self.silent = silent
        """With contact-lost: seconds since the host was last heard of."""
        self.fault = fault
        """The `kind` of the error that it came from, as `--json` prints it: `locked`, `wrong-password`."""


@dataclass(slots=True)
class StepIO:
    """What a step's work may say while it runs."""

    output: Callable[[bytes], None]
    progress: Callable[[str], None]
    detail: str = ""
    verdict: Verdict = Verdict.SUCCEEDED
    notes: list[str] = field(default_factory=list)
    """For the host's part; kept with the step's checkpoint, so that a restart does not lose them."""
    concerns: list[str] = field(default_factory=list)
    """As the notes; they make the host degraded."""
    measures: dict[str, Any] = field(default_factory=dict)
    """As the notes; for the measures of the host's part."""
    silent: float = 0.0
    """Seconds since the host was last heard of, where it is given up."""


class GaveUp(ContactLost):
    """No contact for as long as the plan says: the host is called unknown. Not tried again in the same step."""


class HostFailed(MainstayError):
    """The work on a host did not end as it was meant."""

    kind = "failed"


def classify(error: BaseException, *, touched: bool, sent: bool = False) -> tuple[Verdict, str]:
    """An error of a step → (verdict, kind). touched: something on the host has been changed by then, so that a refusal
    is no longer one. sent: the host has got something of ours (its lock), so that one that is lost is unknown."""
    if isinstance(error, ContactLost) or ((touched or sent) and isinstance(error, Unreachable)):
        return Verdict.UNKNOWN, "contact-lost"
    if isinstance(error, Unreachable) and not isinstance(error, HostKeyRefused):
        return Verdict.REFUSED, "unreachable"
    if isinstance(error, (Refused, FenceRefused, HostKeyRefused)) and not touched:
        return Verdict.REFUSED, "refused"
    return Verdict.FAILED, "failed"


@dataclass(slots=True)
class Recorder:
    """Runs the steps of one host through the engine, and collects them for its part of the record."""

    context: Context
    run: str
    host: str
    artifacts: Artifacts
    clock: Clock
    listener: Listener
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    concerns: list[str] = field(default_factory=list)
    measures: dict[str, Any] = field(default_factory=dict)
    touched: bool = False
    """Set by the host's work once it has begun to change things."""
    sent: bool = False
    """Set by the host's work once it has locked the host."""

    def __call__(self, name: str, work: Callable[[StepIO], Any]) -> Any:
        """Run `work` once, whatever happens to this process; return its value (plain JSON). Raises Stopped."""
        result = self.context.step(name, lambda: self._live(name, work))
        step = Step.from_json(result["step"])
        self.steps.append(step)
        self.notes += result["notes"]
        self.concerns += result.get("concerns", ())  # a run from before there was such a thing does without
        self.measures |= result.get("measures", {})
        self.listener.step_finished(self.run, self.host, step)
        if result["kind"]:
            raise Stopped(name, step.verdict, step.detail, result["kind"], result["silent"], result.get("fault", ""))
        return result["value"]

    def _live(self, name: str, work: Callable[[StepIO], Any]) -> Json:
        started = rfc3339(self.clock.now())
        self.listener.step_started(self.run, self.host, name)
        chunks: list[bytes] = []
        io = StepIO(
            output=chunks.append,
            progress=lambda line: self.listener.step_progress(self.run, self.host, name, redact(line)),
        )
        kind, fault, value = "", "", None
        try:
            value = work(io)
            verdict, detail = io.verdict, io.detail
        except Unkept:
            raise  # no outcome of the step: it is done again once the state can be written
        except Cancelled as error:
            verdict, kind, detail = Verdict.CANCELLED, "cancelled", str(error)
        except MainstayError as error:
            verdict, kind = classify(error, touched=self.touched, sent=self.sent)
            fault = error.kind
            detail = getattr(error, "plain", error.message) + (f" ({error.hint})" if error.hint else "")
        # Before anything is kept: here alone the output is whole, and what is made from a checkpoint is the same again
        # in a process that doesn't know the secrets.
        output = self.artifacts.put(redact(b"".join(chunks)), kind="output") if chunks else None
        detail, notes = redact(detail), [redact(note) for note in io.notes]
        more: Json = {"concerns": [redact(concern) for concern in io.concerns]} if io.concerns else {}
        more |= {"measures": io.measures} if io.measures else {}
        more |= {"fault": fault} if fault else {}
        finished = rfc3339(self.clock.now())
        step = Step(name=name, verdict=verdict, started_at=started, finished_at=finished, detail=detail, output=output)
        return {"step": step.to_json(), "kind": kind, "value": value, "notes": notes, "silent": io.silent, **more}


def survey_step(verdict: Verdict, detail: str, finished_at: str, seconds: float) -> Step:
    """The one step of a host that was only asked: started `seconds` before it finished."""
    started = datetime.fromisoformat(finished_at) - timedelta(seconds=seconds)
    return Step(name="survey", verdict=verdict, started_at=rfc3339(started), finished_at=finished_at, detail=detail)
