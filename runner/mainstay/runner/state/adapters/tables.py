"""The tables of the state, without the ledger's, as they are now. How they came to be is in `migrations/`: a table or
column that is added here is added there too, in the last revision while that has not been released, in a new one after.
A test holds the two against each other."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
shared = sa.MetaData()
"""Of artifacts that several machines share: in PostgreSQL alone."""

SCHEMA_VERSION = 4
"""In `meta` for versions before there were migrations: they refuse a higher one than theirs, which was 1."""

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
"""Sorted and compared by code point, as Python and SQLite do, whatever the database's own order is."""
NUMBER = sa.Integer().with_variant(sa.BigInteger(), "postgresql")

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("value", TEXT, nullable=False),
)

run = sa.Table(
    "run",
    metadata,
    sa.Column("number", NUMBER, primary_key=True),
    sa.Column("id", TEXT, nullable=False, unique=True),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("plan", TEXT, nullable=False),
    sa.Column("state", TEXT, nullable=False, index=True),
    sa.Column("request", TEXT, nullable=False),
    sa.Column("wave", sa.Integer),
    sa.Column("started_at", TEXT, nullable=False),
    sa.Column("ended_at", TEXT),
    sa.Column("wish", TEXT, nullable=False, default=""),
    sa.Column("wish_by", TEXT, nullable=False, default=""),
    sa.Column("wish_reason", TEXT, nullable=False, default=""),
)

host_part = sa.Table(
    "host_part",
    metadata,
    sa.Column("number", NUMBER, primary_key=True),
    sa.Column("run", TEXT, nullable=False),
    sa.Column("host", TEXT, nullable=False, index=True),
    sa.Column("body", TEXT, nullable=False),
    sa.UniqueConstraint("run", "host"),
)

outcome = sa.Table(
    "outcome",
    metadata,
    sa.Column("run", TEXT, primary_key=True),
    sa.Column("host", TEXT, primary_key=True),
    sa.Column("verdict", TEXT, nullable=False),
)

note = sa.Table(
    "note",
    metadata,
    sa.Column("run", TEXT, primary_key=True),
    sa.Column("host", TEXT, primary_key=True),
    sa.Column("step", TEXT, nullable=False),
    sa.Column("detail", TEXT, nullable=False),
    sa.Column("since", TEXT, nullable=False),
    sa.Column("wave", sa.Integer),
)

undo = sa.Table(
    "undo",
    metadata,
    sa.Column("number", NUMBER, primary_key=True),
    sa.Column("run", TEXT, nullable=False),
    sa.Column("host", TEXT, nullable=False, index=True),
    sa.Column("operation", TEXT, nullable=False),
    sa.Column("undo", TEXT, nullable=False),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("keep_until", TEXT, nullable=False),
    sa.Column("undone_by", TEXT),
    sa.UniqueConstraint("run", "host"),
)

sighting = sa.Table(
    "sighting",
    metadata,
    sa.Column("cohort", TEXT, primary_key=True),
    sa.Column("package", TEXT, primary_key=True),
    sa.Column("version", TEXT, primary_key=True),
    sa.Column("seen_at", TEXT, nullable=False),
)

block = sa.Table(
    "block",
    metadata,
    sa.Column("host", TEXT, primary_key=True),
    sa.Column("change_digest", TEXT, primary_key=True),
    sa.Column("run", TEXT, nullable=False),
)

intervention = sa.Table(
    "intervention",
    metadata,
    sa.Column("number", NUMBER, primary_key=True),
    sa.Column("id", TEXT, nullable=False, unique=True),  # so that one that is said again is kept once
    sa.Column("run", TEXT, nullable=False, index=True),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("wish", TEXT, nullable=False),
    sa.Column("by", TEXT, nullable=False),
    sa.Column("reason", TEXT, nullable=False),
)

slot = sa.Table(
    "slot",
    metadata,
    sa.Column("run", TEXT, primary_key=True),
    sa.Column("host", TEXT, primary_key=True),
    sa.Column("scope", TEXT, primary_key=True, index=True),
)

wave = sa.Table(
    "wave",
    metadata,
    sa.Column("run", TEXT, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("hosts", TEXT, nullable=False),
)

# What schedules remembers (`mainstay.schedules.store`): in this database, so that one backup holds all of a state.

watermark = sa.Table(
    "watermark",
    metadata,
    sa.Column("schedule", TEXT, primary_key=True),
    sa.Column("at", TEXT, nullable=False),
)

carried = sa.Table(
    "carried",
    metadata,
    sa.Column("plan", TEXT, primary_key=True),
    sa.Column("host", TEXT, primary_key=True),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("body", TEXT, nullable=False),
)

approval = sa.Table(
    "approval",
    metadata,
    sa.Column("run", TEXT, primary_key=True),
    sa.Column("hash", TEXT, primary_key=True),
    sa.Column("asked_at", TEXT, nullable=False),
    sa.Column("expires_at", TEXT, nullable=False, index=True),
    sa.Column("withdrawn_at", TEXT),
    sa.Column("body", TEXT, nullable=False),
)

vote = sa.Table(
    "vote",
    metadata,
    sa.Column("run", TEXT, primary_key=True),
    sa.Column("hash", TEXT, primary_key=True),
    sa.Column("by", TEXT, primary_key=True),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("body", TEXT, nullable=False),
)

notice = sa.Table(
    "notice",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("made_at", TEXT, nullable=False),
    sa.Column("next_try_at", TEXT, nullable=False),
    sa.Column("delivered_at", TEXT, index=True),
    sa.Column("body", TEXT, nullable=False),
)

mark = sa.Table(
    "mark",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("value", TEXT, nullable=False),
)

lease = sa.Table(
    "lease",
    metadata,
    sa.Column("name", TEXT, primary_key=True),
    sa.Column("holder", TEXT, nullable=False),
    sa.Column("until", TEXT, nullable=False),
)

# What backups leave behind (`mainstay.recovery.points`).

recovery_point = sa.Table(
    "recovery_point",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    sa.Column("repository", TEXT, primary_key=True),
    sa.Column("host", TEXT, nullable=False),
    sa.Column("plan", TEXT, nullable=False),
    sa.Column("source", TEXT, nullable=False),
    sa.Column("item", TEXT, nullable=False),
    sa.Column("run", TEXT, nullable=False, index=True),
    sa.Column("verdict", TEXT, nullable=False),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("anomalous", sa.Integer, nullable=False, index=True),  # 1 where there is an anomaly
    sa.Column("removed_at", TEXT),  # no index: nearly all are null, and a query that took it would read them all
    sa.Column("removed_by", TEXT),
    sa.Column("body", TEXT, nullable=False),
    # All that is asked for each host, and for the newest ones, without a look at the rows themselves.
    sa.Index("ix_recovery_point_of", "host", "plan", "source", "item", "repository", "verdict", "at", "removed_at"),
)

proof = sa.Table(
    "proof",
    metadata,
    sa.Column("point", TEXT, primary_key=True),
    sa.Column("repository", TEXT, primary_key=True),
    sa.Column("run", TEXT, primary_key=True),
    sa.Column("host", TEXT, nullable=False),
    sa.Column("plan", TEXT, nullable=False),
    sa.Column("source", TEXT, nullable=False),
    sa.Column("item", TEXT, nullable=False),
    sa.Column("verdict", TEXT, nullable=False),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("body", TEXT, nullable=False),
    sa.Index("ix_proof_of", "host", "plan", "source", "item", "repository", "verdict", "at"),
)

vault = sa.Table(
    "vault",
    metadata,
    sa.Column("repository", TEXT, primary_key=True),
    sa.Column("host", TEXT, primary_key=True),
    sa.Column("body", TEXT, nullable=False),
)

tended = sa.Table(
    "tended",
    metadata,
    sa.Column("repository", TEXT, primary_key=True),
    sa.Column("host", TEXT, primary_key=True),
    sa.Column("what", TEXT, primary_key=True),
    sa.Column("subject", TEXT, primary_key=True),
    sa.Column("part", TEXT, primary_key=True),
    sa.Column("at", TEXT, nullable=False),
    sa.Column("body", TEXT, nullable=False),
)

ack = sa.Table(
    "ack",
    metadata,
    sa.Column("item", TEXT, primary_key=True),
    sa.Column("host", TEXT, primary_key=True),
    sa.Column("source", TEXT, primary_key=True),
    sa.Column("by", TEXT, primary_key=True),
    sa.Column("at", TEXT, primary_key=True),
    sa.Column("body", TEXT, nullable=False),
)

artifact = sa.Table(
    "artifact",
    shared,
    sa.Column("kind", TEXT, primary_key=True),
    sa.Column("hash", TEXT, primary_key=True, index=True),
    sa.Column("upload", TEXT, nullable=False, unique=True),
    sa.Column("size", NUMBER, nullable=False),
    sa.Column("made_at", sa.Double, nullable=False),  # seconds since 1970, by the database's clock
)

artifact_chunk = sa.Table(
    "artifact_chunk",
    shared,
    sa.Column("upload", TEXT, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
