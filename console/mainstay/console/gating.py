"""The gates of a site's runs, and the freezes that they ask, put together."""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from mainstay.recovery.required import BackupGate, required_of
from mainstay.runner.ports import AlwaysOpen, Gate
from mainstay.runner.record import STAGE
from mainstay.runner.request import RunRequest
from mainstay.schedules import approvals
from mainstay.schedules.approvals import Standing
from mainstay.schedules.calendars.adapters.files import FileShelf
from mainstay.schedules.calendars.keeping import Calendars
from mainstay.schedules.calendars.memory import MemoryShelf
from mainstay.schedules.estimates import Estimates
from mainstay.schedules.freezes import Freezes
from mainstay.schedules.gate import SiteGate
from mainstay.schedules.openings import Opening
from mainstay.schedules.staging import StagingGate

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application
    from mainstay.schedules.calendars.contract import CalendarSource, Fetched
    from mainstay.schedules.check import LoadedSite

KEPT = 200
"""Gates of the runs that were asked about last: each has read what its plan's hosts took."""


class Gates:
    """A run's gate; one that is bound to nothing has none that closes."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Gate] = OrderedDict()

    def __call__(self, request: RunRequest) -> Gate:
        if not request.timing:
            return self._backed(request, AlwaysOpen())
        with self._lock:
            gate = self._kept.get(request.id) or self._make(request)
            self._kept[request.id] = gate
            self._kept.move_to_end(request.id)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return gate

    def _make(self, request: RunRequest) -> Gate:
        app = self._app
        if request.kind == STAGE:
            return StagingGate(request, clock=app.clock, freezes=lambda: app.freezes)
        gate = SiteGate(
            request,
            clock=app.clock,
            timezone=app.site.timezone,
            freezes=lambda: app.freezes,
            approved=self._approved,
            estimates=Estimates(app.state, request.plan),
            carry=lambda carried: app.schedule_store.carry(carried),
        )
        return self._backed(request, gate)

    def _backed(self, request: RunRequest, gate: Gate) -> Gate:
        required = required_of(request)
        if required is None:
            return gate
        app = self._app
        return BackupGate(
            gate, request, required, points=lambda: app.points, plans=lambda: app.plans.values(), clock=app.clock
        )

    def _approved(self, request: RunRequest, now: datetime, opening: Opening | None) -> Standing:
        standing = approvals.of_run(self._app.schedule_store, request, now, opening)
        if standing.answer == "waiting":
            self._app.notices.nudge()  # also where no process serves, whoever is to answer is told
        return standing


class _Fetching:
    """Implements Fetcher; imported with the first calendar that is fetched."""

    def __init__(self, app: Application) -> None:
        self._app = app

    def fetch(self, source: CalendarSource, *, etag: str = "", last_modified: str = "") -> Fetched:
        from mainstay.schedules.calendars.adapters.fetch import WebFetcher

        return WebFetcher(self._app.secrets.resolve).fetch(source, etag=etag, last_modified=last_modified)


def freezes(app: Application, loaded: LoadedSite) -> Freezes:
    """As this site says. Opens the state only where a calendar is fetched."""
    site, specs = loaded.site, loaded.freezes
    fetched = any(source.remote for source in specs.sources)
    shelf = FileShelf(app.stores.directory / "calendars") if fetched else MemoryShelf()
    calendars = Calendars(site.root, ZoneInfo(site.timezone), shelf, _Fetching(app), app.clock.now)
    return Freezes(specs, site, loaded.plans, calendars)
