"""For backups: recovery points, their proofs, what is known of repositories and was done there, and who looked at what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    _points()
    op.create_table(
        "vault",
        sa.Column("repository", TEXT, primary_key=True),
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("body", TEXT, nullable=False),
    )
    op.create_table(
        "tended",
        sa.Column("repository", TEXT, primary_key=True),
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("what", TEXT, primary_key=True),
        sa.Column("subject", TEXT, primary_key=True),
        sa.Column("part", TEXT, primary_key=True),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
    )
    op.create_table(
        "ack",
        sa.Column("item", TEXT, primary_key=True),
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("source", TEXT, primary_key=True),
        sa.Column("by", TEXT, primary_key=True),
        sa.Column("at", TEXT, primary_key=True),
        sa.Column("body", TEXT, nullable=False),
    )
    op.execute("UPDATE meta SET value = '4' WHERE name = 'schema_version'")


def _points() -> None:
    op.create_table(
        "recovery_point",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("repository", TEXT, primary_key=True),
        sa.Column("host", TEXT, nullable=False),
        sa.Column("plan", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("item", TEXT, nullable=False),
        sa.Column("run", TEXT, nullable=False),
        sa.Column("verdict", TEXT, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("anomalous", sa.Integer, nullable=False),
        sa.Column("removed_at", TEXT),
        sa.Column("removed_by", TEXT),
        sa.Column("body", TEXT, nullable=False),
    )
    of = ["host", "plan", "source", "item", "repository", "verdict", "at"]
    op.create_index("ix_recovery_point_of", "recovery_point", [*of, "removed_at"])
    op.create_index("ix_recovery_point_run", "recovery_point", ["run"])
    op.create_index("ix_recovery_point_anomalous", "recovery_point", ["anomalous"])
    op.create_table(
        "proof",
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
    )
    op.create_index("ix_proof_of", "proof", of)
