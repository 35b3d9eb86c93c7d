"""How the tables came to be what they are, one revision after the other, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

REVISIONS = ("0001", "0002", "0003", "0004")
"""In their order. Here, so that opening a state needs no Alembic, whose import takes a while."""
