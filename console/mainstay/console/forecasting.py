"""From a plan and its hosts to what `preview`, `run -n` and `why` show."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from mainstay.console.interruptible import interruptible
from mainstay.console.render.look import Look
from mainstay.console.render.opening import When
from mainstay.console.render.preview import Preview
from mainstay.inventory.host import Host
from mainstay.inventory.selectors import parse
from mainstay.recovery.required import Backing, backings, required_of
from mainstay.runner.budget import worst_case
from mainstay.runner.forecasting import HostForecast, forecast, workable
from mainstay.runner.places import limits_in_words, spread_over
from mainstay.runner.plan import Carefulness, Plan
from mainstay.runner.request import RunRequest, plan_request
from mainstay.runner.waves import arrange, behind, natural

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application

PARALLEL = 20


def ask(app: Application, request: RunRequest) -> dict[str, HostForecast]:
    """Read every host of the request, in parallel."""
    work = partial(
        forecast,
        request.hosts,
        request.careful,
        app.operations[request.kind](request),
        app.shells,
        app.upkeep,
        app.state,
        app.clock,
        parallel=max(PARALLEL, request.careful.parallel),
    )
    return interruptible(work)


def preview_plan(app: Application, plan: Plan, hosts: Sequence[Host]) -> Preview:
    request = plan_request(plan, hosts, app.asking())
    return arranged(app, request, ask(app, request), plan.title, when_of(app, plan))


def when_of(app: Application, plan: Plan) -> When | None:
    """When it may start next; None for a plan that starts by hand, at any time."""
    if not plan.window:
        return None
    from mainstay.console.outlooking import next_of

    coming, held = next_of(app, plan)
    return When(", ".join(plan.window), app.clock.now(), coming, held)


def arranged(
    app: Application, request: RunRequest, found: dict[str, HostForecast], title: str, when: When | None = None
) -> Preview:
    """Lay the forecasts out in waves, as the run would."""
    careful: Carefulness = request.careful
    matches = lambda selector, host: parse(selector).matches(host)  # noqa: E731 - one use
    backing = backed(app, request)
    first = behind(request.hosts, request.first, [name for name, one in backing.items() if one.unmet])
    waves = arrange(workable(found), careful.waves, matches, request.hosts, spread_over(request), first)
    wave_of = {name: wave.number for wave in waves for name in wave.hosts}
    sizes = [len(wave.hosts) for wave in waves]
    downloads = [one.forecast.download_bytes or 0 for one in found.values() if one.forecast]
    return Preview(
        plan=request.plan,
        title=title,
        looks=[_look(found[name], wave_of.get(name), backing.get(name)) for name in sorted(found, key=natural)],
        waves=sizes,
        budget=careful.budget.of(sum(sizes)),
        parallel=careful.parallel,
        worst=worst_case(careful, sizes),
        when=when,
        estimate=app.history.estimate(request.plan, waves, careful.parallel)
        if request.kind in ("patch", "backup")
        else None,
        download=sum(downloads) or None,
        software=app.operations[request.kind](request).software,
        limits=limits_in_words(request),
    )


def backed(app: Application, request: RunRequest) -> dict[str, Backing]:
    """How its hosts stand to the backup that it requires now; empty where it requires none."""
    required = required_of(request)
    return backings(required, request.hosts, app.points, app.plans.values(), app.clock.now()) if required else {}


def _look(one: HostForecast, wave: int | None, backing: Backing | None) -> Look:
    return Look(
        host=one.host.name,
        forecast=one.forecast,
        error="" if one.forecast else one.error or "nothing can be said",
        unreachable=one.unreachable,
        wave=wave,
        cohort=one.facts.cohort if one.facts else "",
        asked=one.facts is not None,
        backing=backing,
    )
