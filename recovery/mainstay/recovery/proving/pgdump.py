"""Dumps of PostgreSQL: restored as a whole into an empty database, and asked."""

from __future__ import annotations

import re
from pathlib import Path

from mainstay.inventory.errors import MainstayError
from mainstay.recovery.proving import asserting
from mainstay.recovery.proving.attempt import RESERVE, Attempt, Brought, NotProved, Tried, Untried, against
from mainstay.recovery.proving.postgres import OWNER, Cluster, identifier, installed, said
from mainstay.recovery.words import counted, sized
from mainstay.runner.verdict import Verdict

MAGIC = b"PGDMP"
GLOBALS_END = b"PostgreSQL database cluster dump complete"
LARGEST_GLOBALS = 64 * 2**20
"""Bytes; it is read as a whole, and a host may send what it likes."""
GROWS = 4
"""So many times its own size does a dump take, at the most, once it is restored (indexes); dumps are not compressed."""
THERE_ALREADY = {"", "postgres", "template1"}
"""Databases that can't be made anew by their names: none, and those that a new cluster has (every dump of all has `postgres`)."""
_ROLE = re.compile(r'^CREATE ROLE ("(?:[^"]|"")+"|[a-z_][a-z0-9_$]*);$', re.MULTILINE)
_EXTENSION = re.compile(
    r'^CREATE EXTENSION IF NOT EXISTS ("(?:[^"]|"")+"|\w+) WITH SCHEMA ("(?:[^"]|"")+"|\w+);$', re.MULTILINE
)
_TABLES = (
    "SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    # As text: for name LIKE unknown an operator of the dump's own would be the better match (CVE-2018-1058).
    "WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema') "
    "AND n.nspname::text NOT LIKE 'pg\\_toast%' "
    "AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')"
)


def prove_globals(attempt: Attempt) -> Tried:
    """Roles of a cluster: the dump is whole, and says which there are. Passwords and rights are not set anywhere."""
    brought = attempt.dump()
    if brought.size > LARGEST_GLOBALS:
        raise NotProved(f"{sized(brought.size)} are no list of roles")
    text = brought.path.read_bytes()
    if GLOBALS_END not in text[-4096:]:
        raise NotProved("the dump has no end: it was cut off")
    roles = tuple(
        name[1:-1].replace('""', '"') if name.startswith('"') else name
        for name in _ROLE.findall(text.decode("utf-8", "replace"))
    )
    if not roles:
        raise NotProved("the dump names no role")
    return Tried(Verdict.SUCCEEDED, scope=f"{counted(len(roles), 'role')}, whole", bytes=brought.size, roles=roles)


def prove_dump(attempt: Attempt) -> Tried:
    """One database by pg_restore."""
    brought = attempt.dump()
    with brought.path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise NotProved("it is no dump of pg_dump -Fc")
    room(attempt, brought)
    attempt.phase("recover")
    there = installed()
    if not there:
        raise Untried(f"{attempt.machine} has no PostgreSQL server: install the package postgresql")
    cluster = Cluster.at(attempt, there[max(there)])
    listing = cluster.run("pg_restore", "--list", stdin=brought.path)
    if listing.status:
        words = said(listing)
        if "unsupported version" in words:
            raise Untried(f"it was made by a newer PostgreSQL than {attempt.machine} has ({max(there)}): {words}")
        raise NotProved(f"pg_restore can't read its list: {words}")
    _new_enough(attempt, listing.stdout.decode("utf-8", "replace"), max(there))
    contents = _contents(cluster, brought.path)
    cluster.make()
    with cluster.running():
        database = attempt.item if attempt.item not in THERE_ALREADY else "restored"
        _prepare(cluster, database, contents, brought.path)
        _restore(cluster, database, contents, brought)
        attempt.phase("verify")
        tables = _count(cluster, database, contents)
        for one in attempt.checks:
            if why := asserting.judge(one, cluster.ask(database, one.query), attempt.at, attempt.made_at):
                raise NotProved(why)
    asked = f", {counted(len(attempt.checks), 'assertion')} held" if attempt.checks else ""
    return Tried(
        Verdict.SUCCEEDED, scope=f"{counted(tables, 'table')}, {sized(brought.size)}{asked}", bytes=brought.size
    )


def room(attempt: Attempt, brought: Brought) -> None:
    free, needed = attempt.place.free(), brought.size * GROWS + RESERVE
    if free < needed:
        has = f"{attempt.machine} has {sized(free)} free"
        raise Untried(f"a server for it may need {sized(needed)}, and {has}", limit=True)


def _new_enough(attempt: Attempt, listing: str, ours: int) -> None:
    found = re.search(r"^;\s+Dumped by pg_dump version: (\d+)", listing, re.MULTILINE)
    theirs = re.search(r"^;\s+Dumped from database version: (\d+)", listing, re.MULTILINE)
    newest = max((int(one[1]) for one in (found, theirs) if one), default=0)
    if newest > ours:
        raise Untried(f"it is of PostgreSQL {newest}, and {attempt.machine} has {ours}")


def _contents(cluster: Cluster, dump: Path) -> list[str]:
    """Lines of its list, whole: a database of many tables has a long one."""
    listed = cluster.place / "list"
    done = cluster.run("pg_restore", "--list", "-f", str(listed), stdin=dump)
    if done.status:
        raise NotProved(f"pg_restore can't read its list: {said(done)}")
    lines = listed.read_text("utf-8", "replace").splitlines()
    return [line for line in lines if line and not line.startswith(";")]


def _prepare(cluster: Cluster, database: str, contents: list[str], dump: Path) -> None:
    """The empty database with its owner, the roles that policies may name, and the extensions."""
    roles = [name for name in cluster.attempt.roles if not name.startswith("pg_") and name != OWNER]
    sql = [f"CREATE ROLE {identifier(OWNER)} LOGIN", *(f"CREATE ROLE {identifier(name)}" for name in roles)]
    for one in sql:
        cluster.execute("template1", one)
    cluster.execute("template1", f"CREATE DATABASE {identifier(database)} OWNER {identifier(OWNER)} TEMPLATE template0")
    wanted = [line for line in contents if " EXTENSION - " in line and " COMMENT - " not in line]
    if not wanted:
        return
    chosen, script = cluster.place / "extensions", cluster.place / "extensions.sql"
    _write(cluster, chosen, wanted)
    done = cluster.run("pg_restore", "-L", str(chosen), "-f", str(script), stdin=dump)
    if done.status:
        raise NotProved(f"pg_restore can't read its extensions: {said(done)}")
    for name, schema in _EXTENSION.findall(script.read_text("utf-8", "replace")):
        plain = name.strip('"')
        if plain == "plpgsql":
            continue
        asked = f"SELECT 1 FROM pg_available_extensions WHERE name = {_literal(plain)}"  # noqa: S608 - quoted
        if cluster.ask("template1", asked, cluster.superuser) is None:
            raise Untried(f"it needs the extension {plain}, which {cluster.attempt.machine} does not have")
        cluster.execute(database, f"CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {identifier(OWNER)}")
        cluster.execute(database, f"CREATE EXTENSION IF NOT EXISTS {name} WITH SCHEMA {schema}")


def _restore(cluster: Cluster, database: str, contents: list[str], brought: Brought) -> None:
    chosen = cluster.place / "chosen"
    made = {row for row in (cluster.ask(database, _SCHEMAS, cluster.superuser) or "").split("\n") if row}
    wanted = [line for line in contents if " EXTENSION - " not in line and not _is_schema(line, made)]
    _write(cluster, chosen, wanted)
    words = ["--exit-on-error", "--no-owner", "--no-acl", "--no-comments", "--no-publications", "--no-subscriptions"]
    words += ["--no-security-labels", "--no-tablespaces", "-h", str(cluster.socket), "-U", OWNER, "-d", database]
    done = cluster.run("pg_restore", *words, "-L", str(chosen), stdin=brought.path)
    if done.status:
        raise _why(said(done), cluster.logged(), cluster.attempt.machine)


def _why(words: str, logged: bytes, machine: str) -> MainstayError:
    """Whether it speaks against the dump, or only for what a drill does not have or give."""
    if re.search(r"permission denied|must be superuser|must be owner of|must be a superuser", words):
        return Untried(f"it asks for a superuser's rights, which a drill does not give: {words}")
    if re.search(r"collation .* does not exist", words):
        return Untried(f"it needs a collation that {machine} does not have: {words}")
    return against(f"pg_restore failed: {words}", words + logged[-4096:].decode("utf-8", "replace"), machine)


_SCHEMAS = "SELECT string_agg(nspname, E'\\n') FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_'"


def _is_schema(line: str, made: set[str]) -> bool:
    """A schema that is there already: public, and those of extensions."""
    found = re.match(r"\d+; \d+ \d+ SCHEMA - (.+) \S+$", line)
    return bool(found and found[1] in made)


def _count(cluster: Cluster, database: str, contents: list[str]) -> int:
    """How many tables are there. Raises NotProved where the list has others."""
    # By the role without rights: once a dump is in it, no superuser asks this database anything.
    there = int(cluster.ask(database, _TABLES) or 0)
    listed = sum(
        1
        for line in contents
        if re.match(r"\d+; \d+ \d+ (?:FOREIGN )?TABLE (?!DATA|ATTACH)", line) and " FOREIGN TABLE " not in line
    )
    if there < listed:
        raise NotProved(f"{counted(there, 'table')} were restored, and the dump lists {listed}")
    return there


def _write(cluster: Cluster, path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    path.chmod(0o644)  # its folder is the user's alone


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
