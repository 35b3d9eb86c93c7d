"""Backup plans of a site: what needs more than the plan itself to be told right from wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from mainstay.inventory.document import Spot
from mainstay.inventory.errors import Problem
from mainstay.inventory.host import Host
from mainstay.inventory.names import shown
from mainstay.inventory.secrets import check_reference
from mainstay.inventory.selectors import SelectorError, parse
from mainstay.inventory.site import Site
from mainstay.inventory.validation import did_you_mean
from mainstay.recovery.plan import BackupPlan, Source
from mainstay.recovery.repositories import Repositories, named, readable, references
from mainstay.recovery.repository import HOST, Repository
from mainstay.runner.plan import BackupRequired, PatchPlan, Plan
from mainstay.runner.plans import PlanKind, declared_plans, plan_spot

_DATABASES = ("postgresql", "mysql", "sqlite")
Plans = Mapping[str, Plan]


def backup_kind(repositories: Repositories) -> PlanKind:
    """How plans of the kind `backup` are loaded in a site with these repositories."""

    def complete(plan: BackupPlan, spot: Spot, site: Site, errors: list[Problem], warnings: list[Problem]) -> Any:
        used, faults = _used(plan, spot, repositories)
        errors += faults
        errors += _proving(plan, spot, site)
        warnings += [*_twice(plan, spot), *_never_removed(plan, spot), *_trusted(plan, spot, site)]
        written = tuple(plan.sources)
        order = () if list(written) == sorted(written) else written
        whole = plan.model_copy(update={"repositories": used, "order": order})
        errors += _eats_itself(whole, spot, site)
        errors += _pushed_out(whole, spot)
        return whole

    return PlanKind(BackupPlan, complete=complete, filled=frozenset({"repositories", "order"}))


def check_backups(
    site: Site, plans: Plans, repositories: Repositories, windows: Collection[str]
) -> tuple[list[Problem], list[Problem]]:
    """(errors, warnings) of all backup plans together, and of what patch plans require of them. windows: the names of those
    that are declared."""
    backups = [plan for plan in plans.values() if isinstance(plan, BackupPlan)]
    users = users_of(site, backups)
    errors = [*_sharing(users, repositories), *_passwords(users, repositories), *_windows(site, backups, windows)]
    errors += [*_named(site, plans), *_renamed(site, backups)]
    doubts = [*_unguarded(users, repositories), *_reused(users, repositories), *_never_proved(site, plans)]
    return errors, doubts


def backup_references(site: Site, plans: Plans, repositories: Repositories) -> Iterator[tuple[str, Spot]]:
    """Every secret that the site's backups need, and where it is written."""
    users = users_of(site, [plan for plan in plans.values() if isinstance(plan, BackupPlan)])
    for name, hosts in users.items():
        yield from references(repositories.good[name], repositories.places[name], hosts)


def users_of(site: Site, plans: Sequence[BackupPlan]) -> dict[str, set[str]]:
    """Repository → hosts that have backups there, be they copies."""
    users: dict[str, set[str]] = {}
    for plan in plans:
        hosts = {host.name for host in targets(plan, site)}
        for name in plan.repositories:
            users.setdefault(name, set()).update(hosts)
    return users


def targets(plan: Plan, site: Site) -> list[Host]:
    """The plan's hosts; none where its selector is wrong, which is told elsewhere."""
    try:
        selector = parse(plan.targets)
    except SelectorError:
        return []
    return [host for host in site.hosts if selector.matches(host)]


# One plan


def _used(plan: BackupPlan, spot: Spot, known: Repositories) -> tuple[dict[str, Repository], list[Problem]]:
    """What it uses of what is declared and right, its own repository first."""
    problems: list[Problem] = []
    seen: dict[str, Repository] = {}
    asked: set[str] = set()
    for name, at in ((plan.repository, spot.at("repository")), *_copies(plan, spot)):
        if name in asked:
            what = "is where the hosts write to already" if name == plan.repository else "is named twice"
            problems.append(at.problem(f"{what}: that is no further copy.", hint="Name another repository."))
        elif name not in known.places:
            hint = did_you_mean(name, known.places) or "Declare it under repositories: in recovery/*.yml."
            problems.append(at.problem(f"there is no repository {shown(name)}.", hint=hint))
        elif name in known.good:
            seen[name] = known.good[name]
        asked.add(name)
    return seen, problems


def _copies(plan: BackupPlan, spot: Spot) -> Iterator[tuple[str, Spot]]:
    written = spot.at("copies").value
    for number, copy in enumerate(plan.copies):
        at = spot.at("copies", number) if isinstance(written, list) else spot.at("copies")
        yield copy.to, at if isinstance(at.value, str) else at.at("to")


def _proving(plan: BackupPlan, spot: Spot, site: Site) -> Iterator[Problem]:
    if plan.prove is None:
        return
    machines = ("controller", "host", *sorted(host.name for host in site.hosts))
    if plan.prove.on not in machines:
        hint = did_you_mean(plan.prove.on, machines)
        message = f"there is no host {shown(plan.prove.on)} that could restore."
        yield spot.at("prove", "on").problem(
            message, hint=hint or "Write controller, host (each its own) or a host's name."
        )
    checks = spot.at("prove", "check")
    for number, assertion in enumerate(plan.prove.check):
        at = checks.at(number) if isinstance(checks.value, list) else checks
        source = plan.sources[assertion.source]
        if source.kind not in _DATABASES:
            message = f"{assertion.source} is no database ({source.kind}), and can't be asked anything."
            yield at.at("source").problem(message, hint="Name a source with postgresql, mysql or sqlite.")
            continue
        names = _databases(source)
        if names and assertion.database not in names:
            hint = did_you_mean(assertion.database, names) or f"It backs up {', '.join(names)}."
            message = f"{assertion.source} holds no database {shown(assertion.database)}."
            yield at.at("database").problem(message, hint=hint)


def _trusted(plan: BackupPlan, spot: Spot, site: Site) -> Iterator[Problem]:
    """Who can read whom by a drill."""
    on = plan.prove.on if plan.prove else "controller"
    others = {host.name for host in targets(plan, site)} - {on}
    if on not in ("controller", "host") and others:
        words = f"{on} is given the password of the repository of {named(others)} for the time of each drill"
        hint = f"Whoever gets into {on} could read what they keep: guard it as the most precious of them."
        yield spot.at("prove", "on").problem(f"{words}.", hint=hint)


def _databases(source: Source) -> tuple[str, ...]:
    """Those that are named; none where all are taken."""
    for one in (source.postgresql, source.mysql):
        if one is not None:
            return () if one.databases == "all" else one.databases
    return source.sqlite


def _twice(plan: BackupPlan, spot: Spot) -> Iterator[Problem]:
    first: dict[PurePosixPath, str] = {}
    for name, source in plan.sources.items():
        for word in ("paths", "sqlite"):
            written = spot.at("sources", name, word)
            for number, path in enumerate(getattr(source, word)):
                other = first.setdefault(PurePosixPath(path), f"{name}.{word}.{number}").partition(".")[0]
                if first[PurePosixPath(path)] == f"{name}.{word}.{number}":
                    continue
                at = written.at(number) if isinstance(written.value, list) else written
                where = "this source" if other == name else f"the source {other}"
                yield at.problem(f"{shown(path)} is in {where} already.", hint="Take it out of one of them.")


def _eats_itself(plan: BackupPlan, spot: Spot, site: Site) -> Iterator[Problem]:
    """A folder on the controller that is backed up into itself grows with every night."""
    folders = [one for one in plan.repositories.values() if one.kind == "path"]
    if not folders or not any(host.controller for host in targets(plan, site)):
        return
    for name, source in plan.sources.items():
        written = spot.at("sources", name, "paths")
        for number, path in enumerate(source.paths):
            for repository in folders:
                place = repository.url.partition(HOST)[0].rstrip("/") if HOST in repository.url else repository.url
                if not _within(place, path) or any(_within(place, pattern) for pattern in source.exclude):
                    continue
                at = written.at(number) if isinstance(written.value, list) else written
                message = f"{shown(path)} holds the repository {repository.name} itself, and the controller is one of the hosts."
                yield at.problem(message, hint=f"Leave it out: exclude: [{place}]")


def _within(path: str, folder: str) -> bool:
    return folder.startswith("/") and PurePosixPath(path).is_relative_to(PurePosixPath(folder))


def _pushed_out(plan: BackupPlan, spot: Spot) -> Iterator[Problem]:
    """restic's documentation, 060_forget.rst: in an append-only repository only --keep-within is safe. What goes through the
    controller is another matter: what counts there is when mainstay's own runs made the points."""
    if plan.retention is None or not plan.retention.counting:
        return
    kept = {plan.repository, *(copying.to for copying in plan.copies if copying.keep == "same")}
    names = sorted(name for name in kept if name in plan.repositories and plan.repositories[name].append_only)
    if names:
        rules = ", ".join(plan.retention.counting)
        yield spot.at("retention").problem(
            f"{rules} counts points, and {named(names)} is append-only: a host that was broken into could add points with "
            "other dates and so push the good ones out.",
            on="key",
            hint="Write retention: {within: 90d}.",
        )


def _never_removed(plan: BackupPlan, spot: Spot) -> Iterator[Problem]:
    if plan.retention is not None and plan.prove is None and plan.keep_proved:
        message = "never removes anything: nothing goes before a restore has proved a point of it, and prove: is null."
        yield spot.at("retention").problem(
            message, on="key", hint="Let the plan prove its points, or say keep_proved: 0."
        )


# All plans together


def _sharing(users: Mapping[str, set[str]], known: Repositories) -> Iterator[Problem]:
    for name, hosts in users.items():
        repository, spot = known.good[name], known.places[name]
        words = readable(repository, hosts)
        if words and not repository.shared:
            at = spot.at("password" if HOST in repository.url else "url")
            hint = f"Write {HOST} into url and password, or accept it with shared: accepted."
            yield at.problem(f"{words}.", hint=hint)


def _passwords(users: Mapping[str, set[str]], known: Repositories) -> Iterator[Problem]:
    """A password that hosts have in common over two repositories, and references that a host's name makes wrong."""
    holders: dict[str, dict[str, str]] = {}
    for name, hosts in users.items():
        repository, at = known.good[name], known.places[name].at("password")
        for host in sorted(hosts):
            reference = repository.password.replace(HOST, host)
            try:
                check_reference(reference)
            except ValueError as error:
                yield at.problem(f"for {host}: {error}")
                break
            others = holders.setdefault(reference, {})
            other = next((one for one, where in others.items() if one != host and where != name), None)
            if other is not None and not repository.shared:
                message = f"is the password of {others[other]} too: {host} and {other} could read what the other keeps."
                yield at.problem(message, hint=f"Give each its own ({HOST}), or accept it with shared: accepted.")
                break
            others.setdefault(host, name)


def _reused(users: Mapping[str, set[str]], known: Repositories) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for name in users:
        reference = known.good[name].password
        other = first.setdefault(reference, name)
        if other != name:
            hint = (
                "Give it one of its own: a password that is lost or stolen then takes one repository with it, not both."
            )
            yield known.places[name].at("password").problem(f"is the password of {other} too.", hint=hint)


def _unguarded(users: Mapping[str, set[str]], known: Repositories) -> Iterator[Problem]:
    for name in users:
        if not known.good[name].guarded:
            yield known.places[name].problem(
                "a host that was broken into could remove its backups there.",
                on="key",
                hint="Go through the controller (via: controller), or, where the server lets write: add and nothing more, say "
                "append_only: true.",
            )


def _windows(site: Site, plans: Sequence[BackupPlan], windows: Collection[str]) -> Iterator[Problem]:
    for plan in plans:
        spot = plan_spot(site, plan.name)
        for number, copy in enumerate(plan.copies):
            if spot is None or copy.window is None or copy.window in windows:
                continue
            at = spot.at("copies", number) if isinstance(spot.at("copies").value, list) else spot.at("copies")
            hint = did_you_mean(copy.window, windows) or "Declare it under windows:."
            yield at.at("window").problem(f"there is no window {shown(copy.window)}.", hint=hint)


def _required(site: Site, plans: Plans) -> Iterator[tuple[PatchPlan, BackupRequired, Spot]]:
    """Patch plans that require backups, what they do, and where it is written."""
    for plan in plans.values():
        wanted = plan.requires.backup if isinstance(plan, PatchPlan) and plan.requires else None
        spot = plan_spot(site, plan.name)
        if isinstance(plan, PatchPlan) and wanted is not None and spot is not None:
            yield plan, wanted, spot.at("requires", "backup")


def _named(site: Site, plans: Plans) -> Iterator[Problem]:
    backups = {name for name, plan in plans.items() if isinstance(plan, BackupPlan)}
    declared = declared_plans(site)
    for _, wanted, at in _required(site, plans):
        name = wanted.plan
        if name is None or name in backups or (name in declared and name not in plans):
            continue  # one that is wrong elsewhere has been told already
        what = "no plan of the kind backup" if name in plans else "no plan"
        hint = did_you_mean(name, backups) or "Name a plan of the kind backup."
        yield at.at("plan").problem(f"there is {what} {shown(name)}.", hint=hint)


def _renamed(site: Site, backups: Sequence[BackupPlan]) -> Iterator[Problem]:
    """A name can be that of one plan's points alone."""
    declared, first = declared_plans(site), dict[str, str]()
    for plan in backups:
        spot = plan_spot(site, plan.name)
        for old in plan.renamed_from if spot is not None else ():
            assert spot is not None
            at, other = spot.at("renamed_from"), first.setdefault(old, plan.name)
            if old in declared:
                what = "its name now" if old == plan.name else "a plan of the site still"
                yield at.problem(f"{shown(old)} is {what}: its points are its own.", hint="Name one that is no more.")
            elif other != plan.name:
                yield at.problem(f"the points of {shown(old)} are those of {other} already.", hint="Keep one of them.")


def renames(plans: Iterable[Plan]) -> dict[str, str]:
    """Old name of a backup plan → the one it has now."""
    return {old: plan.name for plan in plans if isinstance(plan, BackupPlan) for old in plan.renamed_from}


def _never_proved(site: Site, plans: Plans) -> Iterator[Problem]:
    for plan, wanted, at in _required(site, plans):
        hosts = {host.name for host in targets(plan, site)}
        never = [one.name for one in _counted(wanted, plans) if one.prove is None]
        never = [name for name in never if hosts & {host.name for host in targets(plans[name], site)}]
        if wanted.proved_within is not None and never:
            message = f"asks for a proof, and {named(never)} has prove: null: nothing of it is ever proved."
            yield at.at("proved_within").problem(message, on="key", hint="Let the backup plan prove its points.")


def _counted(wanted: BackupRequired, plans: Plans) -> list[BackupPlan]:
    return [one for one in plans.values() if isinstance(one, BackupPlan) and wanted.plan in (None, one.name)]


def never_backed_up(site: Site, plans: Plans) -> Iterator[Problem]:
    """Hosts of patch plans whose required backup no plan makes: the gate would refuse them every time."""
    if declared_plans(site) - set(plans):
        return  # the plan that backs them up may be one of those that are wrong
    for plan, wanted, at in _required(site, plans):
        counted = _counted(wanted, plans)
        bare = {host.name for host in targets(plan, site)}
        bare -= {host.name for one in counted for host in targets(one, site)}
        if not bare or (wanted.plan and not counted):
            continue
        by = f"{wanted.plan} does not back up" if wanted.plan else "no plan backs up"
        they = "it" if len(bare) == 1 else "they"
        them = "it" if len(bare) == 1 else "them"
        message = f"{by} {named(bare)}: patched {they} would never be."
        hint = f"Add {them} to the targets of a backup plan, or take {them} out of this plan."
        yield (at.at("plan") if wanted.plan else at).problem(message, hint=hint, on="key")
