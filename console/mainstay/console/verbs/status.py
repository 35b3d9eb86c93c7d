"""`mainstay status`: well or not, and why, in one line per host, from the record. Asks no host."""

from __future__ import annotations

import click

from mainstay.console.screen import Screen
from mainstay.console.verb import verb


@verb(
    help="Well or not, and why: each host's newest record, the worst first. A host that was never worked on is unknown. Of many "
    "hosts those that are well are counted (status all lists each)."
)
@click.argument("selector", required=False)
@click.option("--nagios", is_flag=True, help="One line and exit code 0, 1, 2 or 3, as monitoring plugins do.")
def command(screen: Screen, selector: str | None, nagios: bool) -> int:
    from mainstay.console import bootstrap, keeping
    from mainstay.console.acknowledging import looked_at
    from mainstay.console.backups import backups, with_backups
    from mainstay.console.render import hosts as render
    from mainstay.console.render.ledger import lag_in_words, lagging
    from mainstay.console.render.missed import looks, missed_in_words
    from mainstay.console.render.notices import alarm_in_words, undelivered
    from mainstay.console.render.spans import line
    from mainstay.inventory.errors import MainstayError

    try:
        with bootstrap.load(screen.site_dir) as app:
            hosts = app.select(selector)
            found = backups(app, hosts)
            kept = found if found.plans else None
            known = looked_at(with_backups(app, app.known(hosts), found), app.points.acks())
            now = app.clock.now()
            lags = app.ledger.courier.lags()
            zone = app.zone
            alarms = app.notices.alarms()
            unkept = [*keeping.alarms(app), *app.freezes.trouble(now)]
            missed = [missed_in_words(run, summary, zone) for run, summary in app.history.missed(app.plans)]
    except MainstayError as error:
        if not nagios:
            raise
        screen.answer([line(f"MAINSTAY UNKNOWN - {error.message.splitlines()[0]}".replace("|", "/"))])
        return 3
    if nagios:
        late = [lag for lag in lags if lag.late(now)]
        untold = [alarm_in_words(alarm, zone) for alarm in alarms]
        shared = [one for one in found.troubles if not one.host]
        also = [one.text for one in shared if one.health != "wrong"]
        wrong = [one.text for one in shared if one.health == "wrong"]
        warnings = [*(lag_in_words(lag, zone) for lag in late), *missed, *unkept, *also, *untold]
        code, text = render.nagios(known, warnings, kept, wrong)
        data = {"status": render.NAGIOS[code], "text": text, "hosts": [render.status_json(one, kept) for one in known]}
        screen.show(lambda: data, lambda: [line(text)])
        return code
    screen.show(
        lambda: [render.status_json(one, kept) for one in known],
        lambda: render.status(known, now, screen.columns, kept, whole=selector is not None),
    )
    shared_looks = [one.text for one in found.troubles if not one.host]
    screen.answer([*lagging(lags, zone), *looks([*unkept, *missed, *shared_looks]), *undelivered(alarms, zone)])
    return 0
