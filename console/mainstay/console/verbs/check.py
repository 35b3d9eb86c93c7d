"""`mainstay check`: the whole site, every error with file, line, key and a hint."""

from __future__ import annotations

from mainstay.console.screen import Screen
from mainstay.console.verb import verb


@verb(help="Check the whole site. Contacts no host. Errors are exit 2; warnings alone are exit 0.")
def command(screen: Screen) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.render.spans import Span, line
    from mainstay.console.render.times import counted
    from mainstay.inventory.errors import ConfigError
    from mainstay.schedules.check import check_site, place

    loaded, errors, warnings = check_site(bootstrap.site_folder(screen.site_dir))
    if loaded is not None:
        from mainstay.console.outlooking import conflicts_of

        with bootstrap.Application(loaded) as app:
            warnings = sorted([*warnings, *conflicts_of(app)], key=place)
    counts = f"{counted(len(errors), 'error')}, {counted(len(warnings), 'warning')}"
    told = [line(Span("warning  ", "warn"), str(problem)) for problem in warnings]
    found = {"errors": [one.as_json() for one in errors], "warnings": [one.as_json() for one in warnings]}
    if loaded is None:
        first = errors[0].as_json()
        screen.show(
            lambda: {"error": {"kind": ConfigError.kind, **first}, **found},
            lambda: [*(line(str(problem)) for problem in errors), *told, line(counts)],
        )
        return ConfigError.exit_code
    site, plans = loaded.site, loaded.plans
    summary = f"{site.name}: {counted(len(site.hosts), 'host')}, {counted(len(plans), 'plan')}; {counts}"
    data = {"site": site.name, "hosts": len(site.hosts), "groups": list(site.groups), "plans": sorted(plans), **found}
    screen.show(lambda: data, lambda: [*told, line(summary)])
    return 0
