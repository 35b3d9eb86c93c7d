"""What lies outside the database: the key that no one who can write the database needs to have, and the anchor."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from mainstay.runner.ledger.chain import Seal
from mainstay.runner.ledger.contract import LedgerBehind

KEY_BYTES = 32


def make_key(path: Path) -> None:
    """A fresh key in a file of its own, 0600, where there is none."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(number, "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())


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
    """A text file, one JSON line per seal: how far the ledger had come. Best kept on another disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def exists(self) -> bool:
        return self.path.exists()

    def make(self) -> None:
        """An empty one where there is none."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600))

    def note(self, seq: int, hash: str) -> None:
        """Append, and on the disk before it returns. A seq that it has reached already is left out."""
        with self._locked() as number:
            reached = self.last()
            if reached is not None and reached.seq >= seq:
                return
            now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            line = json.dumps({"seq": seq, "hash": hash, "time": now}) + "\n"
            # A line cut off by a power failure is closed, not continued.
            os.write(number, (b"" if self._whole() else b"\n") + line.encode())
            os.fsync(number)

    def seals(self) -> list[Seal]:
        """Every line that can be read, in the order written."""
        try:
            text = self.path.read_text(errors="replace")
        except FileNotFoundError:
            return []
        return [seal for line in text.splitlines() if (seal := _seal(line)) is not None]

    def last(self) -> Seal | None:
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
                lines = file.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return None
        found = [seal for line in lines if (seal := _seal(line)) is not None]
        return max(found, key=lambda seal: seal.seq, default=None)

    def _whole(self) -> bool:
        with self.path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    @contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            number = os.open(self.path, os.O_RDWR | os.O_APPEND)  # never made here: a lost one must be seen to be lost
        except FileNotFoundError as error:
            raise missing(self.path) from error
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


def _seal(line: str) -> Seal | None:
    try:
        data = json.loads(line)
        return Seal(seq=int(data["seq"]), hash=str(data["hash"]), time=str(data["time"]))
    except (ValueError, KeyError, TypeError):
        return None
