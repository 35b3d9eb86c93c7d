"""`mainstay records`: what was done, sealed; and whether anybody has changed it since."""

from __future__ import annotations

import click

from mainstay.console import completing
from mainstay.console.screen import Screen
from mainstay.console.verb import VerbGroup, with_screen


@click.group(cls=VerbGroup, default="list", help="Maintenance records. Without a verb: list them, newest first.")
def command() -> None: ...


@command.command("list", help="Records, newest first.")
@click.option("--last", default=0, type=click.IntRange(min=0), metavar="N", help="Only the newest N.")
@with_screen
def list_records(screen: Screen, last: int) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.acknowledging import by_run
    from mainstay.console.render import acks as looked
    from mainstay.console.render import record as render
    from mainstay.console.render.spans import line

    with bootstrap.load(screen.site_dir) as app:
        sealed = app.history.summaries()
        sealed = sealed[-last:] if last else sealed
        acks = by_run(app, [entry.id for entry, _ in sealed])
        zone = app.zone
    sealed.reverse()
    seen = {run: looked.marked(said) for run, said in acks.items()}
    screen.show(
        lambda: [
            {**summary.to_json(), "seq": entry.seq, "hash": entry.hash, "acks": looked.to_json(acks.get(entry.id, []))}
            for entry, summary in sealed
        ],
        lambda: (
            render.listing([(entry.seq, summary) for entry, summary in sealed], zone, screen.columns, seen)
            or [line("No record yet.")]
        ),
    )
    return 0


@command.command(help="One record, whole. ID: a run's id, its beginning or end, or the record's number.")
@click.argument("id", shell_complete=completing.runs)
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="Only this host's part; may be given again.")
@click.option("--full", is_flag=True, help="With everything that each step printed on the host.")
@with_screen
def show(screen: Screen, id: str, hosts: tuple[str, ...], full: bool) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.acknowledging import acks_of
    from mainstay.console.render import acks as looked
    from mainstay.console.render import record as render
    from mainstay.console.verbs._outputs import read_outputs, with_outputs
    from mainstay.inventory.errors import UsageError

    with bootstrap.load(screen.site_dir) as app:
        record = app.record(id)
        acks = acks_of(app, record)
        unknown = sorted(set(hosts) - {part.host for part in record.hosts})
        if unknown:
            raise UsageError(f"Record {record.seq} holds no host {', '.join(unknown)}.", hint="Leave out --host.")
        if hosts:
            chosen = tuple(part for part in record.hosts if part.host in hosts)
            record = record.model_copy(update={"hosts": chosen})
        outputs = read_outputs(app.artifacts, record) if full else None
        zone = app.zone
    screen.show(
        lambda: with_outputs({**record.to_json(), "acks": looked.to_json(acks)}, outputs),
        lambda: render.whole(record, zone, screen.columns, outputs, looked.section(acks, zone, screen.columns)),
    )
    return 0


@command.command(
    help="Look for anything edited, deleted, reordered or cut off since it was sealed; anchors are asked too."
)
@click.option("--local", is_flag=True, help="Ask no anchor on another machine.")
@with_screen
def verify(screen: Screen, local: bool) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.render import ledger as render

    with bootstrap.load(screen.site_dir) as app:
        compared = [] if local else app.ledger.compare()
        findings = [*app.ledger.verify(), *(finding for one in compared for finding in one.findings)]
        lags = [] if local else app.ledger.courier.lags()
        head = app.ledger.head()
        zone = app.zone
    screen.show(
        lambda: render.verified_json(head, findings, compared, lags),
        lambda: render.verified(head, findings, compared, lags, zone),
    )
    if findings:
        return 1
    return 5 if any(one.error for one in compared) else 0


@command.command(help="Every record for other programs, oldest first: --csv (one line per host) or --json (whole).")
@click.option("--csv", "as_csv", is_flag=True, help="One line per host of each record.")
@with_screen
def export(screen: Screen, as_csv: bool) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.acknowledging import by_run
    from mainstay.console.render import acks as looked
    from mainstay.console.verbs._outputs import to_csv
    from mainstay.inventory.errors import UsageError

    if as_csv == screen.json:
        raise UsageError("Say one of --csv and --json.", hint="See mainstay records export --help.")
    with bootstrap.load(screen.site_dir) as app:
        records = [app.record(entry.id) for entry, _ in app.history.summaries()]
        acks = {} if as_csv else by_run(app, [record.summary.id for record in records])
    if as_csv:
        screen.raw(to_csv(records))
    else:
        screen.data([{**one.to_json(), "acks": looked.to_json(acks.get(one.summary.id, []))} for one in records])
    return 0


@command.command(
    help="Somebody has looked at what was not well. ID: a run's id or record's number, or a point's id (mainstay points --all)."
)
@click.argument("id", shell_complete=completing.runs)
@click.option("--reason", required=True, metavar="TEXT", help="Why it is settled.")
@click.option("--host", default="", metavar="HOST", help="Only for this host.")
@click.option("--source", default="", metavar="SOURCE", help="Only for this source of a backup.")
@with_screen
def ack(screen: Screen, id: str, reason: str, host: str, source: str) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.acknowledging import acknowledge
    from mainstay.console.render import acks as looked
    from mainstay.console.render.spans import line

    with bootstrap.load(screen.site_dir) as app:
        said = acknowledge(app, id, reason=reason, host=host, source=source)
    screen.show(lambda: looked.to_json([said])[0], lambda: [line(f"{said.item}: {looked.briefly([said])}")])
    return 0
