"""The points of plans that a site does not have any more: a run that removes what somebody names of them."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING

from mainstay.console.verbs._restoring import repositories
from mainstay.inventory.errors import UsageError
from mainstay.inventory.host import Host
from mainstay.inventory.names import shown
from mainstay.inventory.validation import did_you_mean, one_of
from mainstay.recovery.loading import renames
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.retention.clearing import Clearing
from mainstay.recovery.tending.due import errand_request
from mainstay.runner.request import RunRequest
from mainstay.runner.steps import rfc3339

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application


def beginning(text: str, zone: tzinfo) -> datetime:
    """A time as people write it; a date alone is its beginning. Raises UsageError."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        message = f"--before {shown(text)} is no time"
        raise UsageError(message, hint="Write 2026-11-20, 2026-11-20T04:00 or 2026-11-20T04:00Z.") from None
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)


def clearing_requests(
    app: Application, name: str, before: datetime, *, everything: bool, repository: str | None = None
) -> list[RunRequest]:
    """One for each repository that has points of that plan, over all their hosts, also those that are no more. Raises UsageError
    where the plan is one of the site still, or nothing is known of it."""
    if name in app.plans:
        raise UsageError(
            f"{shown(name)} is a plan of the site: what goes of its points is said by its retention.",
            hint=f"mainstay repo retention {name} -n shows it; --before is for plans that are no more.",
        )
    if owner := renames(app.plans.values()).get(name):
        raise UsageError(f"The points of {shown(name)} are those of {owner} now (renamed_from).")
    if before > app.clock.now():
        now = rfc3339(app.clock.now())
        raise UsageError("--before is in the future.", hint=f"All that there is by now: --before {now} --all")
    declared, places = repositories(app), dict[str, set[str]]()
    for point in app.points.newest():
        if point.plan == name:
            places.setdefault(point.repository, set()).add(point.host)
    if not places:
        known = {one.plan for one in app.points.newest()} - set(app.plans)
        hint = did_you_mean(name, known) or (f"There are points of {one_of(known)}." if known else None)
        raise UsageError(f"There is no point of a plan {shown(name)}.", hint=hint)
    wanted = sorted(set(places) & set(declared) & ({repository} if repository else set(places)))
    if not wanted:
        message = f"Points of {shown(name)} are in {one_of(places)} alone."
        raise UsageError(message, hint=None if repository else "A site that does not declare it can't reach them.")
    clearing = Clearing(before=rfc3339(before), all=everything)
    return [_request(app, name, place, places[place], clearing) for place in wanted]


def _request(app: Application, name: str, place: str, names: set[str], clearing: Clearing) -> RunRequest:
    hosts = {host.name: host for host in app.site.hosts}
    there = [hosts.get(one) or Host(name=one, address=one) for one in sorted(names)]
    sources = {one.source for one in app.points.newest() if (one.plan, one.repository) == (name, place)}
    told = {"name": name, "targets": "all", "repository": place, "repositories": {place: repositories(app)[place]}}
    # What it once took is of no matter: nothing is taken. It has to be a plan for the run to be like any other.
    plan = BackupPlan.model_validate(told | {"sources": {one: {"paths": ["/"]} for one in sources}, "prove": None})
    request = errand_request(plan, "retention", place, there, app.asking())
    return request.model_copy(update={"operation": request.operation | {"clearing": clearing.to_json()}})
