"""`observe: daily`: the chore that has a look at the hosts of all plans, and what it remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import DEBUG, INFO
from typing import TYPE_CHECKING

from mainstay.console.chores import Chore
from mainstay.inventory.host import Host
from mainstay.runner.forecasting import HostForecast, forecast
from mainstay.runner.log.events import tell
from mainstay.runner.observing import ROUND, Observer, Watched
from mainstay.runner.plan import PatchPlan
from mainstay.runner.request import plan_request

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application


def observing(app: Application) -> Chore:
    """The chore: it asks the site in each round, which may be another one by then, and does nothing where nobody wants it."""

    def work() -> None:
        if app.site.observe is None:
            return
        observer = Observer(
            watched(app),
            lambda plan, hosts, parallel: _look(app, plan, hosts, parallel),
            app.schedule_store,
            app.state,
            app.clock,
            every=app.site.observe,
            holder=app.engine.executor,
        )
        done = observer.round()
        if done.looked:
            level = INFO if done.failed else DEBUG
            tell(level, "hosts observed", hosts=done.looked, failed=done.failed, waiting=done.waiting)

    return Chore("observe", ROUND, work)


def watched(app: Application) -> list[Watched]:
    """Every host of a plan, with the eyes of one: of the plan that asks for an age (its first-seen dates are what ages are
    counted from), otherwise of the first by name."""
    patching = [plan for plan in app.plans.values() if isinstance(plan, PatchPlan)]
    plans = sorted(patching, key=lambda plan: (not plan.updates.min_age, plan.name))
    found: dict[str, Watched] = {}
    for plan in plans:
        for host in app.targets(plan):
            found.setdefault(host.name, Watched(host, plan.name))
    return list(found.values())


def _look(app: Application, plan: str, hosts: Sequence[Host], parallel: int) -> Mapping[str, HostForecast]:
    request = plan_request(app.plans[plan], hosts, app.asking())
    operation = app.operations[request.kind](request)
    return forecast(
        request.hosts, request.careful, operation, app.shells, app.upkeep, app.state, app.clock, parallel=parallel
    )
