"""Recovery points and proofs as tests want them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.runner.verdict import Verdict

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def before(days: float = 0, hours: float = 0) -> str:
    return (NOW - timedelta(days=days, hours=hours)).isoformat()


def point(at: str, **more: Any) -> RecoveryPoint:
    """Of web1's etc, succeeded, in the repository main."""
    given = {"host": "web1", "plan": "nightly", "source": "etc", "repository": "main", "at": at, "made_at": at} | more
    given.setdefault("id", hashlib.sha256(repr(sorted(given.items())).encode()).hexdigest())
    given.setdefault("run", f"run-{given['id'][:6]}")
    return RecoveryPoint.model_validate({"verdict": Verdict.SUCCEEDED} | given)


def proof(of: RecoveryPoint, at: str, verdict: Verdict = Verdict.SUCCEEDED) -> Proof:
    return Proof(
        point=of.id,
        host=of.host,
        plan=of.plan,
        source=of.source,
        repository=of.repository,
        run="drill-1",
        at=at,
        verdict=verdict,
    )
