"""SQLite: the file is opened, checked as a whole, and asked, by a program without rights (`sqlite_asking`)."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mainstay.recovery.proving import asserting, sqlite_asking
from mainstay.recovery.proving.attempt import RESERVE, Attempt, Brought, NotProved, Tried, Untried, against
from mainstay.recovery.proving.processes import User, run
from mainstay.recovery.words import counted, sized
from mainstay.runner.shell.printable import printable
from mainstay.runner.verdict import Verdict

PIECE = 1 << 24
"""Bytes that are copied between two looks at the clock."""


def prove_sqlite(attempt: Attempt) -> Tried:
    brought = attempt.dump()
    attempt.phase("recover")
    asker = Asker.of(attempt, brought)
    said = asker.ask("PRAGMA integrity_check(5)", rows=5)
    if said.error:
        raise against(f"SQLite can't read it: {said.error}", said.error, attempt.machine)
    if said.rows != ("ok",):
        raise NotProved(f"its integrity check found: {'; '.join(one or '' for one in said.rows)[:300]}")
    tables = asker.ask("SELECT count(*) FROM sqlite_master WHERE type = 'table'")
    if tables.error:
        raise against(f"SQLite can't read it: {tables.error}", tables.error, attempt.machine)
    attempt.phase("verify")
    for one in attempt.checks:
        answer = asker.ask(one.query)
        if answer.error:
            raise against(f"`{one.query}` could not be asked: {answer.error}", answer.error, attempt.machine)
        if why := asserting.judge(one, answer.rows[0] if answer.rows else None, attempt.at, attempt.made_at):
            raise NotProved(why)
    asked = f", {counted(len(attempt.checks), 'assertion')} held" if attempt.checks else ""
    count = int(tables.rows[0] or 0) if tables.rows else 0
    scope = f"{brought.path.name}: {counted(count, 'table')}, {sized(brought.size)}{asked}"
    return Tried(Verdict.SUCCEEDED, scope=scope, bytes=brought.size)


@dataclass(frozen=True, slots=True)
class Answer:
    rows: tuple[str | None, ...] = ()
    """The first column of each."""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Asker:
    """file: that the user can read. folder: the user's."""

    attempt: Attempt
    user: User
    file: Path
    folder: Path

    @classmethod
    def of(cls, attempt: Attempt, brought: Brought) -> Asker:
        user = User.of("nobody", machine=attempt.machine)
        if not user.other:
            return cls(attempt, user, brought.path, attempt.place.folder)
        free, needed = attempt.place.free(), brought.size + RESERVE
        if free < needed:
            has = f"{attempt.machine} has {sized(free)} free"
            raise Untried(f"a copy that can be opened without rights needs {sized(needed)}, and {has}", limit=True)
        # It becomes theirs when nothing is written there any more: else they could lead us elsewhere.
        folder = attempt.place.elsewhere(os.geteuid(), os.getegid())
        _copy(attempt, brought.path, folder / "database", user)
        os.chown(folder, user.uid, user.gid)
        return cls(attempt, user, folder / "database", folder)

    def ask(self, query: str, *, rows: int = 1) -> Answer:
        """Raises Late, Untried, NotProved where the file breaks the library."""
        argv = [sys.executable, "-I", "-S", "-c", _source()]
        user = self.user
        if user.other:  # this Python may be one that only we can start: it gives up its rights by itself
            argv += [str(user.uid), str(user.gid)]
            user = replace(user, uid=os.geteuid(), gid=os.getegid())
        with tempfile.TemporaryFile() as file:
            file.write(json.dumps({"file": quote(str(self.file)), "query": query, "rows": rows}).encode())
            file.seek(0)
            done = run(argv, self.folder, user, self.attempt.left(), stdin=file, watch=self.attempt.watch)
        machine = self.attempt.machine
        if done.status == sqlite_asking.LACKS:
            raise Untried(f"{machine} has a Python without sqlite3: install the rest of it")
        if done.status < 0 and -done.status != signal.SIGKILL:
            raise NotProved(f"SQLite can't read it: it was ended by signal {-done.status}")
        if done.status or (answer := _read(done.stdout)) is None:
            raise Untried(f"what asks SQLite ended with {done.status} on {machine}: {printable(done.stderr)}")
        return answer


def _source() -> str:
    loader: Any = sqlite_asking.__loader__
    return str(loader.get_source(sqlite_asking.__name__))


def _read(text: bytes) -> Answer | None:
    """None where it is no answer: what prints it has opened what a host has sent."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    if isinstance(error := data.get("error"), str) and error:
        return Answer(error=printable(error, 500))
    rows = data.get("rows")
    if not isinstance(rows, list) or not all(one is None or isinstance(one, str) for one in rows):
        return None
    return Answer(tuple(rows))


def _copy(attempt: Attempt, path: Path, to: Path, user: User) -> None:
    made = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with path.open("rb") as source, os.fdopen(made, "wb") as copy:
        while piece := source.read(PIECE):
            attempt.left()
            copy.write(piece)
        os.fchown(copy.fileno(), user.uid, user.gid)
