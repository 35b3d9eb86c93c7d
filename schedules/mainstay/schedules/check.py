"""The whole site at once: settings, inventory, plans, windows, files. What `mainstay check` says, and what a run loads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from mainstay.inventory.document import Spot
from mainstay.inventory.errors import ConfigError, Problem
from mainstay.inventory.notify import unknown_plans
from mainstay.inventory.site import MAIN, Site, check_files, read_site, without_key
from mainstay.recovery.loading import backup_references, check_backups, never_backed_up
from mainstay.recovery.repositories import Repositories, read_repositories
from mainstay.recovery.repository import Repository
from mainstay.runner.plan import Plan
from mainstay.runner.plans import declared_plans, read_plans, unavailable
from mainstay.schedules.doubts import window_doubts
from mainstay.schedules.freeze_entries import FreezeSpecs, check_calendars, read_freezes
from mainstay.schedules.freeze_files import check_freeze_files
from mainstay.schedules.kinds import kinds
from mainstay.schedules.windows import Window, check_plans, declared_windows, read_windows


@dataclass(frozen=True, slots=True)
class LoadedSite:
    """plans and windows by name."""

    site: Site
    plans: Mapping[str, Plan]
    windows: Mapping[str, Window]
    warnings: tuple[Problem, ...] = ()
    freezes: FreezeSpecs = field(default_factory=FreezeSpecs)
    """As they are written, and the calendars that plans name; `freezes.Freezes` answers."""
    declared: Repositories = field(default_factory=Repositories)

    @property
    def repositories(self) -> Mapping[str, Repository]:
        """By name."""
        return self.declared.good

    @property
    def references(self) -> Iterator[tuple[str, Spot]]:
        """Every secret that backups need, and where it is written; those of the rest are the site's own."""
        return backup_references(self.site, self.plans, self.declared)


def check_site(
    directory: Path, *, now: datetime | None = None
) -> tuple[LoadedSite | None, list[Problem], list[Problem]]:
    """(the site, errors, warnings), both sorted by file and line. The site is None where there is any error.

    Stricter than `load_checked`: what a plan asks for and mainstay can't do yet is an error, and so are hosts that its gate
    would refuse every time, and a key file that can't be used. now: for what is looked at in the coming years.
    """
    loaded, errors, warnings = _read(directory)
    if loaded is not None:
        errors += [problem for plan in loaded.plans.values() for problem in unavailable(plan, loaded.site)]
        errors += never_backed_up(loaded.site, loaded.plans)
        errors += check_files(loaded.site, loaded.references)
        calendar_errors, calendar_warnings = check_freeze_files(loaded.site, loaded.freezes)
        errors += calendar_errors
        warnings += calendar_warnings
        warnings += without_key(loaded.site)
        warnings += window_doubts(loaded.site, loaded.windows, now or datetime.now(UTC))
    return (None if errors else loaded), sorted(errors, key=place), sorted(warnings, key=place)


def load_checked(directory: Path) -> LoadedSite:
    """The site for a verb that works with it. Raises ConfigError with all problems.

    A plan that can't be run yet doesn't keep others from running: ask `unavailable(plan, site)` before one is run.
    """
    loaded, errors, _ = _read(directory)
    if errors or loaded is None:
        raise ConfigError(sorted(errors, key=place))
    return loaded


def _read(directory: Path) -> tuple[LoadedSite | None, list[Problem], list[Problem]]:
    site, errors = read_site(directory)
    if site is None:
        return None, errors, []
    whole = not errors
    repositories, repository_errors = read_repositories(site)
    plans, plan_errors, warnings = read_plans(site, kinds(repositories), match=whole)
    windows, window_errors = read_windows(site)
    freezes, freeze_errors = read_freezes(site, match=whole)
    errors = [*errors, *repository_errors, *plan_errors, *window_errors, *check_plans(site, windows), *freeze_errors]
    errors += check_calendars(site)
    if site.notify_at is not None:
        errors += unknown_plans(site.notify, site.notify_at, declared_plans(site))
    if whole:
        # a host that could not be read would seem to have no backup
        backup_errors, backup_warnings = check_backups(site, plans, repositories, declared_windows(site, windows))
        errors += backup_errors
        warnings += backup_warnings
    warnings = [*site.warnings, *warnings, *freezes.warnings]
    return LoadedSite(site, plans, windows, tuple(warnings), freezes, repositories), errors, warnings


def place(problem: Problem) -> tuple[bool, str, int, int]:
    return problem.file != MAIN, problem.file or "", problem.line or 0, problem.column or 0
