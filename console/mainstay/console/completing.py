"""What a shell offers for a plan, a host or a run. Says nothing where the site can't be read: completion is no place for errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from mainstay.console.render.times import rfc3339
from mainstay.console.verb import screen_of

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _offering(names: Callable[[Application], Iterable[str]]) -> Complete:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            from mainstay.console import bootstrap

            with bootstrap.load(screen_of(ctx).site_dir) as app:
                return sorted(name for name in names(app) if name.startswith(incomplete))
        except Exception:  # whatever is wrong will be said when the command is run
            return []

    return complete


plans = _offering(lambda app: app.plans)
hosts = _offering(lambda app: [host.name for host in app.site.hosts])
plans_and_hosts = _offering(lambda app: [*app.plans, *app.site.groups, *(host.name for host in app.site.hosts)])
runs_in_flight = _offering(lambda app: [row.id for row in app.state.runs(in_flight=True)])
runs = _offering(lambda app: [row.id for row in app.state.runs()])
waiting = _offering(lambda app: [one.run for one in app.schedule_store.approvals(open_at=rfc3339(app.clock.now()))])
"""Runs, there or to come, that somebody is to approve."""
