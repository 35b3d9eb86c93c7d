"""Taking hosts over from another state, on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainstay.console.render.spans import Span, span
from mainstay.console.render.table import Cell, table
from mainstay.console.screen import Screen
from mainstay.inventory.errors import MainstayError
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.runner.shell import hostlock
from mainstay.runner.shell.contract import Fence
from mainstay.runner.shell.hostlock import Holding
from mainstay.runner.shell.parallel import for_each

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application

PARALLEL = 10


def adopt_hosts(screen: Screen, selector: str) -> int:
    from mainstay.console import bootstrap

    with bootstrap.load(screen.site_dir) as app:
        hosts, ours = app.select(selector), app.state.id
        held = for_each(hosts, lambda host: _read(app, host), parallel=PARALLEL)
        if not screen.json:
            screen.answer(table([_row(host, held[host.name], ours) for host in hosts], columns=screen.columns))
        wanted = [host for host in hosts if _foreign(held[host.name], ours)]
        done: dict[str, Holding | MainstayError] = {}
        if wanted and screen.confirm(
            f"Take over {len(wanted)} of {len(hosts)} hosts? Work of the other controller stops there."
        ):
            done = for_each(wanted, lambda host: _adopt(app, host), parallel=PARALLEL)
    failed = {name: error for name, error in done.items() if isinstance(error, MainstayError)}
    for error in failed.values():
        screen.say(f"{error.message}. {error.hint or ''}".strip())
    if not screen.json:
        screen.say(f"Took over {len(done) - len(failed)} of {len(hosts)} hosts." if wanted else "Nothing to take over.")
    else:
        screen.data([_json(host, held[host.name], done.get(host.name)) for host in hosts])
    unread = any(isinstance(one, MainstayError) for one in held.values())
    return 1 if unread or failed or len(done) < len(wanted) else 0


def _read(app: Application, host: Host) -> Holding:
    shell = app.shells.open(host, write=False)
    try:
        return hostlock.read(shell)
    finally:
        shell.close()


def _adopt(app: Application, host: Host) -> Holding:
    shell = app.shells.open(host)
    try:
        # The other controller may have counted further than we have: the number has to beat what the host has seen.
        app.state.raise_fence(hostlock.read(shell).fence)
        fence = Fence(number=app.state.next_fence(), state=app.state.id, run="", site=app.site.name)
        return hostlock.adopt(shell, fence)
    finally:
        shell.close()


def _foreign(held: Holding | MainstayError, ours: str) -> bool:
    return isinstance(held, Holding) and bool(held.state) and held.state != ours


def _row(host: Host, held: Holding | MainstayError, ours: str) -> list[Cell]:
    if isinstance(held, MainstayError):
        return [host.name, Span("failed", "bad"), span(getattr(held, "plain", held.message))]
    if not held.state:
        return [host.name, "free", "belongs to nobody yet: its first run claims it"]
    if held.state == ours:
        return [host.name, Span("ours", "good"), f"last run {held.last_run or '–'}"]
    run = f", run {held.lock_run} is at work there" if held.lock_run else ""
    return [host.name, Span("foreign", "warn"), f'site "{held.site}", state {held.state}{run}']


def _json(host: Host, held: Holding | MainstayError, done: Holding | MainstayError | None) -> Json:
    before = (
        {"error": held.message}
        if isinstance(held, MainstayError)
        else {"site": held.site, "state": held.state, "last_run": held.last_run, "lock_run": held.lock_run}
    )
    return {"host": host.name, "before": before, "adopted": isinstance(done, Holding)}
