"""Which place a state's engine is in."""

from __future__ import annotations

from pathlib import Path

from mainstay.runner.engine.adapters.place import Place
from mainstay.runner.engine.adapters.sqlite_place import SqlitePlace


def place(directory: Path, url: str = "") -> Place:
    """url: `postgresql://…`; otherwise `engine.db` in the folder."""
    if url.startswith("postgresql"):
        from mainstay.runner.engine.adapters.postgres_place import PostgresPlace  # psycopg, which SQLite does not need

        return PostgresPlace(url)
    return SqlitePlace(directory)
