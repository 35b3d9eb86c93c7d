"""The tables of `mainstay.db`, without the ledger's."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

SCHEMA_VERSION = 1

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)

run = sa.Table(
    "run",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("request", sa.Text, nullable=False),
    sa.Column("wave", sa.Integer),
    sa.Column("started_at", sa.Text, nullable=False),
    sa.Column("ended_at", sa.Text),
    sa.Column("wish", sa.Text, nullable=False, default=""),
    sa.Column("wish_by", sa.Text, nullable=False, default=""),
    sa.Column("wish_reason", sa.Text, nullable=False, default=""),
)

host_part = sa.Table(
    "host_part",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.UniqueConstraint("run", "host"),
)

outcome = sa.Table(
    "outcome",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("verdict", sa.Text, nullable=False),
)

note = sa.Table(
    "note",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("step", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("since", sa.Text, nullable=False),
    sa.Column("wave", sa.Integer),
)

undo = sa.Table(
    "undo",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("run", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False, index=True),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("undo", sa.Text, nullable=False),
    sa.Column("made_at", sa.Text, nullable=False),
    sa.Column("keep_until", sa.Text, nullable=False),
    sa.Column("undone_by", sa.Text),
    sa.UniqueConstraint("run", "host"),
)

sighting = sa.Table(
    "sighting",
    metadata,
    sa.Column("cohort", sa.Text, primary_key=True),
    sa.Column("package", sa.Text, primary_key=True),
    sa.Column("version", sa.Text, primary_key=True),
    sa.Column("seen_at", sa.Text, nullable=False),
)

block = sa.Table(
    "block",
    metadata,
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("change_digest", sa.Text, primary_key=True),
    sa.Column("run", sa.Text, nullable=False),
)

intervention = sa.Table(
    "intervention",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("run", sa.Text, nullable=False, index=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("wish", sa.Text, nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

slot = sa.Table(
    "slot",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("host", sa.Text, primary_key=True),
    sa.Column("scope", sa.Text, primary_key=True, index=True),
)

wave = sa.Table(
    "wave",
    metadata,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("hosts", sa.Text, nullable=False),
)
