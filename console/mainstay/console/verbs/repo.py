"""`mainstay repo`: the repositories of backup plans: make them, keep their keys, see what retention would do, tend them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mainstay.console import completing
from mainstay.console.screen import Screen
from mainstay.console.verb import VerbGroup, with_screen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mainstay.console.bootstrap import Application
    from mainstay.recovery.plan import BackupPlan
    from mainstay.recovery.points.contract import Tending
    from mainstay.runner.request import RunRequest

_plan = click.argument("plan", shell_complete=completing.plans)
_hosts = click.option("--hosts", "selector", metavar="SELECTOR", help="Only those of the plan's hosts that this picks.")
_repository = click.option(
    "--repository", metavar="NAME", help="Only this one of the plan's repositories; otherwise its own and all copies."
)
_dry = click.option("-n", "--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
_here = click.option("--here", is_flag=True, help="Execute it in this process, also where a worker would take it.")


@click.group(
    cls=VerbGroup,
    default="list",
    help="The repositories of backup plans, and what keeps them sound. All of it is recorded.",
)
def command() -> None: ...


@command.command("list", help="Every repository of every backup plan, host by host, as the controller knows it.")
@with_screen
def listed(screen: Screen) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.render import repositories as render
    from mainstay.console.vaults import vaults

    with bootstrap.load(screen.site_dir) as app:
        found, now = vaults(app), app.clock.now()
    screen.show(lambda: render.to_json(found), lambda: render.screen(found, now, screen.columns))
    return 0


def _tended(name: Tending, text: str) -> None:
    @command.command(name if name != "lock" else "unlock", help=text)
    @_plan
    @_hosts
    @_repository
    @_dry
    @_here
    @with_screen
    def verb(screen: Screen, plan: str, selector: str | None, repository: str | None, dry_run: bool, here: bool) -> int:
        return _tend(screen, plan, name, selector, repository, dry_run=dry_run, here=here)


@command.command(
    "init", help="Make the plan's repositories where there are none. One that is there, and opens, is taken as it is."
)
@_plan
@_hosts
@_repository
@_dry
@_here
@click.option(
    "--replace", is_flag=True, help="Also where another one was known: all that it held is known to be gone then."
)
@click.option(
    "--adopt",
    is_flag=True,
    help="Make nothing: take over the points in them that a controller made which is lost. Shown first.",
)
@with_screen
def init(
    screen: Screen,
    plan: str,
    selector: str | None,
    repository: str | None,
    dry_run: bool,
    here: bool,
    replace: bool,
    adopt: bool,
) -> int:
    from mainstay.inventory.errors import UsageError

    if replace and adopt:
        raise UsageError(
            "--replace makes a repository anew, --adopt takes over what is in one; it is the one or the other."
        )
    how = "replace" if replace else "adopt" if adopt else ""
    return _tend(screen, plan, "init", selector, repository, dry_run=dry_run, here=here, how=how)


@command.command("retention", help="Remove the points that the plan's retention lets go; shown first, point by point.")
@_plan
@_hosts
@_repository
@_dry
@_here
@click.option(
    "--before", metavar="TIME", help="Of a plan that is no more, that has no policy: what is from before that."
)
@click.option(
    "--all", "everything", is_flag=True, help="With --before: also the newest good and the newest proved ones."
)
@click.option("--confirm", default="", metavar="PLAN", help="With --before: the exact name of the plan.")
@with_screen
def retention(
    screen: Screen,
    plan: str,
    selector: str | None,
    repository: str | None,
    dry_run: bool,
    here: bool,
    before: str | None,
    everything: bool,
    confirm: str,
) -> int:
    from mainstay.inventory.errors import UsageError

    if before is None:
        if everything or confirm:
            raise UsageError("--all and --confirm are there with --before alone.")
        _still_there(screen, plan)
        return _tend(screen, plan, "retention", selector, repository, dry_run=dry_run, here=here)
    if selector is not None:
        raise UsageError("--before is about all hosts of a plan that is no more; leave --hosts out.")
    if not dry_run and confirm != plan:
        hint = f"-n shows what goes; --confirm={plan} removes it, for good."
        raise UsageError(
            f"--confirm={confirm} is not the name that is meant." if confirm else "What goes is lost.", hint=hint
        )
    return _clear(screen, plan, before, repository, everything=everything, dry_run=dry_run, here=here)


_tended("prune", "Free the space of what retention has removed. Nobody else can write meanwhile.")
_tended("check", "Read the part of the data whose turn it is, and compare it with its hashes.")
_tended("copy", "Bring the points that have no copy yet to where the plan wants them too.")
_tended("lock", "Remove the locks that dead runs of ours left behind; any other lock is named and left.")


def _still_there(screen: Screen, name: str) -> None:
    """Raises UsageError for a plan that is no more, and of which there are points: no policy is theirs."""
    from mainstay.console import bootstrap
    from mainstay.inventory.errors import UsageError

    with bootstrap.load(screen.site_dir) as app:
        if name not in app.plans and any(one.plan == name for one in app.points.newest()):
            hint = f"--before DATE says what of them is to go: mainstay repo retention {name} --before 2026-11-20 -n"
            raise UsageError(
                f"{name} is no plan of the site any more, so that nothing of its points goes by itself.", hint=hint
            )


def _tend(
    screen: Screen,
    name: str,
    what: Tending,
    selector: str | None,
    repository: str | None,
    *,
    dry_run: bool,
    here: bool,
    how: str = "",
) -> int:
    """how: of init, `replace` or `adopt`."""
    from mainstay.console import bootstrap
    from mainstay.console.forecasting import ask
    from mainstay.console.render import repositories as render
    from mainstay.console.tending import by_hand
    from mainstay.console.verbs._following import run_and_follow
    from mainstay.inventory.errors import UsageError
    from mainstay.inventory.validation import one_of

    with bootstrap.load(screen.site_dir) as app:
        plan = _backup(app, name)
        chosen = _places(plan, what, repository)
        if screen.json and len(chosen) > 1:
            raise UsageError(f"--json answers for one repository: {one_of(chosen)}.", hint="Name it: --repository NAME")
        if what == "retention":
            _homeless(screen, app, plan, chosen)
        codes = [0]
        for place in chosen:
            request = by_hand(app, plan, what, place, selector, app.asking())
            if how:
                request = request.model_copy(update={"operation": {**request.operation, how: True}})
            kept = _kept(app, place, request) if what == "init" and how != "adopt" else []
            if dry_run or kept or how == "adopt" or what == "retention":
                found = ask(app, request)
                if dry_run:
                    screen.show(
                        partial(render.preview_json, what, place, found),
                        partial(render.preview, what, place, found, screen.columns, app.zone),
                    )
                    continue
                screen.say(*render.preview(what, place, found, screen.columns, app.zone, dry=False))
                if what == "retention" and not any(render.goes(one) for one in found.values()):
                    screen.say("Nothing is to go, so nothing was done.")
                    if screen.json:
                        screen.data(render.preview_json(what, place, found))
                    continue
            if kept:
                screen.say(
                    f"Points are known in {place} of {', '.join(kept)}. A repository of theirs that is made now is empty:"
                )
                screen.say("if it was there before, find out what became of it first (a disk that is not mounted?).")
            question = _question(how or what, place, len(request.hosts))
            if what in ("retention", "init") and not screen.confirm(question):
                return 1
            codes.append(run_and_follow(screen, app, request, here=here))
        return max(codes)


def _clear(
    screen: Screen, name: str, before: str, repository: str | None, *, everything: bool, dry_run: bool, here: bool
) -> int:
    """Of a plan that is no more."""
    from mainstay.console import bootstrap
    from mainstay.console.clearing import beginning, clearing_requests
    from mainstay.console.forecasting import ask
    from mainstay.console.render import repositories as render
    from mainstay.console.verbs._following import run_and_follow
    from mainstay.inventory.errors import UsageError
    from mainstay.inventory.validation import one_of

    with bootstrap.load(screen.site_dir) as app:
        moment = beginning(before, app.zone)
        requests = clearing_requests(app, name, moment, everything=everything, repository=repository)
        places = {request.operation["repository"]: request for request in requests}
        if screen.json and len(places) > 1:
            raise UsageError(f"--json answers for one repository: {one_of(places)}.", hint="Name it: --repository NAME")
        codes = [0]
        for place, request in places.items():
            found = ask(app, request)
            if dry_run:
                screen.show(
                    partial(render.preview_json, "retention", place, found),
                    partial(render.preview, "retention", place, found, screen.columns, app.zone),
                )
                continue
            screen.say(*render.preview("retention", place, found, screen.columns, app.zone, dry=False))
            codes.append(run_and_follow(screen, app, request, here=here))
        return max(codes)


def _kept(app: Application, place: str, request: RunRequest) -> list[str]:
    """The hosts of which points are known there."""
    hosts = [host.name for host in request.hosts]
    return sorted({one.host for one in app.points.newest(hosts=hosts) if one.repository == place})


def _homeless(screen: Screen, app: Application, plan: BackupPlan, chosen: Sequence[str]) -> None:
    """Say of which plans that are no more there are points: no retention is theirs."""
    from mainstay.console.tending import homeless

    for one in homeless(app, chosen):
        screen.say(f"Points of a plan that is no more: {one.plan}: {one.said}. They stay for ever.")
        screen.say(f"  Where {plan.name} took its place: renamed_from: {one.plan} there; -n then shows what would go.")
        screen.say(f"  Where nothing did: mainstay repo retention {one.plan} --before DATE -n shows what would go.")


def _question(what: str, place: str, count: int) -> str:
    from mainstay.console.render.times import counted

    there = f"{place} for {counted(count, 'host')}"
    if what == "adopt":
        return f"Take these points over from {there}? The controller that made them must not be at work any more."
    return f"Remove these points from {there}?" if what == "retention" else f"Make the repositories of {there}?"


def _backup(app: Application, name: str) -> BackupPlan:
    """Raises UsageError for a plan of another kind."""
    from mainstay.inventory.errors import UsageError
    from mainstay.recovery.plan import BackupPlan

    plan = app.runnable(name)
    if not isinstance(plan, BackupPlan):
        raise UsageError(f"{name} is of the kind {plan.kind}; repositories belong to plans of the kind backup.")
    return plan


def _places(plan: BackupPlan, what: Tending, repository: str | None) -> list[str]:
    """The repositories that are meant. Raises UsageError."""
    from mainstay.inventory.errors import UsageError
    from mainstay.inventory.validation import did_you_mean

    copies = [one.to for one in plan.copies]
    there = copies if what == "copy" else [plan.repository, *copies]
    if repository is None:
        if not there:
            raise UsageError(f"The plan {plan.name} has no copies:, so that there is nothing to copy.")
        return there
    if repository not in there:
        hint = did_you_mean(repository, there) or f"Its repositories: {', '.join(there)}."
        raise UsageError(f"The plan {plan.name} has no repository {repository} to {what}.", hint=hint)
    return [repository]


@command.group(
    "key", cls=VerbGroup, help="The passwords of repositories: without them no backup can be read, by anybody."
)
def key() -> None: ...


@key.command("export", help="Write the passwords of the plan's repositories into FILE (0600), to be kept elsewhere.")
@_plan
@_hosts
@click.option(
    "--to", "path", required=True, metavar="FILE", type=click.Path(path_type=Path), help="It must not be there yet."
)
@with_screen
def export(screen: Screen, plan: str, selector: str | None, path: Path) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.escrow import write
    from mainstay.console.render.times import counted

    with bootstrap.load(screen.site_dir) as app:
        found = _backup(app, plan)
        count = write(app, found, app.targets(found, selector), path)
        inside = path.resolve().is_relative_to(app.site.root.resolve())
    screen.say(f"{counted(count, 'password')} in {path}, readable by you alone. Keep it where this controller can't be")
    screen.say(f"lost with it, read it back from there, and confirm that: mainstay repo key confirm {plan} --from FILE")
    if inside:
        screen.say(f"{path} lies in the site's folder: move it away, and never commit it.")
    if screen.json:
        screen.data({"file": str(path), "passwords": count})
    return 0


@key.command(
    "confirm", help="The exported passwords are kept elsewhere: FILE was read back from there, and opens them."
)
@_plan
@_hosts
@click.option(
    "--from", "path", required=True, metavar="FILE", type=click.Path(path_type=Path), help="As export wrote it."
)
@with_screen
def confirm(screen: Screen, plan: str, selector: str | None, path: Path) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.escrow import confirmed
    from mainstay.console.render.times import counted

    with bootstrap.load(screen.site_dir) as app:
        found = _backup(app, plan)
        done, missing = confirmed(app, found, app.targets(found, selector), path)
    verb = "is" if done == 1 else "are"
    screen.say(f"{counted(done, 'password')} {verb} confirmed." if done else "No password is confirmed.")
    for line in missing:
        screen.say(f"not confirmed: {line}")
    if screen.json:
        screen.data({"confirmed": done, "missing": missing})
    return 1 if missing else 0
