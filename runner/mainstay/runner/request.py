"""A run as it was asked for: everything it needs, resolved, so that another process can go on with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from ulid import ULID

from mainstay.inventory.host import Host
from mainstay.inventory.limits import Limits
from mainstay.inventory.value import Json, Value
from mainstay.runner.plan import Carefulness, Plan
from mainstay.runner.record import Links, SiteStamp


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for a run, and how. retry, break_glass, skip_gates and reason are loud in the record."""

    requested_by: str
    asked_at: str
    trigger: str = "by hand"
    reason: str = ""
    break_glass: str = ""
    skip_gates: dict[str, str] = field(default_factory=dict)
    retry: bool = False
    site: SiteStamp = field(default_factory=SiteStamp)
    site_name: str = ""
    limits: Limits = field(default_factory=Limits)
    mainstay_version: str = ""


def new_run_id() -> str:
    """26 characters that sort by time (ULID)."""
    return str(ULID())


class RunRequest(Value):
    """Frozen when it is asked for: a plan that is edited later does not change a run in flight.

    Holds references to secrets (in each host's `ssh`), never a secret.
    """

    version: int = 1
    id: str
    kind: str
    """Of the operation or errand: patch, rollback, backup, restore, drill …"""
    plan: str
    maintenance_type: str
    operation: Json
    """What the operation is made from again; its kind knows the shape."""
    careful: Carefulness
    on_failure: Literal["halt", "rollback-host", "rollback-all"] = "halt"
    hosts: tuple[Host, ...]
    errand: bool = False
    """What is done for the hosts is done on the controller; see `mainstay.runner.errand`."""
    shares: dict[str, int] = {}
    """What its hosts share with all other runs, in words (`repository main`) → how many may use it at once."""
    first: tuple[str, ...] = ()
    """Names of hosts that come first in the order of the waves, as far as cohorts and jump hosts allow it."""
    window: str | None = None
    """The names of its windows, for the record."""
    timing: Json = {}
    """What schedules says of when it may run (`mainstay.schedules.timing.Timing`); empty: at any time."""
    occurrence: Json = {}
    """Of which schedule it is an occurrence, and due when: for the record. Empty for a run that was asked for by hand."""
    trigger: str = "by hand"
    requested_by: str
    asked_at: str
    reason: str = ""
    break_glass: str = ""
    """The reason given for passing window, freeze and approval; empty where they hold."""
    skip_gates: dict[str, str] = {}
    retry: bool = False
    """Try again what was rolled back on a host before."""
    undo_for: float = 30 * 86400.0
    """Seconds for which the way back is kept."""
    site: SiteStamp = SiteStamp()
    site_name: str = ""
    limits: Limits = Limits()
    """Of the site, as they were when the run was asked for."""
    mainstay_version: str = ""
    links: Links = Links()

    def host(self, name: str) -> Host:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Host]:
        return {host.name: host for host in self.hosts}


def plan_request(plan: Plan, hosts: Sequence[Host], asking: Asking) -> RunRequest:
    """A run of a plan over those hosts."""
    careful = Carefulness.model_validate({name: getattr(plan, name) for name in Carefulness.model_fields})
    return RunRequest(
        id=new_run_id(),
        kind=plan.kind,
        plan=plan.name,
        maintenance_type=plan.maintenance_type,
        # Who knows the ping's URL can keep the switch quiet: it is not written down with the run.
        operation=plan.model_copy(update={"ping": None}).to_json(),
        careful=careful,
        on_failure=plan.on_failure,
        hosts=tuple(hosts),
        window=", ".join(plan.window) or None,
        trigger=asking.trigger,
        requested_by=asking.requested_by,
        asked_at=asking.asked_at,
        reason=asking.reason,
        break_glass=asking.break_glass,
        skip_gates=asking.skip_gates,
        retry=asking.retry,
        undo_for=plan.undo_for,
        shares=plan.shares,
        site=asking.site.model_copy(update={"plan_hash": plan.hash()}),
        site_name=asking.site_name,
        limits=asking.limits,
        mainstay_version=asking.mainstay_version,
    )


def later_request(
    before: RunRequest,
    hosts: Sequence[Host],
    asking: Asking,
    *,
    kind: str,
    operation: Json,
    careful: Carefulness,
    on_failure: Literal["halt", "rollback-host", "rollback-all"],
    links: Links,
) -> RunRequest:
    """A run that comes back to what `before` did on those hosts. Corrective, not bound to a window, and it may do again
    what was rolled back before."""
    return RunRequest(
        id=new_run_id(),
        kind=kind,
        plan=before.plan,
        maintenance_type="corrective",
        operation=operation,
        careful=careful,
        on_failure=on_failure,
        hosts=tuple(hosts),
        trigger=asking.trigger,
        requested_by=asking.requested_by,
        asked_at=asking.asked_at,
        reason=asking.reason,
        retry=True,
        undo_for=before.undo_for,
        site=asking.site.model_copy(update={"plan_hash": before.site.plan_hash}),
        site_name=asking.site_name,
        limits=asking.limits,
        mainstay_version=asking.mainstay_version,
        links=links,
    )
