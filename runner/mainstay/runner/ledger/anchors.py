"""Anchors on other machines: where every seal goes as well, so that a ledger that is lost or cut short together with its
own anchor is found out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from mainstay.inventory.errors import MainstayError
from mainstay.runner.ledger.chain import Seal
from mainstay.runner.ledger.seals import Anchor

T = TypeVar("T")


class RemoteAnchor(Protocol):
    """Keeps seals where whoever can write the state can't change them. Append-only; safe for many threads.

    Every method raises AnchorUnusable, within a bounded time.
    """

    @property
    def name(self) -> str:
        """`ssh vault1:/var/lib/mainstay-anchor/acme`: unique within a site, and without a secret."""

    def make(self) -> None:
        """An empty one where there is none; asked before the very first seal goes there."""

    def append(self, seals: Sequence[Seal]) -> None:
        """On that machine's disk before it returns. What is there already is success, where its hash is the same; raises
        AnchorConflict where it is another."""

    def last(self, near: int = 0) -> Seal | None:
        """The highest that it has seen. near: where that may be expected, which spares some anchors a search."""

    def seals(self) -> list[Seal]:
        """Everything that it has seen, in no particular order."""

    def close(self) -> None: ...


class AnchorUnusable(MainstayError):
    """It does not answer, or will not do it. Unknown, and no proof of anything."""

    kind = "anchor"


class AnchorConflict(AnchorUnusable):
    """It has seen another record under this number: the ledger was made anew, or two states share one anchor."""


def conflict(name: str, seq: int) -> AnchorConflict:
    return AnchorConflict(
        f"anchor {name} has seen another record {seq} than this ledger holds",
        hint="`mainstay records verify` says what differs. Two states can't share one anchor.",
    )


def unknown_to(name: str, seals: Iterable[Seal], there: Iterable[Seal]) -> list[Seal]:
    """Those of `seals` that are not there. Raises AnchorConflict."""
    seen: dict[int, set[str]] = {}
    for seal in there:
        seen.setdefault(seal.seq, set()).add(seal.hash)
    new = []
    for seal in seals:
        if seal.seq not in seen:
            new.append(seal)
        elif seal.hash not in seen[seal.seq]:
            raise conflict(name, seal.seq)
    return new


class MemoryAnchor:
    """Implements RemoteAnchor. `kept` lies open for tests; `broken`: what it says instead of answering."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.kept: list[Seal] = []
        self.broken = ""
        self.made = False
        self._lock = threading.Lock()

    def make(self) -> None:
        self._reach()
        self.made = True

    def append(self, seals: Sequence[Seal]) -> None:
        self._reach()
        with self._lock:
            if not self.made:
                raise lost(self.name)
            self.kept += unknown_to(self.name, seals, self.kept)

    def last(self, near: int = 0) -> Seal | None:
        return max(self.seals(), key=lambda seal: seal.seq, default=None)

    def seals(self) -> list[Seal]:
        self._reach()
        return list(self.kept)

    def close(self) -> None: ...

    def _reach(self) -> None:
        if self.broken:
            raise AnchorUnusable(f"anchor {self.name}: {self.broken}")


class FileAnchor:
    """Implements RemoteAnchor on a file: another disk, or what is mounted from another machine."""

    def __init__(self, anchor: Anchor) -> None:
        self.name = f"file {anchor.path}"
        self._anchor = anchor

    def make(self) -> None:
        self._asked(self._anchor.make)

    def append(self, seals: Sequence[Seal]) -> None:
        if not seals:
            return
        there = self._asked(lambda: self._anchor.after(min(seal.seq for seal in seals) - 1))
        new = unknown_to(self.name, seals, there)
        if not self._anchor.exists():
            raise lost(self.name)
        self._asked(lambda: self._anchor.append(new, only_further=False))

    def last(self, near: int = 0) -> Seal | None:
        return self._asked(self._anchor.last)

    def seals(self) -> list[Seal]:
        return self._asked(self._anchor.seals)

    def close(self) -> None: ...

    def _asked(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except MainstayError as error:
            raise AnchorUnusable(f"anchor {self.name}: {error.message}", hint=error.hint) from error


def lost(name: str) -> AnchorUnusable:
    return AnchorUnusable(
        f"anchor {name} is not there any more",
        hint="It was, and nothing makes it anew in silence. Is it mounted? Bring it back, or name another place.",
    )
