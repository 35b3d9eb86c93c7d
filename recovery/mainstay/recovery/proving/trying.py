"""Which way a dump is proved."""

from __future__ import annotations

from mainstay.recovery.proving.attempt import Attempt, Tried, Untried
from mainstay.recovery.proving.mariadb import prove_mysql
from mainstay.recovery.proving.pgbase import prove_base
from mainstay.recovery.proving.pgdump import prove_dump, prove_globals
from mainstay.recovery.proving.sqlite import prove_sqlite
from mainstay.runner.verdict import Verdict

GLOBALS = "(globals)"
CLUSTER = "(cluster)"
"""Items of a PostgreSQL source that are no database."""


DUMPS = ("postgresql", "mysql", "sqlite")
"""Kinds of sources whose points are one dump each."""


def try_dump(attempt: Attempt) -> Tried:
    """Of a source of DUMPS. Raises NotProved, Untried, and what `attempt.dump` raises."""
    match attempt.kind:
        case "postgresql":
            by_item = {GLOBALS: prove_globals, CLUSTER: prove_base}
            return by_item.get(attempt.item, prove_dump)(attempt)
        case "mysql":
            return prove_mysql(attempt)
        case "sqlite":
            return prove_sqlite(attempt)
        case other:
            raise ValueError(f"points of {other} are no dumps")


def untried(unit: str, error: Untried) -> Tried:
    """What is said of a point that was not tried."""
    left = (f"{unit}: {error.message}",) if error.limit else ()
    verdict = Verdict.REFUSED if error.limit else Verdict.UNKNOWN
    return Tried(verdict, f"not tried: {error.message}", left_out=left)
