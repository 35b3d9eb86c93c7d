"""The maintenance record: what remains of a run. Frozen, plain JSON, the same for every kind."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from mainstay.inventory.value import Json, Value, digest
from mainstay.runner.verdict import Verdict

STAGE = "stage"
"""Kind of a run that downloads ahead of a window what an occurrence will install, and changes nothing."""
ASIDE = (STAGE, "restore", "init", "retention", "prune", "check", "copy", "lock", "drill")
"""Kinds of runs that bear a plan's name and are not what the plan is for: they say nothing of what its work takes, of whose turn
it is, or of whether it was done."""
NO_SOFTWARE = ("backup", *ASIDE)
"""Kinds of runs after which a host's software is as it was before."""


class Step(Value):
    """One checkpoint of the work on a host. Times are RFC 3339 UTC."""

    name: str
    verdict: Verdict
    started_at: str
    finished_at: str
    detail: str = ""
    output: str | None = None
    """Artifact (SHA-256) with everything the step printed on the host."""

    def model_post_init(self, context: Any) -> None:
        # A set of its own for each of some 15 steps of each host would be a third of what a part takes.
        if self.__pydantic_fields_set__ == _STEP_FIELDS:
            object.__setattr__(self, "__pydantic_fields_set__", _STEP_FIELDS)


_STEP_FIELDS = set(Step.model_fields)


class HostPart(Value):
    """What happened on one host. Written once, when its work ends."""

    host: str
    verdict: Verdict
    reason: str = ""
    wave: int | None = None
    """Number of its wave from 1; None where it was never given one."""
    cohort: str = ""
    steps: tuple[Step, ...] = ()
    before: Json = {}
    after: Json = {}
    measures: dict[str, Any] = {}

    def digest(self) -> str:
        return digest(self.to_json())


class Links(Value):
    undoes: str | None = None
    reconciles: str | None = None
    """The run whose unknown hosts this one looked at."""
    relies_on: tuple[str, ...] = ()
    proves: tuple[str, ...] = ()


class Intervention(Value):
    """Somebody paused, resumed or cancelled a run."""

    at: str
    """RFC 3339 UTC."""
    wish: Literal["", "pause", "cancel"]
    """Empty: it may go on."""
    by: str
    reason: str


class Said(Value):
    """What somebody said to a run that needed an approval before it could start."""

    at: str
    """RFC 3339 UTC."""
    by: str
    says: Literal["yes", "no"]
    reason: str = ""


class SiteStamp(Value):
    """The site as it was when the run was asked for."""

    commit: str | None = None
    dirty: bool | None = None
    plan_hash: str = ""


class Summary(Value):
    """What the ledger seals: everything of a run except its hosts' parts, which it holds by digest."""

    id: str
    kind: str
    plan: str
    maintenance_type: str
    verdict: Verdict
    reason: str
    trigger: str
    requested_by: str
    window: str | None = None
    site: SiteStamp = SiteStamp()
    mainstay_version: str = ""
    started_at: str = ""
    finished_at: str = ""
    links: Links = Links()
    interventions: tuple[Intervention, ...] = ()
    """Oldest first, up to the sealing."""
    approvals: tuple[Said, ...] = ()
    """What was said to it before it started, oldest first; empty where it needed no approval."""
    measures: dict[str, Any] = {}
    counts: dict[str, int] = {}
    """How many hosts ended with each verdict."""
    hosts_digest: str = ""
    """Digest over the hosts' digests, sorted by host name: `digest([[host, digest], …])`."""


class MaintenanceRecord(Value):
    """A sealed run as people and programs read it."""

    seq: int
    hash: str
    summary: Summary
    hosts: tuple[HostPart, ...] = ()

    def to_json(self) -> Json:
        body = self.summary.to_json()
        return {**body, "seq": self.seq, "hash": self.hash, "hosts": [part.to_json() for part in self.hosts]}


def hosts_digest(parts: Iterable[HostPart]) -> str:
    return digest(sorted([part.host, part.digest()] for part in parts))
