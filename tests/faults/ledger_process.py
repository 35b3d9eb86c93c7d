"""A process that seals, for tests that kill it, fill its disk and break its writes.

`python ledger_process.py ROOT PREFIX COUNT ACKNOWLEDGED`: opens the state in ROOT (the environment may name another one, in
PostgreSQL, of which ROOT is a machine's part), seals PREFIX-1 … PREFIX-COUNT one after
the other (0: without end) and tells each on the file descriptor ACKNOWLEDGED, after `seal` has returned:
`sealed SEQ HASH ID` or `refused KIND MESSAGE`. A refused one is sealed again, as a run that is resumed would.
It tells by send(2), so that a test may break every write(2) of it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.secrets import Secret
from mainstay.runner.state.adapters.stores import Stores, open_state

URL = os.environ.get("LEDGER_PROCESS_URL", "sqlite:///state/mainstay.db")
KEY = Path(os.environ["LEDGER_PROCESS_KEY"]) if "LEDGER_PROCESS_KEY" in os.environ else None
PASSWORD = Secret(os.environ["LEDGER_PROCESS_PASSWORD"]) if "LEDGER_PROCESS_PASSWORD" in os.environ else None
TRIES = 60
"""Refusals of one seal, or of the opening, after which it gives up."""
PATIENCE = float(os.environ.get("LEDGER_PROCESS_PAUSE", "0"))
"""Seconds between two tries."""


def main(root: Path, prefix: str, count: int, acknowledged: socket.socket) -> int:
    def tell(*words: object) -> None:
        acknowledged.sendall((" ".join(map(str, words)) + "\n").encode())

    def refused(error: MainstayError) -> None:
        tell("refused", type(error).__name__, json.dumps(error.message))
        time.sleep(PATIENCE)

    def opened() -> Stores | None:
        for _ in range(TRIES):
            try:
                return open_state(URL, root, key=KEY, password=PASSWORD)
            except MainstayError as error:
                refused(error)
        return None

    stores = opened()
    if stores is None:
        return 3
    tell("opened")
    number = 0
    while count == 0 or number < count:
        number += 1
        for _ in range(TRIES):
            try:
                entry = stores.ledger.seal(f"{prefix}-{number}", {"n": number, "text": "x" * 600})
            except MainstayError as error:
                refused(error)
            else:
                tell("sealed", entry.seq, entry.hash, entry.id)
                break
        else:
            return 4
    stores.close()
    return 0


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[4])) as told:
        sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), told))
