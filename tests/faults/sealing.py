"""Processes that seal, what they were told is sealed, and what must hold of the ledger whatever was done to them."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mainstay.runner.ledger.seals import Anchor
from mainstay.runner.state.adapters.stores import Stores, open_state

PROGRAM = Path(__file__).with_name("ledger_process.py")
URL = "sqlite:///state/mainstay.db"
WAIT = 90
"""Seconds for anything to come about; on a quiet machine nothing takes more than two."""


@dataclass
class Told:
    """What a process has said. sealed: seq → hash."""

    sealed: dict[int, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


class Sealer:
    """One process. Its answers are read as they come, so that it never waits for us."""

    def __init__(
        self,
        root: Path,
        prefix: str,
        count: int,
        *,
        under: Sequence[str] = (),
        pause: float = 0,
        env: Mapping[str, str] | None = None,
    ) -> None:
        ours, theirs = socket.socketpair()
        self.told = Told()
        self._changed = threading.Condition()
        self._rest = b""
        self.opened = False
        self._over = False
        with theirs:
            self.process = subprocess.Popen(
                [*under, sys.executable, PROGRAM, root, prefix, str(count), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={"PATH": "/usr/bin:/bin", "LEDGER_PROCESS_PAUSE": str(pause), **(env or {})},
            )
        self._thread = threading.Thread(target=self._listen, args=(ours,), daemon=True)
        self._thread.start()

    def _listen(self, ours: socket.socket) -> None:
        with ours:
            while data := ours.recv(65536):
                *lines, self._rest = (self._rest + data).split(b"\n")
                with self._changed:
                    for line in lines:
                        self._take(line.decode())
                    self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _take(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "sealed":
            seq, hash, _ = rest.split()
            self.told.sealed[int(seq)] = hash
        elif word == "refused":
            self.told.refused.append(rest)
        else:
            self.opened = True

    def until_sealed(self, count: int) -> None:
        self._until(lambda: len(self.told.sealed) >= count, f"{count} are sealed")

    def until_refused(self, count: int = 1) -> None:
        self._until(lambda: len(self.told.refused) >= count, f"{count} are refused")

    def _until(self, met: object, what: str) -> None:
        assert callable(met)
        with self._changed:
            assert self._changed.wait_for(lambda: met() or self._over, WAIT) and met(), f"{what}: {self.told}"

    def end(self) -> int:
        """Wait for it; its status. What it printed would be a traceback."""
        out, _ = self.process.communicate(timeout=WAIT)
        self._thread.join(WAIT)
        assert b"Traceback" not in out, out.decode()
        return self.process.returncode

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.end()


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Stores]:
    stores = open_state(URL, root)
    try:
        yield stores
    finally:
        stores.close()


def assert_whole(root: Path, acknowledged: dict[int, str], *, next_seal: str = "next") -> int:
    """Everything acknowledged is there, nothing is found wrong, and work goes on without a repair. Returns the head."""
    with opened(root) as stores:
        return assert_sound(stores, acknowledged, next_seal=next_seal)


def assert_sound(stores: Stores, acknowledged: dict[int, str], *, next_seal: str = "next") -> int:
    index = {seq: hash for seq, (_, hash) in stores.ledger.index().items()}
    lost = {seq for seq, hash in acknowledged.items() if index.get(seq) != hash}
    assert not lost, f"acknowledged and not there: {sorted(lost)}"
    assert stores.ledger.verify() == []
    stores.ledger.guard()
    entry = stores.ledger.seal(next_seal, {"after": "all that"})
    assert stores.ledger.verify() == []
    anchored = Anchor(stores.anchor).last()
    assert anchored is not None
    assert (anchored.seq, anchored.hash) == (entry.seq, entry.hash)
    return entry.seq
