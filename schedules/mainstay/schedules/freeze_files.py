"""What `mainstay check` opens of freezes and calendars: their files, and those of their secrets. Nothing is fetched."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from mainstay.inventory.errors import Problem
from mainstay.inventory.secrets import SecretError, check_secret_file, reference_path
from mainstay.inventory.site import Site
from mainstay.schedules.calendars.contract import LARGEST, CalendarFault, CalendarSource
from mainstay.schedules.freeze_entries import FreezeSpecs


def check_freeze_files(site: Site, specs: FreezeSpecs) -> tuple[list[Problem], list[Problem]]:
    """(errors, warnings). Those of a calendar name its own file and line."""
    errors = [problem for source in specs.sources for problem in _secret_files(site, specs, source)]
    warnings: list[Problem] = []
    seen: set[str] = set()
    for source in specs.sources:
        if not source.remote and source.place not in seen:
            seen.add(source.place)
            try:
                warnings += _read(site, source)
            except CalendarFault as fault:
                message = fault.message if fault.hint is None else f"{fault.message}."
                errors.append(Problem(message, file=source.place, line=fault.line, hint=fault.hint))
    return errors, warnings


def _read(site: Site, source: CalendarSource) -> list[Problem]:
    from mainstay.schedules.calendars.events import timetable

    try:
        with (site.root / source.place).open("rb") as handle:
            content = handle.read(LARGEST + 1)
    except OSError as error:
        raise CalendarFault(f"can't be read: {error.strerror}") from None
    remarks = timetable(content, ZoneInfo(site.timezone), datetime.now(UTC)).remarks
    return [Problem(told, file=source.place, line=line) for line, told in remarks]


def _secret_files(site: Site, specs: FreezeSpecs, source: CalendarSource) -> Iterator[Problem]:
    spot = specs.spots[source]
    named = [(source.place, spot.at("ics"))] if source.remote and "://" not in source.place else []
    named += [(reference, spot.at("header", name)) for name, reference in source.header]
    named += [(source.password, spot.at("password"))] if source.password else []
    for reference, at in named:
        path = reference_path(reference, site.root)
        if path is not None:
            try:
                check_secret_file(path, reference)
            except SecretError as error:
                yield at.problem(f"{error.message}.", hint=error.hint)
