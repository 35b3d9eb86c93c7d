"""MariaDB and MySQL: each database by the dump program of the server, in one transaction."""

from __future__ import annotations

from mainstay.recovery.backup.change import Item
from mainstay.recovery.backup.script import Step
from mainstay.recovery.backup.sources.asking import Ask, Unasked
from mainstay.recovery.plan import MysqlSource, Source
from mainstay.runner.shell.printable import printable
from mainstay.runner.shell.quote import quote

DUMP_END = "-- Dump completed"
"""The last comment of mariadb-dump and mysqldump (mysqldump.c, write_footer)."""
NOT_DATA = frozenset({"information_schema", "performance_schema", "sys"})
"""Made by the server itself each time."""
_OPTIONS = (
    *("--single-transaction", "--quick", "--routines", "--events", "--triggers", "--hex-blob"),
    # Whoever restores names the database, and a server's own settings for comments must not take the end away.
    *("--no-tablespaces", "--comments", "--default-character-set=utf8mb4"),
)
_FIRST = r"""
for one in "$1" "$2"; do
  if command -v "$one" >/dev/null 2>&1; then shift 2; exec "$one" "$@"; fi
done
echo "neither $1 nor $2 is there" >&2
exit 127
"""
"""Names of MariaDB's and of MySQL's program, then the arguments."""


def find(name: str, source: Source, ask: Ask) -> tuple[Item, ...]:
    server = _of(source)
    argv = _either("mariadb", "mysql", server, "--batch", "--skip-column-names", "--raw", "-e", "SHOW DATABASES")
    said = ask(argv, server.user)
    if said.status != 0:
        raise Unasked(f"{name}: MariaDB could not be asked for its databases: {printable(said.stderr) or said.status}")
    there = [one for one in said.stdout.decode("utf-8", "replace").split("\n") if one and one.lower() not in NOT_DATA]
    wanted = there if server.databases == "all" else server.databases
    if gone := sorted(set(wanted) - set(there)):
        raise Unasked(f"{name}: MariaDB has no database {', '.join(gone)}")
    if not wanted:
        raise Unasked(f"{name}: MariaDB has no database")
    return tuple(
        Item(source=name, name=one, kind="mysql", filename=f"{one.replace('/', '_')}.sql") for one in sorted(wanted)
    )


def step(item: Item, source: Source) -> Step:
    server = _of(source)
    argv = _either("mariadb-dump", "mysqldump", server, *_OPTIONS, "--", item.name)
    return Step(item, f"stream {quote([item.filename, DUMP_END, server.user, *argv])}", source.max_time)


def _either(mariadb: str, mysql: str, server: MysqlSource, *arguments: str) -> tuple[str, ...]:
    place = [f"--socket={server.socket}"] if server.socket else []
    return ("sh", "-c", _FIRST, "mainstay", mariadb, mysql, *place, f"--user={server.user}", *arguments)


def _of(source: Source) -> MysqlSource:
    assert source.mysql is not None
    return source.mysql
