"""A site with windows of several sorts, on a day before them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import pytest
from tests.unit.console.fakes import FakeApplication, write_site

from mainstay.console import bootstrap
from mainstay.runner.ports import Clock

SCHEDULES = """\
windows:
  patch-night: {rrule: "FREQ=MONTHLY;BYDAY=2TU", offset_days: 3, start: "02:00", duration: 3h, cutoff: 45m}
  nightly: {rrule: "FREQ=WEEKLY;BYDAY=SU", start: "02:30", end: "03:30"}
  local: {rrule: "FREQ=WEEKLY;BYDAY=MO", start: "03:00", duration: 1h, timezone: host}
freezes:
  - {name: year-end close, dates: 2027-01-15}
plans:
  patch-web: {targets: role=web, window: patch-night, jitter: 30m, missed: next-window}
  patch-db: {targets: role=db, window: nightly}
  patch-far: {targets: all, window: local, soak: 2h}
  by-hand: {targets: all}
"""
HOSTS = """\
hosts:
  web1: {address: 10.9.0.11, tags: {role: web}}
  web2: {address: 10.9.0.12, tags: {role: web}, timezone: Asia/Tokyo}
  db1: {address: 10.9.0.31, tags: {role: db}}
"""
BEFORE = datetime(2026, 12, 10, 12, tzinfo=UTC)
NIGHT = datetime(2026, 12, 11, 1, tzinfo=UTC)


class At(Clock):
    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


class Site(FakeApplication):
    at = BEFORE

    @cached_property
    def clock(self) -> Clock:
        return At(self.at)


def site(root: Path, monkeypatch: pytest.MonkeyPatch, schedules: str = SCHEDULES, at: datetime = BEFORE) -> Site:
    more = {"schedules/web.yml": schedules, "inventory/hosts.yml": HOSTS}
    application = Site(write_site(root / "site", **more))
    application.at = at
    monkeypatch.setattr(bootstrap, "load", lambda given: application)
    monkeypatch.setattr("mainstay.console.forecasting.forecast", application.ask)
    return application
