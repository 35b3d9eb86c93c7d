"""Which way a point is proved."""

from __future__ import annotations

from mainstay.recovery.proving.attempt import Attempt, Tried
from mainstay.recovery.proving.files import prove_files
from mainstay.recovery.proving.mariadb import prove_mysql
from mainstay.recovery.proving.pgbase import prove_base
from mainstay.recovery.proving.pgdump import prove_dump, prove_globals
from mainstay.recovery.proving.sqlite import prove_sqlite

GLOBALS = "(globals)"
CLUSTER = "(cluster)"
"""Items of a PostgreSQL source that are no database."""


def try_out(attempt: Attempt) -> Tried:
    """Raises NotProved, Untried, ResticError."""
    match attempt.source.kind:
        case "postgresql":
            by_item = {GLOBALS: prove_globals, CLUSTER: prove_base}
            return by_item.get(attempt.point.item, prove_dump)(attempt)
        case "mysql":
            return prove_mysql(attempt)
        case "sqlite":
            return prove_sqlite(attempt)
        case _:
            return prove_files(attempt)
