"""What undoing a run can do and what it can't, before anybody says yes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo

from mainstay.console.render import preview, times
from mainstay.console.render.preview import Preview
from mainstay.console.render.spans import Line, Span, line, span
from mainstay.console.render.table import Cell, table
from mainstay.inventory.value import Json
from mainstay.recovery.rollback import WayBack
from mainstay.runner.operation import Forecast
from mainstay.runner.request import RunRequest

ORIGINS = {
    "repository": "from the repository",
    "captured": "captured",
    "rebuilt": "rebuilt from the installed files",
    "none": "new then, to be removed",
}
"""Where an old version is to be had, as the way back was kept."""


def screen(
    way: WayBack,
    view: Preview,
    later: Mapping[str, Sequence[str]],
    request: RunRequest,
    zone: tzinfo,
    columns: int,
) -> list[Line]:
    """later: host → runs that changed it since."""
    forecasts = {look.host: look.forecast for look in view.looks if look.forecast}
    back = sum(one.reversible for one in forecasts.values())
    count = sum(one.count for one in forecasts.values())
    ready = [look for look in view.looks if look.forecast and not look.forecast.refused]
    from_where = _origins(request, forecasts)
    packages = f"{back} of {times.counted(count, 'package')}" + (f" ({from_where})" if from_where else "")
    rows: list[list[Cell]] = [
        ["can go back", f"{len(ready)} of {times.counted(len(view.looks), 'host')}, {packages}"],
    ]
    rows += _cant(view, way)
    rows += [[Span("careful", "warn"), f"{host} was changed since, by {_runs(runs)}"] for host, runs in later.items()]
    rows += [["already", f"{host} went back with run {run}"] for host, run in sorted(way.already.items())]
    rows.append(["services", _services(request)])
    summary = way.summary
    when = f", {times.local(summary.started_at, zone)}" if summary else ""
    total = len(way.hosts) + len(way.already) + len(way.impossible)
    head = f"Undoes run {way.run} ({request.plan}{when}, {times.counted(total, 'host')} changed)"
    waves = " · ".join(str(size) for size in view.waves)
    foot = [line(f"In {times.counted(len(view.waves), 'wave')} ({waves}).")] if view.waves else []
    return [line(head), line(), *table(rows, columns=columns), line(), *foot]


def _origins(request: RunRequest, forecasts: Mapping[str, Forecast]) -> str:
    """Where the old versions come from: `142 from the repository, 18 captured`."""
    counts: dict[str, int] = {}
    for host, undo in request.operation.get("undo", {}).items():
        meant = {name for name, _, _ in forecasts[host].items} if host in forecasts else set()
        for item in undo.get("items", ()):
            if item["name"] in meant:
                counts[item["where"]] = counts.get(item["where"], 0) + 1
    return ", ".join(f"{counts[where]} {words}" for where, words in ORIGINS.items() if where in counts)


def _cant(view: Preview, way: WayBack) -> list[list[Cell]]:
    told: dict[str, list[str]] = {}
    for look in view.looks:
        forecast = look.forecast
        if forecast is None:
            told.setdefault(look.error, []).append(look.host)
            continue
        if forecast.refused:
            told.setdefault(f"would be refused: {forecast.refused}", []).append(look.host)
        for name, why in forecast.irreversible:
            told.setdefault(f"{name}: {why}", []).append(look.host)
        for limit in forecast.limits:
            told.setdefault(limit, []).append(look.host)
    for host, why in way.impossible.items():
        told.setdefault(why, []).append(host)
    everywhere = len(view.looks)
    return [
        [Span("can't", "warn"), span(text if len(hosts) == everywhere > 1 else f"{', '.join(hosts)}: {text}")]
        for text, hosts in told.items()
    ]


def _services(request: RunRequest) -> str:
    what = {
        "affected": "those that use the packages restart on each host",
        "reboot": "each host reboots",
        "none": "none is restarted",
    }[request.careful.restart]
    return f"{what}, one wave at a time"


def _runs(runs: Sequence[str]) -> str:
    return f"run {runs[0]}" if len(runs) == 1 else f"runs {', '.join(runs)}"


def to_json(way: WayBack, view: Preview, later: Mapping[str, Sequence[str]]) -> Json:
    """See docs/reference/cli.md, `rollback -n --json`."""
    return {
        **preview.to_json(view),
        "undoes": way.run,
        "already": dict(way.already),
        "impossible": dict(way.impossible),
        "later_runs": {host: list(runs) for host, runs in later.items()},
    }
