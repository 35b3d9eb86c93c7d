"""Freezes and calendars as written in a site's schedules/*.yml, with every problem at its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from mainstay.inventory.addresses import forbidden
from mainstay.inventory.amounts import Duration
from mainstay.inventory.document import Spot
from mainstay.inventory.errors import Problem, WrongValue
from mainstay.inventory.names import address_of, check_name, shown
from mainstay.inventory.references import Reference
from mainstay.inventory.secrets import check_reference, is_reference, plaintext_secrets
from mainstay.inventory.selectors import Selector, SelectorError, parse
from mainstay.inventory.site import Site
from mainstay.inventory.validation import did_you_mean, validate
from mainstay.inventory.value import Value
from mainstay.inventory.zones import TimeZone
from mainstay.schedules.calendars.contract import MAX_AGE, CalendarSource
from mainstay.schedules.windows import TimeOfDay, Window

_HINT = "A freeze is a calendar (freezes.ics), a date (2026-12-24), a span of dates, or a mapping (ics, dates, on, rrule, cron)."
_WHERE = ("max_age", "header", "user", "password")
"""What a calendar at a URL has, and a file has not."""
_RULES = ("on", "rrule", "cron")


def _check_ics(text: str) -> str:
    """A path of the site, an http(s) URL, or a secret's reference to one. Raises ValueError."""
    if text.startswith("file://"):
        hint = "Write the path of a calendar as it is; file:PATH is for one that holds a URL which is a secret."
        raise WrongValue("is no URL to fetch a calendar from.", hint=hint)
    if is_reference(text):
        return check_reference(text)
    if "://" not in text:
        if not text or not text.isprintable():
            raise ValueError("is no path of a calendar")
        return text
    return check_url(text)


def check_url(text: str) -> str:
    """Raises ValueError with the reason, which does not hold what stands behind the host: it may be a secret."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("is no URL") from None
    if "://" not in text:  # a password perhaps, and what stands before its colon would be told
        raise ValueError("is no URL: https://HOST/PATH")
    if parts.scheme not in ("https", "http"):
        raise WrongValue(f"{shown(parts.scheme)} is no way to fetch a calendar.", hint="Write https://…")
    if parts.username is not None or parts.password is not None:
        raise WrongValue("a URL holds no user and no password.", hint="Give them as user: and password: beside it.")
    if not parts.hostname or port == 0 or not re.fullmatch(r"[!-~]+", text):
        raise ValueError("is no URL of a calendar: https://HOST/PATH, with what is not ASCII written as %XX")
    address = address_of(parts.hostname)[0]
    if re.fullmatch(r"[\d.]+|.*:.*", address) and (why := forbidden(address)):
        raise ValueError(f"nothing is fetched from {address}: {why}")
    return text


def _words(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _dates(value: Any) -> str:
    days(str(value))
    return str(value)


def days(text: str) -> tuple[date, date]:
    """`2026-12-24`, or `2026-12-20/2027-01-06` for both days and all between: (first, last). Raises ValueError."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d(/\d{4}-\d\d-\d\d)?", text, re.ASCII):
        raise ValueError(f"{shown(text)} is no date (2026-12-24) and no span of dates (2026-12-20/2027-01-06)")
    try:
        found = [date.fromisoformat(part) for part in text.split("/")]
    except ValueError:
        raise ValueError(f"{shown(text)}: there is no such day") from None
    if not all(1900 <= day.year <= 2199 for day in found):  # the years of calendars, too
        raise WrongValue(f"{shown(text)} is not between the years 1900 and 2199.", hint="For good: on: daily.")
    if found[-1] < found[0]:
        raise ValueError(f"{shown(text)} ends before it begins")
    return found[0], found[-1]


Dates = Annotated[str, BeforeValidator(_dates, json_schema_input_type=str)]
"""A day, or the first and the last of a span."""
_Listed = BeforeValidator(_words, json_schema_input_type=str | list[str])
HeaderName = Annotated[str, AfterValidator(lambda name: _header(name))]


def _header(name: str) -> str:
    """RFC 9110 section 5.6.2; those that the connection itself needs are not the site's."""
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", name):
        raise ValueError(f"{shown(name)} is no name of a header")
    if name.lower() in (
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "upgrade",
        "accept-encoding",
    ):
        raise ValueError(f"the header {name} is not the site's to set")
    return name


class IcsCalendar(Value):
    """A calendar: a file of the site, or a URL with what it takes to fetch it."""

    ics: Annotated[str, AfterValidator(_check_ics)]
    """Path, `https://` URL, or `env:NAME`, `file:PATH`, … of one that is a secret itself."""
    max_age: Annotated[Duration, Field(gt=0)] = MAX_AGE
    """Seconds for which it is believed once it can't be fetched any more."""
    header: dict[HeaderName, Reference] = {}
    user: str | None = None
    password: Reference | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"ics": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _whole(self) -> Self:
        _check_access(self)
        return self


class FreezeEntry(Value):
    """Dates on which nothing may start: exactly one of ics, dates, on, rrule, cron. For everything, or for those of `plans`
    and the hosts of `targets`. Without `start`, a rule means whole days."""

    name: Annotated[str, Field(max_length=120)] = ""
    plans: Annotated[tuple[str, ...], _Listed] | None = None
    targets: str | None = None
    ics: Annotated[str, AfterValidator(_check_ics)] | None = None
    max_age: Annotated[Duration, Field(gt=0)] | None = None
    header: dict[HeaderName, Reference] = {}
    user: str | None = None
    password: Reference | None = None
    dates: Dates | None = None
    on: str | None = None
    rrule: str | None = None
    cron: str | None = None
    start: TimeOfDay | None = None
    end: TimeOfDay | None = None
    duration: Annotated[Duration, WithJsonSchema({"type": "string"})] | None = None
    timezone: TimeZone | None = None
    except_: Annotated[tuple[Dates, ...], _Listed] = Field(default=(), alias="except")
    """Days on which a rule does not hold."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        ways = [word for word in ("ics", "dates", *_RULES) if getattr(self, word) is not None]
        if len(ways) != 1:
            raise ValueError("a freeze is exactly one of ics, dates, on, rrule and cron")
        if self.plans == ():
            raise ValueError("plans is empty: leave it out where all are meant")
        ruled = ways[0] in _RULES
        for word in ("start", "end", "duration", "except_"):
            if getattr(self, word) not in (None, ()) and not ruled:
                raise ValueError(f"{word.rstrip('_')} goes with on, rrule and cron alone")
        if self.timezone is not None and ways == ["ics"]:
            raise ValueError("a calendar says its zones itself: no timezone beside ics")
        if ruled:
            self.window()  # raises what is wrong with it
        _check_access(self)
        return self

    @property
    def whole_days(self) -> bool:
        return (self.on or self.rrule) is not None and self.start is None

    def window(self) -> Window:
        """The rule as a window. Raises ValueError."""
        if self.whole_days:
            if self.end is not None or self.duration is not None:
                raise ValueError("start is missing: the time of day at which it begins")
            return Window(on=self.on, rrule=self.rrule, start="00:00", duration=86400.0, timezone=self.timezone)
        if (self.duration is None) == (self.end is None):
            raise ValueError("a freeze by a rule with a time ends by exactly one of duration and end")
        return Window(
            on=self.on,
            rrule=self.rrule,
            cron=self.cron,
            start=self.start,
            end=self.end,
            duration=self.duration,
            timezone=self.timezone,
        )


def _check_access(entry: IcsCalendar | FreezeEntry) -> None:
    place = entry.ics or ""
    remote = "://" in place or is_reference(place)
    for word in _WHERE:
        if word in entry.model_fields_set and not remote:
            raise ValueError(f"{word} is for a calendar at a URL alone")
    if entry.password is not None and entry.user is None:
        raise ValueError("password without user; a token goes into header: {Authorization: …}")


@dataclass(frozen=True, slots=True)
class FreezeSpec:
    """One freeze. plans None: all; targets None: all hosts. calendar: where the entry is one."""

    name: str
    source: str
    entry: FreezeEntry
    plans: frozenset[str] | None = None
    targets: Selector | None = None
    calendar: CalendarSource | None = None


@dataclass(frozen=True, slots=True)
class FreezeSpecs:
    """All of a site. calendars: by name, those that plans name under `calendar`."""

    freezes: tuple[FreezeSpec, ...] = ()
    calendars: Mapping[str, CalendarSource] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()
    spots: Mapping[CalendarSource, Spot] = field(default_factory=dict)
    """Where each calendar is written."""

    @property
    def sources(self) -> tuple[CalendarSource, ...]:
        """Every calendar, each once."""
        found = [spec.calendar for spec in self.freezes if spec.calendar is not None]
        return tuple(dict.fromkeys([*found, *self.calendars.values()]))


def read_freezes(site: Site, *, match: bool = True) -> tuple[FreezeSpecs, list[Problem]]:
    """The freezes and calendars that are right, and all errors. match: whether targets have to match hosts (not, where the
    inventory itself could not be read whole). Calendars that are files are not opened here."""
    reader = _Reader(site, match)
    for document in site.documents:
        reader.calendars(document.spot("calendars"))
        reader.freezes(document.spot("freezes"))
    flagged = {problem.key for document in site.documents for problem in plaintext_secrets(document.spot())}
    errors = [problem for problem in reader.problems if problem.key not in flagged]  # told by read_plans
    return FreezeSpecs(tuple(reader.found), reader.named, tuple(reader.warnings), reader.spots), errors


def check_calendars(site: Site) -> list[Problem]:
    """Plans that name a calendar which is declared nowhere."""
    declared = {str(name) for document in site.documents for name in _mapping(document.spot("calendars"))}
    problems = []
    for document in site.documents:
        for name in _mapping(document.spot("plans")):
            for one in _listed(document.spot("plans", name, "calendar")):
                if isinstance(one.value, str) and one.value not in declared:
                    hint = did_you_mean(one.value, declared) or "Declare it under calendars:."
                    problems.append(one.problem(f"there is no calendar {shown(one.value)}.", hint=hint))
    return problems


class _Reader:
    def __init__(self, site: Site, match: bool) -> None:
        self._site = site
        self._match = match
        self._plans = {str(name) for document in site.documents for name in _mapping(document.spot("plans"))}
        self._places: dict[str, Spot] = {}
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.named: dict[str, CalendarSource] = {}
        self.found: list[FreezeSpec] = []
        self.spots: dict[CalendarSource, Spot] = {}

    def calendars(self, spot: Spot) -> None:
        if spot.value is not None and not isinstance(spot.value, dict):
            self.problems.append(spot.problem("has to be a mapping: name: {ics: …}"))
        for name in _mapping(spot):
            at = spot.at(name)
            if name in self._places:
                message = f"this calendar is declared twice, first in {self._places[name].source}."
                self.problems.append(at.problem(message, on="key", hint="Keep one of the two."))
                continue
            self._places[name] = at
            try:
                check_name(name, "calendar")
            except ValueError as error:
                self.problems.append(at.problem(str(error), on="key"))
                continue
            data = {"ics": at.value} if isinstance(at.value, str) else at.value
            entry = validate(IcsCalendar, data, at, self.problems)
            if entry is not None and (source := self._source(name, entry, at)):
                self.named[name] = source

    def freezes(self, spot: Spot) -> None:
        if spot.value is None:
            return
        if not isinstance(spot.value, list):
            self.problems.append(spot.problem("has to be a list.", hint=_HINT))
            return
        for index, value in enumerate(spot.value):
            self._freeze(value, spot.at(index))

    def _freeze(self, value: Any, at: Spot) -> None:
        if isinstance(value, str):
            dated = value[:1].isdigit() and not value.endswith(".ics") and "://" not in value
            value = {"dates" if dated else "ics": value}
        elif not isinstance(value, dict):
            self.problems.append(at.problem("is no freeze.", hint=_HINT))
            return
        before = len(self.problems)
        entry = validate(FreezeEntry, value, at, self.problems)
        targets = self._targets(at.at("targets"))
        self._known_plans(at.at("plans"))
        if entry is None or len(self.problems) > before:
            return
        place = "://" in (entry.ics or "") or is_reference(entry.ics or "")
        title = entry.name or entry.dates or entry.on or entry.rrule or entry.cron or ("" if place else entry.ics) or ""
        source = self._source(entry.name or "freezes", entry, at) if entry.ics is not None else None
        if entry.ics is not None and source is None:
            return
        plans = frozenset(entry.plans) if entry.plans is not None else None
        self.found.append(FreezeSpec(title or "freeze", at.source, entry, plans, targets, source))

    def _source(self, name: str, entry: IcsCalendar | FreezeEntry, at: Spot) -> CalendarSource | None:
        place = entry.ics or ""
        where = at.at("ics") if isinstance(at.value, dict) else at
        source = CalendarSource(
            name=name,
            place=place,
            max_age=entry.max_age or MAX_AGE,
            header=tuple(entry.header.items()),
            user=entry.user,
            password=entry.password,
            source=at.source,
        )
        self.spots[source] = at
        if source.remote:
            if place.startswith("http:"):
                message = "is fetched without encryption: whoever is between can add and remove events."
                self.warnings.append(where.problem(message, hint="Use https:// where the server has it."))
        elif not (self._site.root / place).is_file():
            hint = "Paths are relative to the site."
            self.problems.append(where.problem(f"there is no file {shown(place)}.", hint=hint))
            return None
        return source

    def _known_plans(self, spot: Spot) -> None:
        for one in _listed(spot):
            if isinstance(one.value, str) and one.value not in self._plans:
                hint = did_you_mean(one.value, self._plans) or "Plans are declared under plans:."
                self.problems.append(one.problem(f"there is no plan {shown(one.value)}.", hint=hint))

    def _targets(self, at: Spot) -> Selector | None:
        if not isinstance(at.value, str):
            return None
        try:
            selector = parse(at.value)
        except SelectorError as error:
            self.problems.append(at.problem(error.fault, hint=error.hint, offset=(error.column or 1) - 1))
            return None
        if self._match:
            doubts = selector.doubts(self._site.hosts, self._site.groups)
            if any(selector.matches(host) for host in self._site.hosts):
                self.warnings += [at.problem(d.message, hint=d.hint, offset=d.column - 1) for d in doubts]
            else:
                because = f": {doubts[0].message}" if doubts else ""
                hint = next((doubt.hint for doubt in doubts if doubt.hint), "See what there is: mainstay hosts")
                self.problems.append(at.problem(f"matches no host{because}.", hint=hint))
        return selector


def _listed(spot: Spot) -> Iterator[Spot]:
    if isinstance(spot.value, list):
        yield from (spot.at(number) for number in range(len(spot.value)))
    else:
        yield spot


def _mapping(spot: Spot) -> dict[str, Any]:
    return spot.value if isinstance(spot.value, dict) else {}
