"""What a process is called while it works: people read it, so it says where to look for it."""

from __future__ import annotations

import base64
import os
import platform
import re

_OWN = re.compile(r"(.+)-[a-z2-7]{8}")


def executor_id() -> str:
    """`ops2-4711-k3q7x2ma`: machine, process, and 40 random bits, so that none is ever used twice. At most 41 characters:
    PostgreSQL keeps 63 of a session's name."""
    machine = re.sub(r"[^A-Za-z0-9]+", "-", platform.node().partition(".")[0]).strip("-")[:24] or "host"
    return f"{machine}-{os.getpid()}-{base64.b32encode(os.urandom(5)).decode().lower()}"


def short(executor: str) -> str:
    """`ops2-4711`: machine and process alone."""
    found = _OWN.fullmatch(executor)
    return found[1] if found else executor
