"""The artifact store's port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from mainstay.inventory.errors import MainstayError
from mainstay.runner.engine.contract import Unkept


class Artifacts(Protocol):
    """Content by SHA-256 (hex). Written whole or not at all; identical content is kept once; files are 0600."""

    def put(self, data: bytes, *, kind: str) -> str:
        """kind: `output` (compressed, capped at OUTPUT_CAP with head and tail kept) or `package` (as it is) or `json`.
        Returns the SHA-256 of what was given, before any capping or compression."""

    def writer(self, *, kind: str) -> AbstractContextManager[tuple[BinaryIO, list[str]]]:
        """For large content: write into the file; after the block the list holds the hash."""

    def read(self, hash: str) -> bytes:
        """Raises ArtifactMissing; ArtifactDamaged where the content is not what its name says."""

    def path(self, hash: str) -> Path:
        """Of an uncompressed one (a package). Raises ArtifactMissing."""

    def has(self, hash: str) -> bool: ...

    def hashes(self, kind: str) -> Iterator[str]: ...

    def prune(self, *, kind: str, older_than: float, keep: frozenset[str], cap: int) -> list[str]:
        """Remove what is older than so many seconds and not in `keep`, then the oldest until `cap` bytes are met."""


class ArtifactUnkept(Unkept):
    """It can't be written now: the disk is full, or failing."""


class ArtifactMissing(MainstayError):
    kind = "artifact"


class ArtifactDamaged(MainstayError):
    kind = "artifact"
