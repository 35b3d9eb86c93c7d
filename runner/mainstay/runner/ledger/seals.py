"""What lies outside the database: the key that no one who can write the database needs to have, and the anchor."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from mainstay.runner.ledger.chain import Seal
from mainstay.runner.ledger.contract import LedgerBehind, LedgerUnusable

KEY_BYTES = 32
_LAST_SEQ = 2**63 - 1
"""The last number that a database can hold."""
_WINDOW = 4096
"""Bytes that are read from the anchor's end at first: some thirty lines."""


def make_key(path: Path) -> None:
    """A fresh key in a file of its own, 0600, where there is none. Whole or not at all: half a key is a lost one."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(number, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _unusable("the ledger's key can't be written", path, error) from error
    finally:
        draft.unlink(missing_ok=True)


def read_key(path: Path) -> bytes:
    """Raises LedgerBehind where it is not there or not a key: without it no entry can be told from a forged one."""
    try:
        key = bytes.fromhex(path.read_text().strip())
    except FileNotFoundError as error:
        raise LedgerBehind(
            f"the ledger's key is missing: {path}", hint="Bring it back from a backup of the state."
        ) from error
    except (OSError, ValueError) as error:
        raise LedgerBehind(
            f"the ledger's key can't be read: {path}", hint="Bring it back from a backup of the state."
        ) from error
    if len(key) != KEY_BYTES:
        raise LedgerBehind(f"the ledger's key is damaged: {path}", hint="Bring it back from a backup of the state.")
    return key


class Anchor:
    """A text file, one JSON line per seal: how far the ledger had come. Best kept on another disk.

    Every method raises LedgerBehind where something else lies in its place (a folder, a link), and LedgerUnusable where
    the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return os.path.lexists(self.path)

    def make(self) -> None:
        """An empty one where there is none."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(_opened(self.path, os.O_WRONLY | os.O_CREAT))
            _sync_folder(self.path.parent)
        except OSError as error:
            raise _unusable("the ledger's anchor can't be made", self.path, error) from error

    def note(self, seq: int, hash: str) -> None:
        """Append, and on the disk before it returns. A seq that it has reached already is left out."""
        self.append([Seal(seq, hash, now())])

    def append(self, seals: Iterable[Seal], *, only_further: bool = True) -> None:
        """As `note`, several at once, with the times that they bring. All of them, or none."""
        with self._locked() as number:
            reached = self.last() if only_further else None
            new = [seal for seal in seals if reached is None or seal.seq > reached.seq]
            if not new:
                return
            # A line cut off by a power failure is closed, not continued.
            data = (b"" if _whole(number) else b"\n") + b"".join(line_of(seal) for seal in new)
            size = os.fstat(number).st_size
            try:
                _write_all(number, data)
                os.fsync(number)
            except OSError as error:
                # Taken back: what was not synced would look noted to the next one who asks, and half a line is none.
                with suppress(OSError):
                    os.ftruncate(number, size)
                raise _unusable("the ledger's anchor can't be written", self.path, error) from error

    def seals(self) -> list[Seal]:
        """Every line that can be read, in the order written. None where there is no file."""
        return self._end(None)[0]

    def last(self) -> Seal | None:
        """The highest of the last lines that can be read."""
        for found, whole in self._ends():
            if found or whole:
                return max(found, key=lambda seal: seal.seq, default=None)
        return None

    def after(self, seq: int) -> list[Seal]:
        """What was noted past `seq`; takes no more reading than that needs."""
        for found, whole in self._ends():
            if whole or any(seal.seq <= seq for seal in found):
                return [seal for seal in found if seal.seq > seq]
        return []

    def _ends(self) -> Iterator[tuple[list[Seal], bool]]:
        """Ever more of the file, from its end, until it is all of it."""
        window, whole = _WINDOW, False
        while not whole:
            found, whole = self._end(window)
            yield found, whole
            window *= 8

    def _end(self, window: int | None) -> tuple[list[Seal], bool]:
        """(seals in the last `window` bytes, whether that is the whole file)."""
        try:
            with os.fdopen(_opened(self.path, os.O_RDONLY), "rb") as file:
                start = 0 if window is None else max(0, file.seek(0, os.SEEK_END) - window)
                file.seek(start)
                return read_lines(file.read()), start == 0
        except FileNotFoundError:
            return [], True
        except OSError as error:
            raise _unusable("the ledger's anchor can't be read", self.path, error) from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            number = _opened(self.path, os.O_RDWR | os.O_APPEND)  # never made here: a lost one must be seen to be lost
        except FileNotFoundError as error:
            raise missing(self.path) from error
        except OSError as error:
            raise _unusable("the ledger's anchor can't be written", self.path, error) from error
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
            yield number
        finally:
            os.close(number)


def missing(path: Path) -> LedgerBehind:
    return LedgerBehind(
        f"the ledger's anchor is missing: {path}",
        hint="Bring it back from its backup; without it nobody can tell whether records are gone.",
    )


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def line_of(seal: Seal) -> bytes:
    return json.dumps({"seq": seal.seq, "hash": seal.hash, "time": seal.time}).encode() + b"\n"


def read_lines(data: bytes) -> list[Seal]:
    """What an anchor's text says, in its order; lines that are no seal are passed over."""
    # splitlines() would also part a line at characters that JSON leaves alone.
    return [seal for line in data.split(b"\n") if (seal := read_line(line)) is not None]


def read_line(line: bytes | str) -> Seal | None:
    try:
        data = json.loads(line)
        seq, hash, time = data["seq"], data["hash"], data["time"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if type(seq) is not int or not 1 <= seq <= _LAST_SEQ or not isinstance(hash, str) or not isinstance(time, str):
        return None
    return Seal(seq, hash, time)


def _opened(path: Path, flags: int) -> int:
    """A plain file, and nothing that was put in its place. Raises LedgerBehind, OSError."""
    replaced = LedgerBehind(
        f"the ledger's anchor is no file of its own any more: {path}",
        hint="Find out who put something else in its place, and bring it back from its backup.",
    )
    try:
        number = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise replaced from error
        raise
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise replaced
    return number


def _write_all(number: int, data: bytes) -> None:
    """A full disk takes the beginning of a line, and says so only when asked for the rest."""
    while data:
        data = data[os.write(number, data) :]


def _whole(number: int) -> bool:
    size = os.fstat(number).st_size
    return size == 0 or os.pread(number, 1, size - 1) == b"\n"


def _sync_folder(folder: Path) -> None:
    """So that a new file's name outlives a power cut as its content does."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _unusable(what: str, path: Path, error: OSError) -> LedgerUnusable:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    hint = "The disk is full: make room, then go on with `mainstay runs resume RUN`." if full else None
    return LedgerUnusable(f"{what}: {path}: {error.strerror}", hint=hint)
