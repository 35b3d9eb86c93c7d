"""PostgreSQL: each database by pg_dump, the cluster's own by pg_dumpall, or all of it by pg_basebackup."""

from __future__ import annotations

from mainstay.recovery.backup.change import Item
from mainstay.recovery.backup.script import Step
from mainstay.recovery.backup.sources.asking import Ask, Unasked
from mainstay.recovery.plan import PostgresqlSource, Source
from mainstay.runner.shell.printable import printable
from mainstay.runner.shell.quote import quote

GLOBALS = "(globals)"
CLUSTER = "(cluster)"
"""Items that are no database."""
GLOBALS_END = "PostgreSQL database cluster dump complete"
"""The last comment of pg_dumpall (its source: pg_dumpall.c, main)."""
_LIST = "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname"

# PATH first: Debian's wrapper there takes the version of the cluster. What is found nowhere is named by `env`.
_FIND = r"""
folder=$1 name=$2; shift 2
if [ -n "$folder" ]; then set -- "$folder/$name" "$@"
elif ! command -v "$name" >/dev/null 2>&1; then
  for one in $(ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin 2>/dev/null | sort -t/ -k5 -V); do
    [ ! -x "$one/$name" ] || found=$one/$name
  done
  set -- "${found:-$name}" "$@"
else set -- "$name" "$@"; fi
exec "$@"
"""
"""folder or "", name of a program of PostgreSQL, its arguments."""


def find(name: str, source: Source, ask: Ask) -> tuple[Item, ...]:
    cluster = _of(source)
    if cluster.method == "basebackup":
        return (Item(source=name, name=CLUSTER, kind="basebackup", filename="base.tar"),)
    there = _databases(name, cluster, ask)
    wanted = there if cluster.databases == "all" else cluster.databases
    if gone := sorted(set(wanted) - set(there)):
        raise Unasked(f"{name}: PostgreSQL has no database {', '.join(gone)} that can be connected to")
    if not wanted and not cluster.globals:
        raise Unasked(f"{name}: PostgreSQL has no database")
    items = [
        Item(source=name, name=one, kind="postgresql", filename=f"{one.replace('/', '_')}.dump")
        for one in sorted(wanted)
    ]
    if cluster.globals:
        items.insert(0, Item(source=name, name=GLOBALS, kind="globals", filename="globals.sql"))
    return tuple(items)


def step(item: Item, source: Source) -> Step:
    cluster = _of(source)
    place = ("-w", "-h", cluster.host, "-p", str(cluster.port))
    if item.kind == "basebackup":
        words, trailer = _program(cluster, "pg_basebackup", *place, "-D", "-", "-Ft", "-X", "fetch", "-c", "fast"), ""
    elif item.kind == "globals":
        words, trailer = _program(cluster, "pg_dumpall", *place, "--globals-only"), GLOBALS_END
    else:
        # restic finds what has not changed, and compresses: neither could be done with what pg_dump has compressed.
        words, trailer = _program(cluster, "pg_dump", *place, "-Fc", "-Z0", "-d", conninfo(item.name)), ""
    return Step(item, f"stream {quote([item.filename, trailer, cluster.user, *words])}", source.max_time)


def conninfo(database: str) -> str:
    """A connection string that names this database and nothing else, whatever is in its name. Source: libpq, Connection
    Strings."""
    escaped = database.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"


def _databases(name: str, cluster: PostgresqlSource, ask: Ask) -> list[str]:
    argv = _program(cluster, "psql", "-X", "-A", "-t", "-q", "-0", "-w", "-h", cluster.host, "-p", str(cluster.port))
    said = ask((*argv, "-d", "template1", "-c", _LIST), cluster.user)
    if said.status != 0:
        raise Unasked(
            f"{name}: PostgreSQL could not be asked for its databases: {printable(said.stderr) or said.status}"
        )
    return [one for one in said.stdout.decode("utf-8", "replace").rstrip("\n").split("\0") if one]


def _program(cluster: PostgresqlSource, name: str, *arguments: str) -> tuple[str, ...]:
    return ("sh", "-c", _FIND, "mainstay", cluster.bin or "", name, *arguments)


def _of(source: Source) -> PostgresqlSource:
    assert source.postgresql is not None
    return source.postgresql
