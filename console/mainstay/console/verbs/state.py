"""`mainstay state`: the ledger, its key, what is needed to go back and the pinned keys, in one file and out of it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mainstay.console.screen import Screen
from mainstay.console.verb import VerbGroup, with_screen

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application


@click.group(cls=VerbGroup, default="show", help="The state: show it, back it up into one file, restore it from one.")
def command() -> None: ...


@command.command(help="Where the state is, whose it is, and how much there is of it.")
@with_screen
def show(screen: Screen) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.render.table import Cell, table
    from mainstay.console.render.times import counted, size
    from mainstay.runner.state.adapters.migrating import revision

    with bootstrap.load(screen.site_dir) as app:
        directory, database = app.stores.directory, app.stores.database
        shared = database.dialect == "postgresql"
        seq, head = app.ledger.head()
        files = [path for path in directory.rglob("*") if path.is_file() and not path.is_symlink()]
        in_flight = [row.id for row in app.state.runs(in_flight=True)]
        total = sum(path.stat().st_size for path in files)
        data = {
            "id": app.state.id,
            "database": database.name,
            "revision": revision(database),
            "directory": str(directory),
            "bytes": total,
            "records": seq,
            "head": head,
            "runs_in_flight": in_flight,
            "known_hosts": str(app.site.known_hosts),
            "weakness": _weakness(app) if shared else None,
        }
        known_hosts = str(app.site.known_hosts)
    rows: list[list[Cell]] = [
        ["id", str(data["id"])],
        ["database", f"{database.name}, revision {data['revision']}"],
        ["folder", f"{directory} ({size(total)})"],
        ["ledger", f"{counted(seq, 'record')}, head {head[:16] or '–'}"],
        ["in flight", ", ".join(in_flight) or "no run"],
        ["known hosts", known_hosts],
    ]
    if shared:
        rows.append(["rights", str(data["weakness"] or "adds records, and can't change one")])
    screen.show(lambda: data, lambda: table(rows, columns=screen.columns))
    return 0


def _weakness(app: Application) -> str | None:
    from mainstay.runner.state.adapters.rights import rights

    return rights(app.stores.database).weakness()


@command.command(help="Bring the state's tables to this version of mainstay, when no worker of an older one is left.")
@click.option("--as", "role", metavar="ROLE", help="Connect as the role that owns the tables (PostgreSQL).")
@click.option("--password", metavar="REFERENCE", help="Where ROLE's password is to be found: file:PATH, env:NAME, …")
@with_screen
def migrate(screen: Screen, role: str | None, password: str | None) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.render.spans import line
    from mainstay.inventory.errors import UsageError
    from mainstay.inventory.postgres import is_postgres, postgres_address
    from mainstay.runner.state.adapters import migrating, rights
    from mainstay.runner.state.adapters.sqlite import SqliteDatabase
    from mainstay.runner.state.adapters.stores import database_path, open_database

    with bootstrap.load(screen.site_dir) as app:
        url, before, after = app.site.state_url, None, None
        if not is_postgres(url):
            if role or password:
                raise UsageError("--as and --password are for a state in PostgreSQL.")
            path = database_path(url, app.site.root)
            if not path.exists():
                raise UsageError(f"there is no state yet: {path}", hint="The first run makes one.")
            before, after = migrating.migrate(SqliteDatabase(path))
        else:
            secret = app.secrets.resolve(password) if password else None if role else app.state_password
            database = open_database(url, secret, user=role)
            try:
                before, after = migrating.migrate(database)
                worker = postgres_address(url).user
                if role and worker and role != worker:
                    rights.grant(database, worker)
            finally:
                database.close()
    told = f"revision {after} already" if before == after else f"from revision {before or 'none'} to {after}"
    screen.show(lambda: {"before": before, "after": after}, lambda: [line(f"The state's tables: {told}.")])
    return 0


@command.command(help="The SQL that makes roles, database and schemas for a state in PostgreSQL. Runs nothing.")
@click.option("--owner", default="mainstay_owner", show_default=True, metavar="ROLE", help="Who owns the tables.")
@with_screen
def sql(screen: Screen, owner: str) -> int:
    from mainstay.console import bootstrap
    from mainstay.console.render.spans import line
    from mainstay.inventory.errors import UsageError
    from mainstay.inventory.postgres import is_postgres, postgres_address
    from mainstay.runner.state.adapters.rights import script

    with bootstrap.load(screen.site_dir) as app:
        url = app.site.state_url
    if not is_postgres(url):
        hint = "Set state: postgresql://USER@HOST/DATABASE in mainstay.yml first."
        raise UsageError("the site's state is in SQLite, which needs no roles", hint=hint)
    text = script(postgres_address(url), owner)
    screen.show(lambda: {"sql": text}, lambda: [line(each) for each in text.splitlines()])
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
    from mainstay.inventory.postgres import is_postgres
    from mainstay.runner.ledger.comparing import Compared, refuse_another_ledger
    from mainstay.runner.state.adapters.postgres import PostgresDatabase
    from mainstay.runner.state.adapters.stores import database_path, open_database
    from mainstay.runner.state.archive import Restored
    from mainstay.runner.state.archive import restore as read

    with bootstrap.load(screen.site_dir) as app:
        site, zone = app.site, app.zone
        said: list[Compared] = []

        def make(directory: Path, database: str | PostgresDatabase) -> Restored:
            return read(
                file,
                directory,
                database=database,
                key=site.ledger_key,
                known_hosts=site.known_hosts,
                against=lambda index: said.extend(refuse_another_ledger(app.anchors, index)),
            )

        if is_postgres(site.state_url):
            directory = site.state_dir
            with closing(open_database(site.state_url, app.state_password)) as database:
                made = make(directory, database)
        else:
            path = database_path(site.state_url, site.root)
            directory = path.parent
            made = make(directory, path.name)
    data = {
        "id": made.state,
        "made_at": made.made_at,
        "records": made.records,
        "runs_in_flight": list(made.in_flight),
        "directory": str(directory),
        "anchors": [{"name": one.name, "error": one.error or None} for one in said],
    }
    lines = [line(f"Restored {counted(made.records, 'record')} of {local(made.made_at, zone)} into {directory}.")]
    lines += [
        (
            Span("look  ", "warn"),
            span(f"run {run} was in flight then; its hosts have moved on: mainstay runs resume {run}"),
        )
        for run in made.in_flight
    ]
    lines += [(Span("look  ", "warn"), span(f"not compared with {one.error}")) for one in said if one.error]
    screen.show(lambda: data, lambda: lines)
    return 0
