"""What a run has to keep to, frozen when it is asked for: its windows, and the occurrence that it stands for.

Freezes, calendars and approvals are not in it: a freeze that somebody declares tonight holds for the run that was asked
for yesterday, so that the gate reads them as they are when it is asked."""

from __future__ import annotations

from mainstay.inventory.value import Value
from mainstay.runner.plan import Timed
from mainstay.runner.request import RunRequest
from mainstay.schedules.windows import Window


class Occurrence(Value):
    """One due moment of a schedule. Times are RFC 3339 UTC."""

    schedule: str
    """`<plan>/<window>`, and `/<zone>` behind it where the window opens by the hosts' own clocks."""
    at: str
    """When its window opens."""
    window: str
    zone: str
    ends_at: str
    cutoff_at: str
    """From then on nothing new starts."""
    missed: str = ""
    """Why it is only put on record: the run is sealed as missed, and nothing is touched."""
    through: str = ""
    """With `missed`: this record stands for all occurrences of the schedule from `at` to this one, of which there were too
    many to have one each."""
    refused: str = ""
    """Why policy says no to it before anything is asked (the plan wants what can't be done yet): sealed as refused."""
    late: bool = False
    """It starts after its own opening had passed (`run-if-late`, `next-window`), in another that is open."""


class Timing(Value):
    """`RunRequest.timing`. Without windows a run may start at any time."""

    windows: tuple[Window, ...] = ()
    """Of the plan, each with its name and its zone; `host` as zone: by each host's own clock."""
    occurrence: Occurrence | None = None
    """None for a run that was asked for by hand."""
    queued: bool = False
    """Asked for by hand to wait for the next opening (`--at-next-window`)."""
    rules: Timed = Timed()
    """As the plan says them."""


def timing_of(request: RunRequest) -> Timing:
    return Timing.from_json(request.timing) if request.timing else Timing()
