"""restic on the controller: the adapter of `Restic`."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

from mainstay.inventory.secrets import Secret
from mainstay.recovery.repository import Access
from mainstay.recovery.restic import replies
from mainstay.recovery.restic.adapters import lockfiles
from mainstay.recovery.restic.adapters.command import Commands, Program
from mainstay.recovery.restic.adapters.process import OWN
from mainstay.recovery.restic.contract import (
    Damaged,
    NoRepository,
    NothingRestored,
    NotRemoved,
    Open,
    Overwrite,
    Partial,
    ResticError,
    Tell,
)
from mainstay.recovery.restic.environment import check_ids, patterns
from mainstay.recovery.restic.messages import Reader
from mainstay.recovery.restic.replies import CheckSummary, Key, Lock, Node, RestoreSummary, Snapshot, Stats
from mainstay.recovery.restic.version import Version
from mainstay.runner.shell.printable import printable

AT_ONCE = 500
"""Ids in one command."""


def opener(program: Program) -> Open:
    """restic as it is to run here, for any repository."""
    return lambda access: Controller(program, access)


@contextmanager
def _held(text: str) -> Iterator[int]:
    """A file in memory alone, for a program that is started meanwhile: what is in it is no argument. Gives its descriptor."""
    with os.fdopen(os.memfd_create("mainstay", 0), "wb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))
        file.flush()
        held = fcntl.fcntl(file.fileno(), fcntl.F_DUPFD, OWN)
        try:
            yield held
        finally:
            os.close(held)


class Controller:
    """`Restic` by the program on this machine. See there for what each method does."""

    def __init__(self, program: Program, access: Access) -> None:
        self._program = program
        self._access = access
        self._commands = Commands(program, access)

    @property
    def access(self) -> Access:
        return self._access

    def version(self) -> Version:
        return self._commands.version()

    # What a repository is

    def identity(self) -> str | None:
        try:
            done = self._commands.ask("cat", "config", "--no-lock")
        except NoRepository:
            return None
        try:
            return str(json.loads(done.data)["id"])
        except (ValueError, KeyError, TypeError):
            raise ResticError(self._access, "its configuration can't be read") from None

    def init(self, like: Access | None = None) -> str:
        more = ["--copy-chunker-params"] if like else []
        done = self._commands.ask("init", "--json", *more, source=like, deadline=self._program.deadline)
        made = next((one for one in done.reader.objects if one.get("message_type") == "initialized"), {})
        id = made.get("id")
        return id if isinstance(id, str) and id else self.identity() or ""

    def stats(self, ids: Sequence[str] = ()) -> Stats:
        check_ids(ids)
        done = self._commands.ask("stats", "--json", "--mode", "raw-data", *ids, deadline=self._program.deadline)
        return replies.stats(self._commands.read_object(done))

    def keys(self) -> list[Key]:
        return self._commands.read_list(self._commands.ask("key", "list", "--json", "--no-lock"), replies.keys)

    def add_key(self, password: Secret, *, user: str = "", host: str = "") -> None:
        own = [*(["--user", user] if user else []), *(["--host", host] if host else [])]
        with _held(password.reveal()) as held:
            self._commands.ask("key", "add", *own, "--new-password-file", f"/dev/fd/{held}", pass_fds=[held])

    # Snapshots

    def snapshots(self, *, tags: Sequence[str] = (), host: str | None = None) -> list[Snapshot]:
        words = ["--tag", ",".join(tags)] if tags else []
        words += ["--host", host] if host is not None else []
        found = self._commands.read_list(
            self._commands.ask("snapshots", "--json", "--no-lock", *words), replies.snapshots
        )
        return sorted(found, key=lambda one: (one.at, one.id))

    def forget(self, ids: Sequence[str]) -> list[str]:
        check_ids(ids)
        there = [id for id in dict.fromkeys(ids) if id in {one.id for one in self.snapshots()}]
        refused: ResticError | None = None
        for first in range(0, len(there), AT_ONCE):
            try:
                self._commands.ask("forget", *there[first : first + AT_ONCE], deadline=self._program.deadline)
            except Partial as error:
                refused = error
                break
        left = {one.id for one in self.snapshots()} if there else set()
        kept = [id for id in there if id in left]
        if kept:
            # 0.18 ends with 0 where an append-only server refuses
            why = f" ({refused.plain})" if refused else "; restic itself said that it was done"
            hint = (
                "It is append-only for these credentials, or refuses to remove: snapshots are removed with maintain:."
            )
            raise NotRemoved(self._access, f"{len(kept)} of {len(there)} snapshots are still there{why}", hint=hint)
        return there

    def ls(
        self, snapshot: str, each: Callable[[Node], None], paths: Sequence[str] = (), *, patient: bool = True
    ) -> int:
        check_ids([snapshot])
        told = 0

        def line(text: bytes) -> None:
            nonlocal told
            try:
                data = json.loads(text)
            except ValueError:
                return
            node = replies.node(data) if isinstance(data, dict) and data.get("struct_type") == "node" else None
            if node is not None:
                told += 1
                each(node)

        words = ["--recursive", snapshot, *paths] if paths else [snapshot]
        self._commands.ask("ls", "--json", *words, line=line, deadline=self._program.deadline, patient=patient)
        return told

    def find(self, pattern: str, ids: Sequence[str] = ()) -> list[tuple[str, Node]]:
        check_ids(ids)
        among = [word for id in ids for word in ("--snapshot", id)]
        done = self._commands.ask("find", "--json", *among, "--", pattern, deadline=self._program.deadline)
        return self._commands.read_list(done, replies.found)

    def dump(self, snapshot: str, path: str, into: BinaryIO) -> int:
        check_ids([snapshot])
        written = 0

        def write(data: bytes) -> None:
            nonlocal written
            into.write(data)
            written += len(data)

        self._commands.ask("dump", snapshot, path, out=write, deadline=self._program.deadline)
        return written

    def restore(
        self,
        snapshot: str,
        target: str,
        *,
        include: Sequence[str] = (),
        subfolder: str = "",
        overwrite: Overwrite = "always",
        verify: bool = False,
        dry: bool = False,
        touched: Callable[[str, str], None] | None = None,
        tell: Tell | None = None,
        watch: Callable[[], None] | None = None,
    ) -> RestoreSummary:
        check_ids([snapshot])
        words = [f"{snapshot}:{subfolder}" if subfolder else snapshot, "--target", target, "--overwrite", overwrite]
        words += ["--verify"] if verify and not dry else []
        words += ["--dry-run"] if dry else []
        words += ["--verbose=2"] if touched else []
        reader = Reader(touched=touched)
        with ExitStack() as closing:
            held = closing.enter_context(_held("\n".join(patterns(include)))) if include else None
            words += [] if held is None else ["--include-file", f"/dev/fd/{held}"]
            done = self._commands.run(
                "restore",
                "--json",
                *words,
                reader=reader,
                tell=tell,
                deadline=self._program.deadline,
                pass_fds=[] if held is None else [held],
                watch=watch,
            )
        summary = replies.restore_summary(done.reader.summary or {})
        if done.status:
            error = self._commands.failed("restore", done)
            if type(error) in (ResticError, Damaged) and done.said.unreadable:
                # What is damaged is told of for each piece, and once more for the file
                items = list({one.item: one for one in reversed(done.said.unreadable)}.values())[::-1]
                more = " or more" if done.said.unreadable_count > len(done.said.unreadable) else ""
                left = f"{len(items)}{more} could not be restored, of {summary.files}"
                raise Partial(self._access, f"{left}: {printable(items[0].item)}: {items[0].message}", items)
            raise error
        if done.reader.summary is None:
            raise ResticError(self._access, "restic restored, and did not say what")
        if not summary.files and not summary.skipped:
            # 0.18 and 0.19 end with 0
            raise NothingRestored(self._access, f"nothing of what was asked for is in snapshot {snapshot[:8]}")
        if not dry and summary.bytes_restored < summary.bytes:
            came = f"{summary.bytes_restored} of {summary.bytes} bytes were restored"
            raise Partial(self._access, came, done.said.unreadable)
        return summary

    # The repository's data

    def prune(self, *, max_unused: str = "5%", tell: Tell | None = None) -> int | None:
        done = self._commands.ask("prune", "--max-unused", max_unused, tell=tell, deadline=self._program.deadline)
        return replies.pruned(done.data)

    def check(self, part: tuple[int, int] | None = None, *, tell: Tell | None = None) -> CheckSummary:
        words = [f"--read-data-subset={part[0]}/{part[1]}"] if part else []
        words = ["--read-data"] if part and part[1] == 1 else words
        done = self._commands.run("check", "--json", *words, tell=tell, deadline=self._program.deadline)
        found = [one.message for one in done.said.unreadable if one.message]
        if done.reader.summary is not None:
            summary = replies.check_summary(done.reader.summary, found)
            if done.status and summary.sound:
                raise self._commands.failed("check", done)
            return summary
        if done.status and not found:
            raise self._commands.failed("check", done)
        return CheckSummary(errors=len(found), said=tuple(found))

    def copy(self, source: Access, ids: Sequence[str], *, tell: Tell | None = None) -> dict[str, str]:
        check_ids(ids)
        theirs = {
            one.id: one.original or one.id
            for one in Controller(self._program, source).snapshots()
            if one.id in set(ids)
        }
        missing = [id for id in ids if id not in theirs]
        if missing:
            raise Partial(self._access, f"{len(missing)} of {len(ids)} snapshots are not in {source.repository}")
        for first in range(0, len(ids), AT_ONCE):
            some = ids[first : first + AT_ONCE]
            self._commands.ask("copy", *some, source=source, tell=tell, deadline=self._program.deadline)
        ours = {one.original or one.id: one.id for one in self.snapshots()}
        lost = [id for id in ids if theirs[id] not in ours]
        if lost:
            raise Partial(self._access, f"{len(lost)} of {len(ids)} snapshots did not arrive from {source.repository}")
        return {id: ours[theirs[id]] for id in ids}

    # Locks

    def locks(self) -> list[Lock]:
        listed = self._commands.ask("list", "locks", "--no-lock").data.decode("ascii", "replace").split()
        return [lock for id in listed if (lock := self._lock(id)) is not None]

    def _lock(self, id: str) -> Lock | None:
        try:
            check_ids([id])
            done = self._commands.ask("cat", "lock", id, "--no-lock")
        except (ValueError, ResticError):
            # Gone since it was listed, as locks that live go every five minutes; or not to be read
            return (
                None if id not in self._commands.ask("list", "locks", "--no-lock").data.decode() else Lock(id=id, at="")
            )
        return replies.lock(id, self._commands.read_object(done))

    def unlock(self, ids: Iterable[str]) -> list[str]:
        wanted = list(dict.fromkeys(ids))
        check_ids(wanted)
        there = set(self._commands.ask("list", "locks", "--no-lock").data.decode("ascii", "replace").split())
        here = [id for id in wanted if id in there]
        for id in here:
            try:
                lockfiles.remove(self._access, id)
            except lockfiles.Kept as error:
                raise NotRemoved(self._access, str(error)) from None
        left = (
            set(self._commands.ask("list", "locks", "--no-lock").data.decode("ascii", "replace").split())
            if here
            else set()
        )
        if kept := [id for id in here if id in left]:
            raise NotRemoved(self._access, f"{len(kept)} of {len(here)} locks are still there")
        return here
