"""A database from its dump, as a new one on a host's own server: through a pipe, so that no dump lies on a disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mainstay.inventory.errors import Refused
from mainstay.recovery.backup import sending
from mainstay.recovery.backup.sources import mysql, postgresql
from mainstay.recovery.plan import Source
from mainstay.recovery.restic.replies import Node
from mainstay.recovery.restore import output
from mainstay.recovery.restore.change import RestoreChange
from mainstay.recovery.restore.operation import RestoreOperation
from mainstay.recovery.restore.script import database_script
from mainstay.recovery.words import counted, sized
from mainstay.runner.operation import Forecast, HostWork, Look, Outcome
from mainstay.runner.shell.contract import Command, Job
from mainstay.runner.shell.printable import printable

RESTRICTED = (
    "--no-owner",
    "--no-acl",
    "--no-comments",
    "--no-publications",
    "--no-subscriptions",
    "--no-security-labels",
    "--no-tablespaces",
)
"""pg_restore: what takes more rights than the owner of a database has."""
MIGHTY = (
    "pg_catalog.pg_has_role(oid, 'MEMBER') AND (rolsuper OR rolcreaterole OR rolname OPERATOR(pg_catalog.=) ANY ("
    "ARRAY['pg_execute_server_program', 'pg_write_server_files', 'pg_read_server_files']::pg_catalog.name[]))"
)
"""Roles that whoever is in one of them takes by SET ROLE, which a dump may say too: superusers, those that start programs or
reach files as the server does, and those that may (up to PostgreSQL 15) make themselves a member of these. Source:
https://www.postgresql.org/docs/current/predefined-roles.html"""

CANT_RENAME = "MariaDB can't rename one"
_CONNECTED = re.compile(r"other sessions? using the database")
"""What PostgreSQL says in English where a database can't get another name."""


class Server:
    """How a host's server is spoken to. Everything is an argv for its own user. account: who reads the dump instead."""

    def __init__(self, source: Source, into: str, account: str = "") -> None:
        self.source, self.into, self.account = source, into, account

    @property
    def user(self) -> str:
        found = self.source.postgresql or self.source.mysql
        assert found is not None, "an order for a database has a source of databases"
        return found.user

    def sql(self, text: str, database: str = "") -> tuple[str, ...]:
        if cluster := self.source.postgresql:
            words = ["-X", "-A", "-t", "-q", "-w", "-h", cluster.host, "-p", str(cluster.port), "-v", "ON_ERROR_STOP=1"]
            return postgresql._program(
                cluster, "psql", *words, "-d", postgresql.conninfo(database or "template1"), "-c", text
            )
        assert self.source.mysql is not None
        words = [
            "--batch",
            "--skip-column-names",
            *([f"--database={database}"] if database else []),
            f"--execute={text}",
        ]
        return mysql._either("mariadb", "mysql", self.source.mysql, *words)

    def read(self) -> tuple[str, ...]:
        """Reads the dump from its standard input."""
        if cluster := self.source.postgresql:
            own = RESTRICTED if self.account else ()
            place = ["-h", cluster.host, "-p", str(cluster.port), "-w"]
            return postgresql._program(
                cluster, "pg_restore", "--exit-on-error", *own, *place, "-d", postgresql.conninfo(self.into)
            )
        assert self.source.mysql is not None
        return mysql._either("mariadb", "mysql", self.source.mysql, "--binary-mode", f"--database={self.into}")

    @property
    def reader(self) -> str:
        """Whose account reads the dump, and asks the database that it has made."""
        return self.account or self.user

    def superuser(self) -> tuple[str, ...]:
        """Whether the role of whoever asks is one; of an account, whether it can come to as much: t or f."""
        if not self.account:
            return self.sql(
                "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) current_user"
            )
        return self.sql(f"SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>) 0 FROM pg_catalog.pg_roles WHERE {MIGHTY}")  # noqa: S608 - no input

    @property
    def name(self) -> str:
        """Quoted for SQL."""
        mark = '"' if self.source.postgresql else "`"
        return self.quoted(self.into, mark)

    @staticmethod
    def quoted(name: str, mark: str = '"') -> str:
        return f"{mark}{name.replace(mark, mark * 2)}{mark}"

    @property
    def literal(self) -> str:
        text = self.into.replace("'", "''")
        return f"'{text}'"

    def exists(self) -> tuple[str, ...]:
        if self.source.postgresql:
            return self.sql(f"SELECT 1 FROM pg_catalog.pg_database WHERE datname = {self.literal}")  # noqa: S608 - quoted
        where = f"schema_name = {self.literal}"
        return self.sql(f"SELECT 1 FROM information_schema.schemata WHERE {where}")  # noqa: S608 - quoted

    def make(self) -> tuple[str, ...]:
        more = f" OWNER {self.quoted(self.account)}" if self.account else ""
        more += " TEMPLATE template0" if self.source.postgresql else ""
        return self.sql(f"CREATE DATABASE {self.name}{more}")

    def drop(self) -> tuple[str, ...]:
        return self.sql(f"DROP DATABASE {self.name}")

    def rename(self, old: str, new: str) -> tuple[str, ...]:
        return self.sql(f"ALTER DATABASE {self.quoted(old)} RENAME TO {self.quoted(new)}")

    def tables(self) -> tuple[str, ...]:
        if self.source.postgresql:
            schemas = "table_schema NOT IN ('pg_catalog', 'information_schema')"
        else:
            schemas = f"table_schema = {self.literal}"
        count = f"SELECT count(*) FROM information_schema.tables WHERE {schemas}"  # noqa: S608 - quoted
        return self.sql(count, self.into)


class DatabaseOperation(RestoreOperation):
    """As files; the target is a database, and the order has one piece with one dump in it."""

    @property
    def server(self) -> Server:
        assert self.order.source is not None, "an order for a database has its source"
        return Server(self.order.source, self.order.into, self.order.account)

    @property
    def aside(self) -> str:
        """The name that the one which is there gets."""
        return f"{self.order.into}_before_{self.order.pieces[0].point.id[:8]}"

    def preview(self, look: Look) -> Forecast:
        _, why = self._program(sending.look(look.shell))
        limits = self._limits() if self.order.confirmed else []
        runs, risk = self._rights(look.host.name)
        return Forecast(
            change={"into": self.order.into},
            count=1,
            reversible=0,
            items=((self.order.into, "", f"made from {sized(self.order.bytes)} of dump"),),
            reboot="no",
            notes=(runs, *self._own(), "whether a database of that name is there already is asked when it begins"),
            limits=(*limits, *risk),
            refused=why or self._impossible(),
        )

    def _limits(self) -> list[str]:
        if self.server.source.mysql:
            return [f"a database {self.order.into} that is there is left as it is: {CANT_RENAME}"]
        return [
            f"a database {self.order.into} that is there is kept as {self.aside}; nobody may be connected to it then"
        ]

    def _own(self) -> list[str]:
        """What is not of what a database holds, but its own. Source: pg_dump without --create."""
        if self.server.source.mysql or self.server.account:
            return []
        return [f"it will be {self.server.user}'s: a database's owner, who may connect and its settings are in no dump"]

    def _rights(self, on: str) -> tuple[str, tuple[str, ...]]:
        """(who runs what is in the dump, what that one risks who says yes)."""
        server, of = self.server, self.order.host
        if server.account:
            return (
                f"its SQL runs as {server.account}, which may be no superuser, and owns what it makes; owners, grants and comments "
                "of the dump are left out",
                (),
            )
        runs = f"its SQL runs with all rights of {server.user} in {on}'s server, as a rule a superuser's"
        if of == on:
            return runs, ()
        way = (
            "--as ACCOUNT reads it with no more than that account's rights"
            if self.order.source and self.order.source.postgresql
            else "--to DIR brings it as a file, to be read by an account that may do less"
        )
        return runs, (
            f"whoever could write to {of}'s database decides what runs on {on} as {server.user}: a superuser's dump can start "
            f"programs, and read and change every other database there. {way}",
        )

    def _impossible(self) -> str:
        if len(self.order.pieces) != 1 or self.order.files != 1:
            return f"a database is made from one dump, and there are {self.order.files}"
        return super()._impossible()

    def _target(self, work: HostWork) -> str:
        """Raises Refused where the database is there and may not be moved."""
        server = self.server
        said = work.shell.run(Command(server.exists(), user=server.user, deadline=60))
        if said.status != 0:
            raise Refused(f"the database server could not be asked: {printable(said.stderr) or said.status}")
        there = said.text.strip() == "1"
        self._who_reads(work)
        if there and server.source.mysql:
            hint = f"--into {self.aside.replace('_before_', '_of_')} makes one beside it"
            raise Refused(f"there is a database {self.order.into} already, and {CANT_RENAME}", hint=hint)
        if there and not self.order.confirmed:
            raise Refused(
                f"there is a database {self.order.into} already",
                hint=f"--confirm={self.order.name_to_confirm} keeps it as {self.aside}",
            )
        return "there" if there else "new"

    def _who_reads(self, work: HostWork) -> None:
        """Raises Refused where the account that was chosen for its few rights can't read it, or has all of them."""
        server = self.server
        if not server.source.postgresql:
            return
        said = work.shell.run(Command(server.superuser(), user=server.reader, deadline=60))
        super_ = said.text.strip() == "t"
        if said.status != 0:
            why = printable(said.stderr) or said.status
            raise Refused(
                f"{server.reader} is not let into the database server: {why}",
                hint="It needs a role of its name there, and peer authentication." if server.account else None,
            )
        if server.account and super_:
            raise Refused(
                f"{server.account} is a superuser of the database server, or is in a role that can do as much: --as is for one "
                "who is not"
            )
        work.notes.append(f"the dump runs as {server.reader}, {'a superuser' if super_ else 'no superuser'}")

    def apply(self, work: HostWork, change: RestoreChange, name: str) -> Job:
        piece, server = self.order.pieces[0], self.server
        into = self.order.into
        moved = change.to == "there"
        script = database_script(
            change,
            piece.point.id,
            self._dump(),
            server.user,
            reader=server.reader,
            make=server.make(),
            read=server.read(),
            drop=server.drop(),
            move=server.rename(into, self.aside) if moved else (),
            move_back=server.rename(self.aside, into) if moved else (),
        )
        return Job(name=name, script=script)

    def _dump(self) -> Node:
        found: list[Node] = []

        def each(node: Node) -> None:
            if node.type == "file":
                found.append(node)

        self.depot.open(self.repository, self.order.host).ls(self.order.pieces[0].point.id, each)
        if len(found) != 1:
            raise Refused(f"the point holds {len(found)} files instead of one dump")
        return found[0]

    def outcome(self, change: RestoreChange, exit: int | None, output_: bytes) -> Outcome:
        said, into = output.read(output_, change.token), self.order.into
        if said.unready:
            return Outcome(ok=False, detail="nothing was begun: what it was to get in with was not there any more")
        left = self._left(said, change)
        if said.stopped:
            return Outcome(ok=True, detail="stopped", stopped=True, measures={"stopped": left})
        if not said.done or said.database is None:
            left = f"; {left}" if said.stays or said.aside else ""
            last = said.last or printable(output_)
            if _CONNECTED.search(last):
                who = f"somebody is connected to {into}, so that it can't be put aside"
                hint = "stop what uses it, and call this again"
                return Outcome(ok=False, detail=f"{who}: {hint} ({last.removeprefix('DETAIL:').strip()}){left}")
            return Outcome(ok=False, detail=f"the job ended with {exit}: {last}{left}")
        dumped, taken, count = said.database
        if dumped or taken or count != self.order.bytes:
            why = f"restic ended with {dumped} after {count:,} of {self.order.bytes:,} bytes, the server's program with {taken}"
            return Outcome(ok=False, detail=f"{why}; {left}: {said.last}")
        return Outcome(ok=True, detail=f"{sized(count)} read", measures={"bytes": count})

    def _left(self, said: output.JobSaid, change: RestoreChange) -> str:
        """What a restore that was not done has left, in words."""
        into = self.order.into
        words = [
            f"{into} is not whole, and could not be dropped: it is still there"
            if said.stays
            else "the new database was dropped"
        ]
        if said.aside:
            words.append(f"the database {into} that was there is still called {self.aside}")
        return "; ".join(words)

    def progress(self, output_: bytes, change: RestoreChange) -> str:
        return ""

    def verify(self, work: HostWork, change: RestoreChange) -> tuple[str, ...]:
        server = self.server
        if "stopped" in work.found:
            return ()
        if change.to == "there":
            work.notes.append(f"the database {self.order.into} that was there is kept as {self.aside}")
        if work.found.get("bytes") != self.order.bytes:
            # Whoever was killed in the middle has not said how far it came, and has not cleaned up.
            what = f"what is in the database {self.order.into} now is not whole"
            return (f"the job was cut short, and {what}" + (" (or it is gone)" if change.to == "there" else ""),)
        said = work.shell.run(Command(server.tables(), user=server.reader, deadline=60))
        if said.status != 0:
            return (f"the new database could not be asked: {printable(said.stderr) or said.status}",)
        work.measures |= {"database": self.order.into, "tables": int(said.text.strip() or 0)}
        (piece,) = self.order.pieces
        told = {"point": piece.point.id, "at": piece.point.at, "of": piece.point.host}
        work.measures[f"restored {piece.point.unit}"] = {**told, "repository": piece.point.repository}
        return ()

    def done(self, change: RestoreChange, measures: Mapping[str, Any]) -> str:
        if stopped := measures.get("stopped"):
            return str(stopped)
        size, tables = sized(measures.get("bytes", 0)), counted(measures.get("tables", 0), "table")
        return f"database {self.order.into} made of {size}, {tables}"
