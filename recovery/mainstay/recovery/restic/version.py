"""Which restic is new enough to be believed."""

from __future__ import annotations

import re

from mainstay.recovery.expectations import LEAST_RESTIC, too_old

MIN = LEAST_RESTIC

Version = tuple[int, int, int]


def parse_version(said: str) -> Version | None:
    """What `restic version` prints (`restic 0.18.0 compiled with go1.24.4 on linux/amd64`, `restic 0.19.1-dev (…) compiled …`),
    also as JSON or alone (`0.18.0`); None where it can't be read."""
    found = re.search(r"(?:^|restic |\"version\":\")(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", said[:500], re.ASCII)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def refuse_old(said: str) -> str | None:
    """Why the restic that says so of itself is not taken; None where it is new enough."""
    version = parse_version(said)
    return too_old(".".join(map(str, version)) if version else said.strip())
