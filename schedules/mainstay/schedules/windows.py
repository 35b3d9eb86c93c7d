"""Windows: when work may start, as written in a site's schedules/*.yml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time, timedelta
from functools import lru_cache
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mainstay.inventory.amounts import Duration
from mainstay.inventory.document import Spot
from mainstay.inventory.errors import ConfigError, Problem, WrongValue
from mainstay.inventory.names import check_name, shown
from mainstay.inventory.site import Site
from mainstay.inventory.validation import did_you_mean, validate
from mainstay.inventory.value import Value
from mainstay.inventory.zones import check_timezone
from mainstay.schedules.remarks import spoken
from mainstay.schedules.rules.cron import check_cron, cron_starts
from mainstay.schedules.rules.days import LocalStarts
from mainstay.schedules.rules.rrule import check_rrule, recurrence
from mainstay.schedules.rules.words import check_words, read_words

LONGEST = 7 * 86400.0
HOST = "host"
"""As a window's timezone: each host's own."""


def _time(text: Any) -> str:
    found = re.fullmatch(r"(\d{1,2}):(\d{2})", str(text), re.ASCII)
    if not found or int(found[1]) > 23 or int(found[2]) > 59:
        raise ValueError(f"{shown(text)} is no time of day (00:00 to 23:59)")
    return f"{int(found[1]):02}:{found[2]}"


TimeOfDay = Annotated[str, BeforeValidator(_time, json_schema_input_type=str)]
"""Local wall time, `HH:MM`."""


def _zone(name: str) -> str:
    return name if name == HOST else check_timezone(name)


WindowZone = Annotated[str, AfterValidator(_zone)]
"""A name of the IANA time zone database, or `host`: each host's own."""


def _minutes(time: str) -> int:
    return int(time[:2]) * 60 + int(time[3:])


class Window(Value):
    """When work may start: on the days that `on` (in words) or `rrule` says, plus `offset_days`, at `start`; or at the
    moments of `cron`. All in local time.

    It is open for `duration` seconds of real time, or until the clock on the wall shows `end`; an `end` before `start` is on
    the next day. Nothing starts in its last `cutoff` seconds. timezone: the site's where it is not given.
    """

    name: str = ""
    on: Annotated[str, AfterValidator(check_words)] | None = None
    rrule: Annotated[str, AfterValidator(check_rrule)] | None = None
    cron: Annotated[str, AfterValidator(check_cron)] | None = None
    offset_days: int = Field(default=0, ge=-366, le=366)
    start: TimeOfDay | None = None
    end: TimeOfDay | None = None
    duration: Annotated[Duration, Field(gt=0, le=LONGEST)] | None = None
    cutoff: Annotated[Duration, Field(ge=0)] = 0.0
    timezone: WindowZone | None = None
    source: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if sum(way is not None for way in (self.on, self.rrule, self.cron)) != 1:
            raise ValueError("a window opens by exactly one of on, rrule and cron")
        if self.cron is not None and (self.start is not None or self.end is not None or self.offset_days):
            raise ValueError("cron says the time itself: no start, end or offset_days beside it")
        if self.cron is None and self.start is None:
            raise ValueError("start is missing: the time of day at which it opens")
        if (self.duration is None) == (self.end is None):
            raise ValueError("a window ends by exactly one of duration and end")
        if self.end is not None and self.end == self.start:
            raise ValueError("end is the same as start: say how long with duration (24h)")
        if self.cutoff >= self.length:
            raise ValueError("cutoff is not shorter than the window: nothing could ever start")
        if close := self.starts.closer_than(timedelta(seconds=self.length)):
            apart, length = spoken(close[1] - close[0]), spoken(timedelta(seconds=self.length))
            hint = "Make it shorter, or let it open less often."
            raise WrongValue(f"overlaps itself: it opens again after {apart}, and is open for {length}.", hint=hint)
        return self

    @property
    def length(self) -> float:
        """Seconds that it is open, by the clock on the wall where `end` is given."""
        if self.duration is not None:
            return self.duration
        assert self.start is not None
        assert self.end is not None
        return (_minutes(self.end) - _minutes(self.start)) % 1440 * 60.0

    @property
    def starts(self) -> LocalStarts:
        """When it opens, in local time."""
        return _starts(self.on, self.rrule, self.cron, self.offset_days, self.start)


@lru_cache(maxsize=4096)
def _starts(on: str | None, rrule: str | None, cron: str | None, offset: int, start: str | None) -> LocalStarts:
    if cron is not None:
        return cron_starts(cron)
    if on is not None:
        rrule, more = read_words(on)
        offset += more
    assert rrule is not None
    assert start is not None
    return LocalStarts(recurrence(rrule), (time.fromisoformat(start),), offset)


def load_windows(site: Site) -> dict[str, Window]:
    """name → window. Raises ConfigError with all problems."""
    windows, problems = read_windows(site)
    if problems:
        raise ConfigError(problems)
    return windows


def read_windows(site: Site) -> tuple[dict[str, Window], list[Problem]]:
    windows: dict[str, Window] = {}
    problems: list[Problem] = []
    places: dict[str, Spot] = {}
    for document in site.documents:
        spot = document.spot("windows")
        if spot.value is not None and not isinstance(spot.value, dict):
            problems.append(spot.problem("has to be a mapping: name: {…}"))
        for name in _mapping(spot):
            at = spot.at(name)
            if name in places:
                message = f"this window is declared twice, first in {places[name].source}."
                problems.append(at.problem(message, on="key", hint="Keep one of the two."))
                continue
            places[name] = at
            try:
                check_name(name, "window")
            except ValueError as error:
                problems.append(at.problem(str(error), on="key"))
                continue
            window = validate(Window, at.value, at, problems, own=frozenset({"name", "source"}))
            if window is not None:
                windows[name] = window.model_copy(update={"name": name, "source": at.source})
    return windows, problems


def check_plans(site: Site, windows: Mapping[str, Window]) -> list[Problem]:
    """Plans that name a window which is declared nowhere. Looks at what is written, so also at plans that are wrong
    elsewhere; a window that is declared and wrong has been told already."""
    declared = declared_windows(site, windows)
    problems = []
    for document in site.documents:
        for name in _mapping(document.spot("plans")):
            at = document.spot("plans", name, "window")
            listed = [at.at(number) for number in range(len(at.value))] if isinstance(at.value, list) else [at]
            for one in listed:
                if isinstance(one.value, str) and one.value not in declared:
                    hint = did_you_mean(one.value, declared) or "Declare it under windows:."
                    problems.append(one.problem(f"there is no window {shown(one.value)}.", hint=hint))
    return problems


def declared_windows(site: Site, windows: Mapping[str, Window]) -> set[str]:
    """Names of all windows, also of those that are wrong."""
    return {str(name) for document in site.documents for name in _mapping(document.spot("windows"))} | set(windows)


def _mapping(spot: Spot) -> dict[str, Any]:
    return spot.value if isinstance(spot.value, dict) else {}
