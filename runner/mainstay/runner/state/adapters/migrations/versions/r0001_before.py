"""What there was before migrations: the state's tables and the ledger's. Its guards are made after each revision."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
NUMBER = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("value", TEXT, nullable=False),
    )
    op.create_table(
        "maintenance_record",
        sa.Column("seq", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("prev", TEXT, nullable=False),
        sa.Column("hash", TEXT, nullable=False, unique=True),
        sa.Column("body", TEXT, nullable=False),
    )
    _runs()
    _hosts()
    op.create_table(
        "sighting",
        sa.Column("cohort", TEXT, primary_key=True),
        sa.Column("package", TEXT, primary_key=True),
        sa.Column("version", TEXT, primary_key=True),
        sa.Column("seen_at", TEXT, nullable=False),
    )
    op.create_table(
        "block",
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("change_digest", TEXT, primary_key=True),
        sa.Column("run", TEXT, nullable=False),
    )


def _runs() -> None:
    op.create_table(
        "run",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("plan", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("request", TEXT, nullable=False),
        sa.Column("wave", sa.Integer),
        sa.Column("started_at", TEXT, nullable=False),
        sa.Column("ended_at", TEXT),
        sa.Column("wish", TEXT, nullable=False),
        sa.Column("wish_by", TEXT, nullable=False),
        sa.Column("wish_reason", TEXT, nullable=False),
    )
    op.create_index("ix_run_state", "run", ["state"])
    op.create_table(
        "outcome",
        sa.Column("run", TEXT, primary_key=True),
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("verdict", TEXT, nullable=False),
    )
    op.create_table(
        "note",
        sa.Column("run", TEXT, primary_key=True),
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("step", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("since", TEXT, nullable=False),
        sa.Column("wave", sa.Integer),
    )


def _hosts() -> None:
    op.create_table(
        "host_part",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("run", TEXT, nullable=False),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
        sa.UniqueConstraint("run", "host"),
    )
    op.create_index("ix_host_part_host", "host_part", ["host"])
    op.create_table(
        "undo",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("run", TEXT, nullable=False),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("operation", TEXT, nullable=False),
        sa.Column("undo", TEXT, nullable=False),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("keep_until", TEXT, nullable=False),
        sa.Column("undone_by", TEXT),
        sa.UniqueConstraint("run", "host"),
    )
    op.create_index("ix_undo_host", "undo", ["host"])
