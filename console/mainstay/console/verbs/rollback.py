"""`mainstay rollback`: undo a run. First what can go back and what can't, then the question, then a run like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mainstay.console import completing
from mainstay.console.screen import Screen
from mainstay.console.verb import verb

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application
    from mainstay.console.render.preview import Preview
    from mainstay.runner.state.contract import RunRow

SHOWN = 3
"""Runs that are named where none was."""


@verb(
    help=(
        "Undo RUN: the exact old versions back on its hosts, as carefully as it went forth. Shows its limits and asks "
        "first. Safe to call twice: what has gone back already is left alone."
    )
)
@click.argument("run", required=False, shell_complete=completing.runs)
@click.option("--hosts", "selector", metavar="SELECTOR", help="Only those of the run's hosts that this picks.")
@click.option("--force", is_flag=True, help="Although a later run changed the same packages.")
@click.option("--reason", default="", metavar="TEXT", help="Why; it stands in the record.")
@click.option("--here", is_flag=True, help="Execute it in this process, also where a worker would take it.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would go back, and do nothing.")
def command(
    screen: Screen, run: str | None, selector: str | None, force: bool, reason: str, here: bool, dry_run: bool
) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.forecasting import arranged, ask
    from mainstay.console.render import rollback as render
    from mainstay.recovery.rollback import later_runs, narrowed, rollback_request, way_back

    with bootstrap.load(screen.site_dir) as app:
        row = _named(app, run or "")
        way = way_back(app.tools, row.id, app.clock.now())
        if selector:
            way = narrowed(way, [host.name for host in app.select(selector)])
        request = rollback_request(app.tools, way, app.site.hosts, app.asking(reason=reason), force=force)
        later = later_runs(app.tools, way)
        view = arranged(app, request, ask(app, request), f"undoes run {row.id}")
        lines = render.screen(way, view, later, request, app.zone, screen.columns)
        if dry_run:
            screen.show(lambda: render.to_json(way, view, later), lambda: lines)
            return view.exit_code
        screen.answer(lines)
        if not view.waves:
            return _nothing(screen, view, row.id)
        if not screen.confirm("Go on?"):
            screen.say("Nothing was changed.")
            return 1
        from mainstay.console.verbs._following import run_and_follow

        return run_and_follow(screen, app, request, here=here)


def _named(app: Application, text: str) -> RunRow:
    """The run that is meant. Raises UsageError that names, for a host, a plan or nothing at all, the run to undo."""
    from mainstay.console.render import times
    from mainstay.console.render.record import touched
    from mainstay.inventory.errors import UsageError

    of_host, of_plan = app.site.inventory.host(text), text in app.plans
    if text and not of_host and not of_plan:
        return app.run_row(text)
    numbers = {entry.id: entry.seq for entry, _ in app.history.summaries()}
    found: list[str] = []
    for row in reversed(app.state.runs()):
        parts = app.state.parts(row.id) if row.kind == "patch" and row.id in numbers else ()
        hosts = [part.host for part in parts if touched(part)]
        if not hosts or (of_plan and row.plan != text) or (of_host and text not in hosts):
            continue
        only = f" --hosts {text}" if of_host and len(hosts) > 1 else ""
        moment = times.local(row.started_at, app.zone, short=True)
        found.append(
            f"{row.plan}, {moment}, {times.counted(len(hosts), 'host')}: mainstay rollback {numbers[row.id]}{only}"
        )
        if len(found) == (1 if text else SHOWN):
            break
    kind = "host" if of_host else "plan"
    said = f"{text} is a {kind}; what is undone is a run." if text else "Which run is to be undone?"
    raise UsageError(said, hint=f"The last that changed it: {found[0]}" if text and found else _the_last(found))


def _the_last(found: list[str]) -> str:
    return f"The last that changed something: {'; '.join(found)}" if found else "No patch run has changed it yet."


def _nothing(screen: Screen, view: Preview, run: str) -> int:
    """No host would be touched. Raises Refused, unless that is because all of it is back already."""
    from mainstay.inventory.errors import Refused

    if any(look.forecast is None or look.forecast.refused for look in view.looks):
        raise Refused(f"Nothing of run {run} can be taken back now. Nothing was touched.")
    screen.say(f"All of run {run} is back already. Nothing to do.")
    if screen.json:
        screen.data({"undoes": run, "hosts": []})
    return 0
