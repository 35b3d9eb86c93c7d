"""One file that holds a whole state, and a state made from one: ledger, key, anchor, captures, the engine's part, known
hosts. Of a state in PostgreSQL it holds all rows of one moment; roles, passwords and the server's settings it does not,
nor what other machines keep for themselves. A backup of a state in SQLite can also become one in PostgreSQL, while no run
is in flight; not the other way.

What was in flight when the backup was made is in flight in what is restored, while its hosts have moved on: `restore`
names those runs, so that somebody looks before they are resumed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from mainstay.inventory.errors import MainstayError, UsageError
from mainstay.inventory.value import Json
from mainstay.runner.ledger.seals import Anchor
from mainstay.runner.state.adapters.dump import FILE, Dumped, Loaded, dump, load
from mainstay.runner.state.adapters.moving import rows_of
from mainstay.runner.state.adapters.postgres import PostgresDatabase
from mainstay.runner.state.adapters.sqlite import copy_file
from mainstay.runner.state.adapters.stores import ANCHOR_FILE, ARTIFACTS, ENGINE_FILE, KEY_FILE, Stores

DATABASE = "mainstay.db"
KNOWN_HOSTS = "known_hosts"
MANIFEST = "manifest.json"
FORMAT = 1
SHARED_FORMAT = 2
"""Of a state in PostgreSQL."""
TABLES = "tables"
FENCE_LEAP = 1_000_000
"""A restored state hands out numbers far above any that its hosts can have seen since the backup."""

_MEMBERS = re.compile(
    rf"({DATABASE}|{ENGINE_FILE}|{KEY_FILE}|{ANCHOR_FILE}|{KNOWN_HOSTS}|{MANIFEST}"
    rf"|{ARTIFACTS}/(output|package|json)/[0-9a-f]{{2}}/[0-9a-f]{{62}}|{TABLES}/{FILE.pattern})"
)


Against = Callable[[dict[int, str]], object]


class ArchiveDamaged(MainstayError):
    """It is no backup of a state, or not a whole one."""

    kind = "archive"


@dataclass(frozen=True, slots=True)
class Restored:
    """made_at: of the backup, RFC 3339 UTC. records: how many the ledger holds. in_flight: ids of unfinished runs."""

    state: str
    made_at: str
    records: int
    in_flight: tuple[str, ...]


Place = Callable[[Restored, Callable[[], dict[int, str]]], None]


def backup(stores: Stores, path: Path, *, known_hosts: Path | None = None) -> int:
    """Write the whole state into one file (0600), also while runs go on; returns its size in bytes.

    Raises UsageError where there is a file already. The file holds the ledger's key: keep it as you keep the state.
    """
    if path.exists():
        raise UsageError(f"{path} is there already", hint="Name a file that does not exist yet.")
    with _temporary(path.parent, "backup") as folder:
        unfinished = folder / "whole"
        with unfinished.open("xb") as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                _write(tar, stores, folder, known_hosts)
            file.flush()
            os.fsync(file.fileno())
        unfinished.chmod(0o600)
        unfinished.rename(path)
    return path.stat().st_size


def _write(tar: tarfile.TarFile, stores: Stores, folder: Path, known_hosts: Path | None) -> None:
    hashes: dict[str, str] = {}
    manifest: Json = {"format": FORMAT, "state": stores.state.id, "made_at": _now(), "files": hashes}
    # The anchor first: the ledger that is copied after it can only be further.
    _add(tar, ANCHOR_FILE, stores.anchor, hashes)
    _add(tar, KEY_FILE, stores.key, hashes)
    if isinstance(stores.database, PostgresDatabase):
        (folder / TABLES).mkdir()
        dumped = dump(stores.database, folder / TABLES)
        manifest |= {"format": SHARED_FORMAT, "revision": dumped.revision, "tables": dumped.columns}
        for name in dumped.columns:
            _add(tar, f"{TABLES}/{name}", folder / TABLES / name, hashes)
            (folder / TABLES / name).unlink()
    else:
        for name, source in ((DATABASE, Path(stores.database.name)), (ENGINE_FILE, stores.directory / ENGINE_FILE)):
            stores.database.close()  # on a full disk each connection is alone
            copy_file(source, folder / name)
            _add(tar, name, folder / name, hashes)
        for place in sorted((stores.directory / ARTIFACTS).glob("*/[0-9a-f][0-9a-f]/*")):
            _add(tar, f"{ARTIFACTS}/{place.relative_to(stores.directory / ARTIFACTS)}", place, hashes)
    if known_hosts is not None and known_hosts.exists():
        _add(tar, KNOWN_HOSTS, known_hosts, hashes)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    _add(tar, MANIFEST, folder / MANIFEST, {})


def restore(
    path: Path,
    directory: Path,
    *,
    database: str | PostgresDatabase = DATABASE,
    key: Path | None = None,
    anchor: Path | None = None,
    known_hosts: Path | None = None,
    against: Against | None = None,
) -> Restored:
    """Make the state from a backup: its folder, and in PostgreSQL its rows. database: the name that the site's `state:`
    gives the file, or an empty database. key, anchor, known_hosts: where the site keeps them, if not in the folder; a key
    or known_hosts that is there stays as it is. against: asked with the backup's hashes by seq before anything takes its
    place; raises where they are not what others have seen.

    Raises UsageError where the folder or the database holds something, the backup can't become that kind of state, or an
    anchor has seen more than the backup; ArchiveDamaged.
    """
    if directory.exists() and any(directory.iterdir()):
        raise UsageError(f"{directory} is not empty", hint="Move the state that is there away first.")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(directory.parent, "restore") as folder:
        manifest = _extract(path, folder)
        (folder / MANIFEST).unlink()
        if isinstance(database, str) and manifest["format"] == SHARED_FORMAT:
            hint = "Set `state:` in mainstay.yml to an empty database there."
            raise UsageError(f"{path} is a backup of a state in PostgreSQL", hint=hint)

        def place(restored: Restored, index: Callable[[], dict[int, str]]) -> None:
            if against is not None:
                against(index())
            _place(folder, directory, restored, key, anchor, known_hosts)

        if isinstance(database, str):
            restored = _prepare(folder, manifest)
            (folder / DATABASE).rename(folder / database)
            place(restored, lambda: _index(folder / database))
            return restored
        rows = folder.with_name(f"{folder.name}-rows")
        try:
            return _restore_rows(database, _rows(path, folder, rows, manifest), rows, manifest, place)
        finally:
            shutil.rmtree(rows, ignore_errors=True)


def _rows(path: Path, folder: Path, rows: Path, manifest: Json) -> Dumped:
    """The backup's rows, in a folder of their own; of one in SQLite as PostgreSQL reads them."""
    if manifest["format"] == SHARED_FORMAT:
        (folder / TABLES).rename(rows)
        return Dumped(manifest["revision"], manifest["tables"])
    rows.mkdir(mode=0o700)
    try:
        dumped = rows_of(folder / DATABASE, folder / ARTIFACTS, rows)
    except sqlite3.Error as error:
        raise ArchiveDamaged(f"{path} is damaged: {error}") from error
    for left in (*folder.glob(f"{DATABASE}*"), folder / ENGINE_FILE):
        left.unlink()
    shutil.rmtree(folder / ARTIFACTS, ignore_errors=True)
    return dumped


def _restore_rows(database: PostgresDatabase, dumped: Dumped, rows: Path, manifest: Json, place: Place) -> Restored:
    """place: puts what belongs to this machine where it belongs, once all rows are in; what it raises undoes them."""
    state, made_at = manifest["state"], manifest["made_at"]

    def placed(loaded: Loaded) -> None:
        place(Restored(state, made_at, loaded.records, loaded.in_flight), loaded.index)

    loaded = load(database, rows, dumped, leap=FENCE_LEAP, before_commit=placed)
    return Restored(state, made_at, loaded.records, loaded.in_flight)


def _place(
    folder: Path, directory: Path, restored: Restored, key: Path | None, anchor: Path | None, known_hosts: Path | None
) -> None:
    _place_outside(folder, restored, anchor, known_hosts)
    if key is not None and key.parent != directory:
        if not key.exists():
            key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(folder / KEY_FILE, key)
            key.chmod(0o600)
        (folder / KEY_FILE).unlink()
    if directory.exists():
        directory.rmdir()
    folder.rename(directory)


def _prepare(folder: Path, manifest: Json) -> Restored:
    """Check both databases, and lift the fence over everything that hosts may have seen."""
    for name in (ENGINE_FILE, DATABASE):
        with closing(sqlite3.connect(folder / name)) as connection:
            try:
                said = connection.execute("PRAGMA quick_check").fetchone()[0]
            except sqlite3.DatabaseError as error:
                raise ArchiveDamaged(f"{name} in the backup is damaged: {error}") from error
            if said != "ok":
                raise ArchiveDamaged(f"{name} in the backup is damaged: {said}")
    with closing(sqlite3.connect(folder / DATABASE)) as connection, connection:
        connection.execute("UPDATE meta SET value = CAST(value + ? AS TEXT) WHERE name = 'fence'", (FENCE_LEAP,))
        (records,) = connection.execute("SELECT count(*) FROM maintenance_record").fetchone()
        rows = connection.execute("SELECT id FROM run WHERE state != 'ended' ORDER BY number").fetchall()
    return Restored(manifest["state"], manifest["made_at"], records, tuple(id for (id,) in rows))


def _index(database: Path) -> dict[int, str]:
    with closing(sqlite3.connect(database)) as connection:
        return {seq: str(hash) for seq, hash in connection.execute("SELECT seq, hash FROM maintenance_record")}


def _place_outside(folder: Path, restored: Restored, anchor: Path | None, known_hosts: Path | None) -> None:
    if anchor is not None:
        seen = Anchor(anchor).last()
        if seen is not None and seen.seq > restored.records:
            raise UsageError(
                f"the anchor {anchor} has seen {seen.seq} records; the backup holds {restored.records}",
                hint="Restore a newer backup, or move the anchor away to say that the records between are lost.",
            )
        if seen is None:
            anchor.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copyfile(folder / ANCHOR_FILE, anchor)
            anchor.chmod(0o600)
        (folder / ANCHOR_FILE).unlink()
    kept = folder / KNOWN_HOSTS
    if kept.exists() and known_hosts is not None:
        if not known_hosts.exists():
            known_hosts.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(kept, known_hosts)
        kept.unlink()


def _extract(path: Path, folder: Path) -> Json:
    """Everything in the backup, checked against its manifest."""
    try:
        with tarfile.open(path, mode="r:") as tar:
            for member in tar:
                if not member.isreg() or not _MEMBERS.fullmatch(member.name):
                    raise ArchiveDamaged(f"{path} holds {member.name!r}, which no backup of a state does")
                # Copied by hand: extraction filters came with Python 3.11.4, and Debian 12 has 3.11.2. The names were
                # held to the grammar above, so that nothing leaves the folder.
                place, content = folder / member.name, tar.extractfile(member)
                assert content is not None, "a regular file has content"
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("xb") as file:
                    shutil.copyfileobj(content, file)
                place.chmod(0o600)
    except FileNotFoundError as error:
        raise UsageError(f"{path} is not there") from error
    except (OSError, tarfile.TarError) as error:
        raise ArchiveDamaged(f"{path} can't be read as a backup: {error}") from error
    for each in folder.rglob("*"):
        if each.is_dir():
            each.chmod(0o700)
    return _check(path, folder)


def _check(path: Path, folder: Path) -> Json:
    try:
        manifest: Json = json.loads((folder / MANIFEST).read_text())
        files: dict[str, str] = manifest["files"]
        made_at, state, format = str(manifest["made_at"]), str(manifest["state"]), manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArchiveDamaged(f"{path} is not a whole backup: its list of contents is missing or damaged") from error
    if format not in (FORMAT, SHARED_FORMAT):
        raise ArchiveDamaged(f"{path} was written by another mainstay (format {format})", hint="Use that version.")
    there = {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()} - {MANIFEST}
    wrong = sorted(there ^ files.keys()) + sorted(
        name for name in there & files.keys() if _hash(folder / name) != files[name]
    )
    needed = ({DATABASE, ENGINE_FILE, KEY_FILE, ANCHOR_FILE} if format == FORMAT else {KEY_FILE, ANCHOR_FILE}) - there
    if format == SHARED_FORMAT:
        try:
            needed |= {
                f"{TABLES}/{name}" for name in Dumped(manifest["revision"], dict(manifest["tables"])).columns
            } - there
        except (KeyError, TypeError, ValueError) as error:
            raise ArchiveDamaged(f"{path} is damaged: its list of tables is missing") from error
    if wrong or needed:
        raise ArchiveDamaged(f"{path} is damaged: {', '.join([*sorted(needed), *wrong][:5])} is missing or changed")
    return {**manifest, "made_at": made_at, "state": state}


class _Hashing:
    """Hashes what is read through it, so that what is listed is what was written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.hash.update(data)
        return data


def _add(tar: tarfile.TarFile, name: str, source: Path, hashes: dict[str, str]) -> None:
    try:
        file = source.open("rb")
    except FileNotFoundError:
        if name.startswith(ARTIFACTS):
            return  # pruned meanwhile
        raise
    with file:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = os.fstat(file.fileno()).st_size, int(source.stat().st_mtime), 0o600
        hashing = _Hashing(file)
        tar.addfile(info, hashing)  # reads exactly `size` bytes: an anchor that grows meanwhile is cut at a line's end
        hashes[name] = hashing.hash.hexdigest()


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _temporary(parent: Path, purpose: str) -> Iterator[Path]:
    try:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=f".mainstay-{purpose}-"))
    except OSError as error:
        raise UsageError(f"{parent} can't be written: {error.strerror}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
