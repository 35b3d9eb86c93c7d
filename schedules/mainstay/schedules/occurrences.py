"""Which schedules a site has, and the run that one of their occurrences becomes. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from ulid import ULID

from mainstay.inventory.host import Host
from mainstay.inventory.selectors import pick
from mainstay.inventory.site import Site
from mainstay.inventory.value import Json, digest
from mainstay.runner.plan import Plan, Timed
from mainstay.runner.plans import unavailable
from mainstay.runner.request import Asking, RunRequest, plan_request
from mainstay.runner.steps import rfc3339
from mainstay.runner.waves import natural
from mainstay.schedules.check import LoadedSite
from mainstay.schedules.openings import Opening, zone_of
from mainstay.schedules.timing import Occurrence, Timing
from mainstay.schedules.windows import HOST, Window

CLOCK = "clock"
"""Who asks for the run of an occurrence, and by which trigger."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A plan in one of its windows, by one zone's clock. id: `<plan>/<window>`, and `/<zone>` behind it where the window
    opens by the hosts' own clocks."""

    id: str
    plan: Plan
    window: Window
    zone: str

    def digest(self) -> str:
        """Of what says when it is due: another one is another rule."""
        return digest([self.window.model_copy(update={"source": ""}).to_json(), self.zone])[:16]


def schedules(loaded: LoadedSite) -> Iterator[Schedule]:
    """Every schedule of the site, in the order of its plans and of their windows."""
    site = loaded.site
    for plan in loaded.plans.values():
        for name in plan.window:
            window = loaded.windows[name]
            if window.timezone != HOST:
                yield Schedule(f"{plan.name}/{name}", plan, window, zone_of(window, site.timezone))
                continue
            for zone in sorted({zone_of(window, site.timezone, host) for host in targets(plan, site)}):
                yield Schedule(f"{plan.name}/{name}/{zone}", plan, window, zone)


def targets(plan: Plan, site: Site) -> tuple[Host, ...]:
    """web2 before web10. Raises SelectorError where its selector matches nothing."""
    return tuple(sorted(pick(plan.targets, site.hosts, site.groups), key=lambda host: natural(host.name)))


def hosts(schedule: Schedule, site: Site) -> tuple[Host, ...]:
    """The plan's targets; where the window opens by the hosts' own clocks, those of its zone."""
    found = targets(schedule.plan, site)
    if schedule.window.timezone != HOST:
        return found
    return tuple(host for host in found if zone_of(schedule.window, site.timezone, host) == schedule.zone)


def run_id(schedule: str, at: datetime) -> str:
    """The id of the run that this occurrence becomes, whoever asks for it and however often: a ULID of the moment at which
    the window opens, whose random part is made of the schedule and that moment, so that it sorts among the others."""
    milliseconds = int(at.timestamp() * 1000)
    random = hashlib.sha256(f"{schedule}\0{rfc3339(at)}".encode()).digest()[:10]
    return str(ULID.from_bytes(milliseconds.to_bytes(6, "big") + random))


def timing(plan: Plan, loaded: LoadedSite, occurrence: Occurrence | None = None, *, queued: bool = False) -> Timing:
    """What a run of this plan has to keep to, frozen as the site says it now: every window with its name and its zone."""
    windows = (loaded.windows[name] for name in plan.window)
    frozen = (window.model_copy(update={"timezone": window.timezone or loaded.site.timezone}) for window in windows)
    rules = Timed.model_validate({name: getattr(plan, name) for name in Timed.model_fields})
    return Timing(windows=tuple(frozen), occurrence=occurrence, queued=queued, rules=rules)


def occurrence_request(
    schedule: Schedule,
    opening: Opening,
    loaded: LoadedSite,
    asking: Asking,
    *,
    missed: str = "",
    through: datetime | None = None,
    late: bool = False,
    first: tuple[str, ...] = (),
) -> RunRequest:
    """The run of one occurrence. asking: of the clock (`requested_by` and `trigger`). missed, through, late: see Occurrence;
    first: see RunRequest.

    One of a plan that asks for what can't be done yet says so, and is refused."""
    problems = unavailable(schedule.plan, loaded.site)
    occurrence = Occurrence(
        schedule=schedule.id,
        at=rfc3339(opening.starts_at),
        window=schedule.window.name,
        zone=schedule.zone,
        ends_at=rfc3339(opening.ends_at),
        cutoff_at=rfc3339(opening.cutoff_at),
        missed=missed,
        through=rfc3339(through) if through else "",
        refused="; ".join(problem.message for problem in problems),
        late=late,
    )
    request = plan_request(schedule.plan, hosts(schedule, loaded.site), asking)
    new = {
        "id": run_id(schedule.id, opening.starts_at),
        "window": schedule.window.name,
        "first": first,
        "occurrence": _for_the_record(occurrence),
        "timing": timing(schedule.plan, loaded, occurrence).to_json(),
    }
    return request.model_copy(update=new)


def _for_the_record(occurrence: Occurrence) -> Json:
    told: Json = {"schedule": occurrence.schedule, "at": occurrence.at}
    told |= {"late": True} if occurrence.late else {}
    return told | ({"through": occurrence.through} if occurrence.through else {})
