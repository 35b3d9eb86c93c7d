"""A host belongs to one state, and is worked on by one run at a time: the owner file and the lock on the host."""

from __future__ import annotations

from dataclasses import dataclass

from mainstay.runner.shell.contract import Fence, Shell


@dataclass(frozen=True, slots=True)
class Holding:
    """What a host says of who holds it. Empty strings where nobody does."""

    site: str = ""
    state: str = ""
    last_run: str = ""
    lock_run: str = ""
    fence: int = 0


def read(shell: Shell) -> Holding:
    raise NotImplementedError


def acquire(shell: Shell, fence: Fence, *, stale: frozenset[str] = frozenset()) -> Holding:
    """Claim and lock the host for `fence.run`, in one round trip; again by the same run is success.

    stale: runs that are known to have ended; a lock of theirs is taken over. Returns what was there before.
    Raises FenceRefused where the host belongs to another state, a lock of another run is live, or the fence is old.
    """
    raise NotImplementedError


def release(shell: Shell, fence: Fence) -> None:
    """Give the lock back and note the run as the last one. Not held any more is success."""
    raise NotImplementedError


def adopt(shell: Shell, fence: Fence) -> Holding:
    """Take the host over from another state, on purpose. Returns who had it."""
    raise NotImplementedError
