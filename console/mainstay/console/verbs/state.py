"""`mainstay state`: the ledger, its key, what is needed to go back and the pinned keys, in one file and out of it."""

from __future__ import annotations

from pathlib import Path

import click

from mainstay.console.screen import Screen
from mainstay.console.verb import VerbGroup, with_screen


@click.group(cls=VerbGroup, default="show", help="The state: show it, back it up into one file, restore it from one.")
def command() -> None: ...


@command.command(help="Where the state is, whose it is, and how much there is of it.")
@with_screen
def show(screen: Screen) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.render.table import Cell, table
    from mainstay.console.render.times import counted, size

    with bootstrap.load(screen.site_dir) as app:
        directory = app.stores.directory
        seq, head = app.ledger.head()
        files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
        in_flight = [row.id for row in app.state.runs(in_flight=True)]
        total = sum(path.stat().st_size for path in files)
        data = {
            "id": app.state.id,
            "directory": str(directory),
            "bytes": total,
            "records": seq,
            "head": head,
            "runs_in_flight": in_flight,
            "known_hosts": str(app.site.known_hosts),
        }
        known_hosts = str(app.site.known_hosts)
    rows: list[list[Cell]] = [
        ["id", str(data["id"])],
        ["folder", f"{directory} ({size(total)})"],
        ["ledger", f"{counted(seq, 'record')}, head {head[:16] or '–'}"],
        ["in flight", ", ".join(in_flight) or "no run"],
        ["known hosts", known_hosts],
    ]
    screen.show(lambda: data, lambda: table(rows, columns=screen.columns))
    return 0


@command.command(help="Write the whole state into FILE. It holds the ledger's key: keep it as you keep the state.")
@click.argument("file", type=click.Path(path_type=Path))
@with_screen
def backup(screen: Screen, file: Path) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.render.spans import line
    from mainstay.console.render.times import size
    from mainstay.runner.state.archive import backup as write

    with bootstrap.load(screen.site_dir) as app:
        written = write(app.stores, file, known_hosts=app.site.known_hosts)
        data = {"file": str(file), "bytes": written, "id": app.state.id, "records": app.ledger.head()[0]}
    screen.show(lambda: data, lambda: [line(f"Wrote {file}, {size(written)}. It holds the ledger's key.")])
    return 0


@command.command(help="Make the state from FILE, where there is none. Runs that were in flight then are named.")
@click.argument("file", type=click.Path(path_type=Path))
@with_screen
def restore(screen: Screen, file: Path) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.render.spans import Span, line, span
    from mainstay.console.render.times import counted, local
    from mainstay.runner.state.adapters.stores import database_path
    from mainstay.runner.state.archive import restore as read

    with bootstrap.load(screen.site_dir) as app:
        path = database_path(app.site.state_url, app.site.root)
        made = read(file, path.parent, database=path.name, known_hosts=app.site.known_hosts)
        zone = app.zone
    data = {
        "id": made.state,
        "made_at": made.made_at,
        "records": made.records,
        "runs_in_flight": list(made.in_flight),
        "directory": str(path.parent),
    }
    lines = [line(f"Restored {counted(made.records, 'record')} of {local(made.made_at, zone)} into {path.parent}.")]
    lines += [
        (
            Span("look  ", "warn"),
            span(f"run {run} was in flight then; its hosts have moved on: mainstay runs resume {run}"),
        )
        for run in made.in_flight
    ]
    screen.show(lambda: data, lambda: lines)
    return 0
