"""Artifacts in PostgreSQL, for workers on several machines: chunks of 1 MiB, each written in a short transaction of its
own, and a row that names them once they are all there. Until then nobody sees any of it; what a process left that died
in between is removed when the store is pruned.

A package is handed to a host as a file: a copy of it lies in a folder of this machine, held against its hash each time.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, cast

import sqlalchemy as sa
from ulid import ULID

from mainstay.runner.artifacts.adapters.files import ABANDONED, temporary
from mainstay.runner.artifacts.adapters.packing import HASH, KINDS, PLAIN, Hashing, packed, packed_file, unpacked
from mainstay.runner.artifacts.contract import ArtifactDamaged, ArtifactMissing
from mainstay.runner.state.adapters.database import persistent
from mainstay.runner.state.adapters.postgres import PostgresDatabase
from mainstay.runner.state.adapters.tables import artifact, artifact_chunk

CHUNK = 1024 * 1024

_NOW = sa.func.extract("epoch", sa.func.clock_timestamp())


class SharedArtifacts:
    """Implements Artifacts. cache: a folder of this machine, made where it is not (0700)."""

    def __init__(self, database: PostgresDatabase, cache: Path) -> None:
        self._database = database
        self._cache = cache
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, data: bytes, *, kind: str) -> str:
        name = hashlib.sha256(data).hexdigest()
        if self._row(kind, name) is None:
            kept = packed(data, kind)
            self._upload(kind, name, (kept[at : at + CHUNK] for at in range(0, len(kept), CHUNK)), len(kept))
        return name

    @contextmanager
    def writer(self, *, kind: str) -> Iterator[tuple[BinaryIO, list[str]]]:
        names: list[str] = []
        with temporary(self._cache) as (file, path):
            hashing = Hashing(file)
            yield cast(BinaryIO, hashing), names
            name = hashing.hexdigest()
            if kind not in PLAIN:
                kept = packed_file(file, kind)
                file.seek(0)
                file.truncate()
                file.write(kept)
            if not self._renewed(kind, name):
                size = file.seek(0, os.SEEK_END)
                file.seek(0)
                self._upload(kind, name, iter(lambda: file.read(CHUNK), b""), size)
            if kind in PLAIN:
                self._keep(file, path, name)
            names.append(name)

    def _upload(self, kind: str, name: str, chunks: Iterator[bytes], size: int) -> None:
        upload = str(ULID())
        for number, data in enumerate(chunks):
            self._write_chunk(upload, number, data)
        self._publish(kind, name, upload, size)

    @persistent
    def _write_chunk(self, upload: str, number: int, data: bytes) -> None:
        with self._database.apart() as to:
            row = self._database.insert(artifact_chunk).values(upload=upload, number=number, data=data)
            to.execute(row.on_conflict_do_nothing())

    @persistent
    def _publish(self, kind: str, name: str, upload: str, size: int) -> None:
        """From here on it is there. Where another process was first, what this one wrote goes again."""
        with self._database.write() as to:
            row = self._database.insert(artifact).values(kind=kind, hash=name, upload=upload, size=size, made_at=_NOW)
            to.execute(row.on_conflict_do_nothing())
            theirs = to.execute(sa.select(artifact.c.upload).where(_is(kind, name))).scalar_one()
            if theirs != upload:
                to.execute(sa.delete(artifact_chunk).where(artifact_chunk.c.upload == upload))

    @persistent
    def _renewed(self, kind: str, name: str) -> bool:
        """Whether it is there, and from now on as young as one that was just made: nobody may need it yet when another
        run's end prunes what is old."""
        assert kind in KINDS, kind
        with self._database.write() as to:
            return bool(to.execute(sa.update(artifact).where(_is(kind, name)).values(made_at=_NOW)).rowcount)

    def read(self, hash: str) -> bytes:
        row = self._find(hash)
        content = unpacked(b"".join(self._chunks(row)), hash, row.kind)
        if content is None:
            raise _damaged(hash)
        return content

    def _chunks(self, row: Any) -> Iterator[bytes]:
        """Raises ArtifactDamaged where they are not as long as they were."""
        size, number = 0, 0
        while size < row.size:
            data = self._chunk(row.upload, number)
            if not data:
                raise _damaged(row.hash)
            yield data
            size, number = size + len(data), number + 1
        if size > row.size:
            raise _damaged(row.hash)

    @persistent
    def _chunk(self, upload: str, number: int) -> bytes | None:
        table = artifact_chunk
        with self._database.read() as of:
            query = sa.select(table.c.data).where(table.c.upload == upload, table.c.number == number)
            found: bytes | None = of.execute(query).scalar_one_or_none()
        return found

    def path(self, hash: str) -> Path:
        row = self._find(hash)
        if row.kind not in PLAIN:
            raise ArtifactMissing(f"artifact {hash} is kept compressed, and has no file of its own")
        place = self._cached(hash)
        with suppress(FileNotFoundError), place.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == hash:
                return place
        with temporary(self._cache) as (fetched, path):
            hashing = Hashing(fetched)
            for data in self._chunks(row):
                hashing.write(data)
            if hashing.hexdigest() != hash:
                raise _damaged(hash)
            self._keep(fetched, path, hash)
        return place

    def has(self, hash: str) -> bool:
        return self._any(hash) is not None

    @persistent
    def hashes(self, kind: str) -> Iterator[str]:
        with self._database.read() as of:
            query = sa.select(artifact.c.hash).where(artifact.c.kind == kind).order_by(artifact.c.hash)
            return iter(of.execute(query).scalars().all())

    def prune(self, *, kind: str, older_than: float, keep: frozenset[str], cap: int) -> list[str]:
        assert kind in KINDS, kind
        gone = self._forget(kind, older_than, keep, cap)
        for upload in {*gone.values(), *self._nameless()}:
            self._delete_chunks(upload)
        self._tidy()
        return list(gone)

    @persistent
    def _forget(self, kind: str, older_than: float, keep: frozenset[str], cap: int) -> dict[str, str]:
        """hash → upload of what is no longer named."""
        gone: dict[str, str] = {}
        with self._database.write() as to:
            age = (_NOW - artifact.c.made_at).label("age")
            query = sa.select(artifact.c.hash, artifact.c.upload, artifact.c.size, age).where(artifact.c.kind == kind)
            rows = to.execute(query.order_by(artifact.c.made_at, artifact.c.hash)).all()
            total = sum(row.size for row in rows)
            for row in rows:
                if row.hash not in keep and (row.age > older_than or total > cap):
                    total -= row.size
                    gone[row.hash] = row.upload
            to.execute(sa.delete(artifact).where(artifact.c.kind == kind, artifact.c.hash.in_(gone)))
        return gone

    @persistent
    def _nameless(self) -> list[str]:
        """Uploads that are no artifact's (any more): pruned, or left by a process that died. Not those under way."""
        begun = str(ULID.from_datetime(datetime.now(UTC) - timedelta(seconds=ABANDONED)))
        table = artifact_chunk
        with self._database.read() as of:
            query = sa.select(table.c.upload).where(table.c.upload.not_in(sa.select(artifact.c.upload))).distinct()
            return list(of.execute(query.where(table.c.upload < begun)).scalars())

    @persistent
    def _delete_chunks(self, upload: str) -> None:
        with self._database.apart() as to:
            to.execute(sa.delete(artifact_chunk).where(artifact_chunk.c.upload == upload))

    def _tidy(self) -> None:
        """This machine's copies of what is no longer kept, and what a process that was killed left."""
        kept = set(self.hashes("package"))
        for place in self._cache.glob("*/*"):
            if place.parent.name + place.name not in kept:
                place.unlink(missing_ok=True)
        for left in self._cache.glob("new-*"):
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > ABANDONED:
                    left.unlink()

    @persistent
    def _row(self, kind: str, name: str) -> Any:
        assert kind in KINDS, kind
        with self._database.read() as of:
            return of.execute(sa.select(artifact).where(_is(kind, name))).one_or_none()

    @persistent
    def _any(self, name: str) -> Any:
        if not HASH.fullmatch(name):
            raise ArtifactMissing(f"{name!r} is not the name of an artifact")
        with self._database.read() as of:
            rows = of.execute(sa.select(artifact).where(artifact.c.hash == name)).all()
        return min(rows, key=lambda row: KINDS.index(row.kind), default=None)

    def _find(self, name: str) -> Any:
        row = self._any(name)
        if row is None:
            raise ArtifactMissing(f"artifact {name} is not in the database (any more)")
        return row

    def _cached(self, name: str) -> Path:
        return self._cache / name[:2] / name[2:]

    def _keep(self, file: BinaryIO, path: Path, name: str) -> None:
        file.flush()
        self._cached(name).parent.mkdir(mode=0o700, exist_ok=True)
        path.rename(self._cached(name))


def _is(kind: str, name: str) -> sa.ColumnElement[bool]:
    return sa.and_(artifact.c.kind == kind, artifact.c.hash == name)


def _damaged(name: str) -> ArtifactDamaged:
    return ArtifactDamaged(f"artifact {name} in the database is damaged: its content is not what its name says")
