"""What really happened, written down as it happens by somebody who sees everything: what the invariants are checked with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from mainstay.inventory.value import Json
from mainstay.runner.record import HostPart
from mainstay.runner.verdict import Verdict

FAILURES = ("failed", "rolled-back", "unknown")


@dataclass(frozen=True, slots=True)
class Event:
    """flow: the workflow in whose turn it happened, `RUN`, `RUN/HOST` or `RUN/HOST/…`; empty outside of one."""

    number: int
    at: float
    process: str
    flow: str
    kind: str
    data: dict[str, Any]

    def __str__(self) -> str:
        said = " ".join(f"{name}={_short(value)}" for name, value in self.data.items() if value not in ("", None))
        return f"{self.number:6} {self.at:11.3f} {self.process or '-':4} {self.flow or '-':12} {self.kind:12} {said}"


def gate_number(step: str) -> int:
    """Of the wave whose gate a step is; 0 where it is none."""
    found = re.fullmatch(r"wave-(\d+)\.gate", step)
    return int(found[1]) if found else 0


def _short(value: Any) -> str:
    if isinstance(value, HostPart):
        return f"{value.host}:{value.verdict}:{value.reason!r}"
    if isinstance(value, tuple):
        return "(" + ", ".join(_short(one) for one in value) + ")"
    if isinstance(value, dict):
        told = ("stop", "failed", "verdict", "kind", "reason", "counts")
        return "{" + ", ".join(f"{name}: {value[name]!s}" for name in told if value.get(name)) + "}"
    return value if isinstance(value, str) and " " not in value else repr(value)


@dataclass(slots=True)
class HostBook:
    """One host in one run. Moments are numbers of events; 0: never."""

    admitted: int = 0
    outcome: str = ""
    outcome_at: int = 0
    wave: int = 0
    undoing: bool = False
    """It is taken back at the end of its run, and in flight once more."""
    commanded: int = 0
    """Fenced commands that the host has accepted from this run."""
    applied: int = 0
    undone: int = 0
    meant: dict[str, str] = field(default_factory=dict)
    """package → the version that the run's last job was to bring it to."""
    changed_at: int = 0
    well_at: int = 0
    """The newest green health check."""
    sick_at: int = 0
    lost_contact: bool = False
    hooked: bool = False
    part: HostPart | None = None
    steps: list[tuple[str, str, str]] = field(default_factory=list)
    """(name, verdict, started at) of every step that was kept."""

    @property
    def in_flight(self) -> bool:
        return bool(self.undoing or (self.admitted and not self.outcome))


@dataclass(slots=True)
class RunBook:
    hosts: dict[str, HostBook] = field(default_factory=dict)
    gates: dict[int, str] = field(default_factory=dict)
    """wave → why it stopped there; empty where the next may come."""
    used_up_at: int = 0
    """When one failure too many was known."""
    total: int = 0
    cancelled_at: int = 0
    wishes: list[tuple[str, str]] = field(default_factory=list)
    sealed: Json | None = None
    sealed_at: int = 0
    ended: bool = False

    def host(self, name: str) -> HostBook:
        return self.hosts.setdefault(name, HostBook())

    def failures(self) -> int:
        return sum(host.outcome in FAILURES for host in self.hosts.values())


@dataclass(slots=True)
class Books:
    runs: dict[str, RunBook] = field(default_factory=dict)
    highest: dict[str, int] = field(default_factory=dict)
    """host → the highest number that it has accepted."""
    kept: set[tuple[str, int]] = field(default_factory=set)
    """(flow, number in it) of every checkpoint."""
    changed_by: dict[tuple[str, str], str] = field(default_factory=dict)
    """(host, package) → the run that changed it last."""
    begun: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """(flow, step, process) → when it last began there."""
    at_work: dict[tuple[str, str], int] = field(default_factory=dict)
    """(flow, process) → the step that it is in."""

    def run(self, id: str) -> RunBook:
        return self.runs.setdefault(id, RunBook())

    def of(self, event: Event) -> HostBook | None:
        """The host's page that the event's workflow is about."""
        run, _, rest = event.flow.partition("/")
        return self.run(run).host(rest.partition("/")[0]) if rest else None

    def note(self, event: Event) -> None:
        """After the invariants have seen the event."""
        data, page = event.data, self.of(event)
        match event.kind:
            case "begin":
                self.begun[data["id"], data["step"], event.process] = event.number
                self.at_work[data["id"], event.process] = data["at"]
            case "kept":
                self._kept(event)
            case "commanded":
                self.highest[data["host"]] = max(data["number"], self.highest.get(data["host"], 0))
                if page is not None and data["what"] not in ("lock acquire", "lock release"):
                    page.commanded += 1
            case "no-contact" | "contact-lost":
                if page is not None:
                    page.lost_contact = True
            case "changed":
                one = self.run(data["run"]).host(data["host"])
                one.applied += not data["back"]
                one.undone += data["back"]
                one.changed_at = event.number
                for name, _, _ in data["items"]:
                    self.changed_by[data["host"], name] = data["run"]
            case "meant":
                self.run(data["run"]).host(data["host"]).meant |= {name: after for name, _, after in data["items"]}
            case "health":
                one = self.run(data["run"]).host(data["host"])
                one.well_at = event.number if data["green"] else one.well_at
                one.sick_at = event.number if not data["green"] else one.sick_at
            case "hook":
                self.run(data["run"]).host(data["host"]).hooked = True
            case "note-outcome":
                self._outcome(event)
            case "write-part":
                run, part = data["args"]
                self.run(run).host(part.host).part = part
            case "wish":
                book = self.run(data["run"])
                book.wishes.append((data["wish"], data["by"]))
                book.cancelled_at = event.number if data["wish"] == "cancel" else book.cancelled_at
            case "seal":
                run, body = data["args"]
                book = self.run(run)
                book.sealed, book.sealed_at = body, book.sealed_at or event.number
            case "set-run":
                self.run(data["args"][0]).ended |= data.get("state") == "ended"

    def _kept(self, event: Event) -> None:
        id, step, value = event.data["id"], event.data["step"], event.data["value"]
        self.kept.add((id, event.data["at"]))
        self.at_work.pop((id, event.process), None)
        run, _, rest = id.partition("/")
        if rest and isinstance(value, dict) and "step" in value:
            ended = value["step"]
            page = self.run(run).host(rest.partition("/")[0])
            page.steps.append((ended["name"], ended["verdict"], ended["started_at"]))
        if step == "admit" and value and not value["value"]["stop"]:
            self.run(run).host(rest).admitted = event.number
        elif step == "undo.admit" and value:
            self.run(run).host(rest.partition("/")[0]).undoing = True
        elif (number := gate_number(step)) and value is not None:
            self.run(run).gates[number] = value["stop"]

    def _outcome(self, event: Event) -> None:
        run, host, verdict = event.data["args"]
        page = self.run(run).host(host)
        page.outcome, page.outcome_at, page.undoing = str(Verdict(verdict)), event.number, False
