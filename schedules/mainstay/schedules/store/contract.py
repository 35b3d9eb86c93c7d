"""The schedules' port to what is remembered, in the same database as the state. Times are RFC 3339 UTC, milliseconds, `Z`
(`mainstay.runner.steps.rfc3339`), so that they sort as text. One method, one short transaction; again with the same
content is success, so that two daemons may do the same at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Literal, Protocol

from mainstay.inventory.value import Json, Value
from mainstay.runner.steps import rfc3339


class Carried(Value):
    """A host that a window had no time left for: first in line at the plan's next occurrence."""

    plan: str
    host: str
    run: str
    at: str
    reason: str


class Approval(Value):
    """Somebody has to say yes to a run before it may start. `run` is known before the run exists: it is the occurrence's id.
    hash: of the preview (plan, hosts, window); a changed plan asks anew, and what was said to the old one counts for nothing."""

    run: str
    hash: str
    plan: str
    need: int
    """How many people: 1, or 2 for `two-person`."""
    asked_at: str
    expires_at: str
    requested_by: str = ""
    """Who asked for the run by hand: under two-person their own yes does not count. Empty for the clock."""
    preview: Json = {}
    """What was put before them: targets, hosts, opening."""
    withdrawn_at: str | None = None
    """Another hash took its place."""


class Vote(Value):
    run: str
    hash: str
    by: str
    at: str
    says: Literal["yes", "no"]
    reason: str = ""


class Notice(Value):
    """Something that somebody is to be told. `id` makes it one, however often it is put down (`<channel>:<event>:<what>`)."""

    id: str
    channel: str
    event: str
    body: Json
    made_at: str
    tries: int = 0
    next_try_at: str = ""
    delivered_at: str | None = None
    error: str = ""
    """Of the last try; redacted."""


def incredible(until: str) -> str:
    """A lease that ends later than that, where one that is taken now ends at `until`, is none."""
    return rfc3339(datetime.fromisoformat(until) + timedelta(days=1))


class ScheduleStore(Protocol):
    def begin(self, schedule: str, at: str) -> str:
        """The watermark: every occurrence up to and including it has been put down. A schedule seen for the first time gets
        `at`. Returns what stands."""

    def begin_all(self, schedules: Collection[str], at: str) -> None:
        """As `begin`, for many in one transaction."""

    def watermarks(self) -> dict[str, str]:
        """schedule → watermark, of every schedule ever seen."""

    def advance(self, schedule: str, to: str) -> None:
        """Forward only; an earlier moment changes nothing."""

    def advance_all(self, to: Mapping[str, str]) -> None:
        """As `advance`, for many in one transaction. to: schedule → moment."""

    def carry(self, carried: Carried) -> None:
        """Again for the same plan and host: the older stays."""

    def carried(self, plan: str | None = None) -> list[Carried]:
        """Oldest first."""

    def settle(self, plan: str, host: str) -> None:
        """The host had its turn."""

    def ask(self, approval: Approval) -> None:
        """One request stands per run: one with another hash withdraws it."""

    def approval(self, run: str) -> Approval | None:
        """The one that stands."""

    def approvals(self, *, open_at: str | None = None) -> list[Approval]:
        """All that were ever asked, oldest first; open_at: only those that stand and have not expired by then."""

    def vote(self, vote: Vote) -> None:
        """One per person, run and hash: the first stands."""

    def votes(self, run: str) -> list[Vote]:
        """Oldest first, of every hash."""

    def put_notice(self, notice: Notice) -> None:
        """One that is there stays as it is."""

    def due_notices(self, now: str) -> list[Notice]:
        """Not delivered, and to be tried by now; oldest first."""

    def undelivered(self) -> list[Notice]: ...
    def note_try(self, id: str, *, at: str, error: str = "", next_try_at: str = "") -> None:
        """Without an error it is delivered."""

    def mark(self, name: str) -> str | None:
        """A small value under a name (`serve.heartbeat`, `notify.seq`)."""

    def marks(self, prefix: str) -> dict[str, str]: ...
    def set_mark(self, name: str, value: str) -> None: ...
    def raise_mark(self, name: str, value: str) -> bool:
        """Only to what sorts after the value that stands. Whether it was."""

    def lease(self, name: str, holder: str, *, now: str, until: str) -> bool:
        """Hold a duty that only one process has at a time. Free, expired by `now` or held by the same holder: taken until
        `until`. One that ends later than `incredible` was written by a clock that was wrong: it counts as expired. Whether
        it is this holder's now."""

    def close(self) -> None: ...
