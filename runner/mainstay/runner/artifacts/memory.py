"""Artifacts without files, held to the suite that the real ones pass."""

from __future__ import annotations

import hashlib
import io
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mainstay.runner.artifacts.contract import ArtifactDamaged, ArtifactMissing
from mainstay.runner.artifacts.trim import trim


class MemoryArtifacts:
    """Implements Artifacts. `content` lies open, so that a test can damage it: (kind, name) → (bytes, made at)."""

    def __init__(self) -> None:
        self.content: dict[tuple[str, str], tuple[bytes, float]] = {}
        self._sealed: dict[str, str] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def put(self, data: bytes, *, kind: str) -> str:
        name = hashlib.sha256(data).hexdigest()
        kept = trim(data) if kind == "output" else data
        self._sealed[name] = hashlib.sha256(kept).hexdigest()
        self.content.setdefault((kind, name), (kept, time.time()))
        return name

    @contextmanager
    def writer(self, *, kind: str) -> Iterator[tuple[BinaryIO, list[str]]]:
        names: list[str] = []
        file = io.BytesIO()
        yield file, names
        names.append(self.put(file.getvalue(), kind=kind))

    def read(self, hash: str) -> bytes:
        data = self.content[self._key(hash)][0]
        if hashlib.sha256(data).hexdigest() != self._sealed[hash]:
            raise ArtifactDamaged(f"artifact {hash} is damaged: its content is not what its name says")
        return data

    def path(self, hash: str) -> Path:
        if self._key(hash)[0] != "package":
            raise ArtifactMissing(f"artifact {hash} is kept compressed, and has no file of its own")
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="mainstay-artifacts-")
        place = Path(self._folder.name) / hash
        place.write_bytes(self.read(hash))
        return place

    def has(self, hash: str) -> bool:
        return any(name == hash for _, name in self.content)

    def hashes(self, kind: str) -> Iterator[str]:
        yield from sorted(name for of, name in self.content if of == kind)

    def prune(self, *, kind: str, older_than: float, keep: frozenset[str], cap: int) -> list[str]:
        found = sorted((made, name, len(data)) for (of, name), (data, made) in self.content.items() if of == kind)
        size, gone = sum(length for _, _, length in found), []
        for made, name, length in found:
            if name not in keep and (time.time() - made > older_than or size > cap):
                del self.content[kind, name]
                size -= length
                gone.append(name)
        return gone

    def _key(self, hash: str) -> tuple[str, str]:
        for key in self.content:
            if key[1] == hash:
                return key
        raise ArtifactMissing(f"artifact {hash} is not kept (any more)")
