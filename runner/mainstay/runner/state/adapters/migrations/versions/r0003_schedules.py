"""For the clock: watermarks, hosts carried over, approvals and who gave them, notices, marks, leases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "watermark",
        sa.Column("schedule", TEXT, primary_key=True),
        sa.Column("at", TEXT, nullable=False),
    )
    op.create_table(
        "carried",
        sa.Column("plan", TEXT, primary_key=True),
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
    )
    _approvals()
    op.create_table(
        "notice",
        sa.Column("id", TEXT, primary_key=True),
        sa.Column("made_at", TEXT, nullable=False),
        sa.Column("next_try_at", TEXT, nullable=False),
        sa.Column("delivered_at", TEXT),
        sa.Column("body", TEXT, nullable=False),
    )
    op.create_index("ix_notice_delivered_at", "notice", ["delivered_at"])
    op.create_table(
        "mark",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("value", TEXT, nullable=False),
    )
    op.create_table(
        "lease",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("holder", TEXT, nullable=False),
        sa.Column("until", TEXT, nullable=False),
    )
    op.execute("UPDATE meta SET value = '3' WHERE name = 'schema_version'")


def _approvals() -> None:
    op.create_table(
        "approval",
        sa.Column("run", TEXT, primary_key=True),
        sa.Column("hash", TEXT, primary_key=True),
        sa.Column("asked_at", TEXT, nullable=False),
        sa.Column("expires_at", TEXT, nullable=False),
        sa.Column("withdrawn_at", TEXT),
        sa.Column("body", TEXT, nullable=False),
    )
    op.create_index("ix_approval_expires_at", "approval", ["expires_at"])
    op.create_table(
        "vote",
        sa.Column("run", TEXT, primary_key=True),
        sa.Column("hash", TEXT, primary_key=True),
        sa.Column("by", TEXT, primary_key=True),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("body", TEXT, nullable=False),
    )
