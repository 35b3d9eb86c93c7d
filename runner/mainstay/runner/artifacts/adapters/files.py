"""Artifacts as files: `<directory>/<kind>/ab/cdef…`, folders 0700, files 0600.

What lies in them is what `packing` makes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from mainstay.runner.artifacts.adapters.packing import HASH, KINDS, PLAIN, Hashing, packed, packed_file, unpacked
from mainstay.runner.artifacts.contract import ArtifactDamaged, ArtifactMissing, ArtifactUnkept

ABANDONED = 86400.0
"""Seconds after which an unfinished file or upload belongs to nobody any more."""


class FileArtifacts:
    """Implements Artifacts."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, data: bytes, *, kind: str) -> str:
        name = hashlib.sha256(data).hexdigest()
        place = self._place(kind, name)
        if not place.exists():
            with self._temporary(kind) as (file, path):
                file.write(packed(data, kind))
                _keep(file, path, place)
        return name

    @contextmanager
    def writer(self, *, kind: str) -> Iterator[tuple[BinaryIO, list[str]]]:
        names: list[str] = []
        with self._temporary(kind) as (file, path):
            hashing = Hashing(file)
            yield cast(BinaryIO, hashing), names
            name = hashing.hexdigest()
            place = self._place(kind, name)
            if kind in PLAIN:
                _keep(file, path, place)
            else:
                with self._temporary(kind) as (smaller, beside):
                    smaller.write(packed_file(file, kind))
                    _keep(smaller, beside, place)
            names.append(name)

    def read(self, hash: str) -> bytes:
        place = self._find(hash)
        content = unpacked(place.read_bytes(), hash, place.parent.parent.name)
        if content is None:
            raise _damaged(place)
        return content

    def path(self, hash: str) -> Path:
        place = self._find(hash)
        if place.parent.parent.name not in PLAIN:
            raise ArtifactMissing(f"artifact {hash} is kept compressed, and has no file of its own")
        with place.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != hash:
                raise _damaged(place)
        return place

    def has(self, hash: str) -> bool:
        return any(self._place(kind, hash).exists() for kind in KINDS)

    def hashes(self, kind: str) -> Iterator[str]:
        yield from sorted(place.parent.name + place.name for place in self._places(kind))

    def prune(self, *, kind: str, older_than: float, keep: frozenset[str], cap: int) -> list[str]:
        now = time.time()
        for left in self._kind(kind).glob("new-*"):  # a process that was killed while it wrote
            if now - left.stat().st_mtime > ABANDONED:
                left.unlink(missing_ok=True)
        found = [(place, place.stat()) for place in self._places(kind)]
        size = sum(of.st_size for _, of in found)
        gone: list[str] = []
        for place, of in sorted(found, key=lambda item: item[1].st_mtime):
            name = place.parent.name + place.name
            if name not in keep and (now - of.st_mtime > older_than or size > cap):
                place.unlink(missing_ok=True)
                size -= of.st_size
                gone.append(name)
        return gone

    def _places(self, kind: str) -> list[Path]:
        return list(self._kind(kind).glob("[0-9a-f][0-9a-f]/*"))

    def _kind(self, kind: str) -> Path:
        assert kind in KINDS, kind
        return self._directory / kind

    def _place(self, kind: str, name: str) -> Path:
        if not HASH.fullmatch(name):
            raise ArtifactMissing(f"{name!r} is not the name of an artifact")
        return self._kind(kind) / name[:2] / name[2:]

    def _find(self, name: str) -> Path:
        for kind in KINDS:
            if (place := self._place(kind, name)).exists():
                return place
        raise ArtifactMissing(f"artifact {name} is not in {self._directory} (any more)")

    def _temporary(self, kind: str) -> AbstractContextManager[tuple[BinaryIO, Path]]:
        return temporary(self._kind(kind))


@contextmanager
def temporary(folder: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A file in the folder, made where it is not (0700), that is gone at the end of the block, unless it was kept.
    Raises ArtifactUnkept."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        number, name = tempfile.mkstemp(dir=folder, prefix="new-")
        try:
            with os.fdopen(number, "w+b") as file:
                yield cast(BinaryIO, file), Path(name)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
            raise
        text = f"{folder} can't be written: {error.strerror}"
        raise ArtifactUnkept(text, hint="Is the disk full, or failing? Make room.") from error


def _keep(file: BinaryIO, path: Path, place: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    place.parent.mkdir(mode=0o700, exist_ok=True)
    path.rename(place)


def _damaged(place: Path) -> ArtifactDamaged:
    return ArtifactDamaged(f"{place} is damaged: its content is not what its name says")
