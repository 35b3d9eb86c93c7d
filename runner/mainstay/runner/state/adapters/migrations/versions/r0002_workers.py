"""For runs on several machines: who interfered, places that are counted, how waves were laid out, shared artifacts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
NUMBER = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "intervention",
        sa.Column("number", NUMBER, primary_key=True),
        sa.Column("id", TEXT, nullable=False, unique=True),
        sa.Column("run", TEXT, nullable=False),
        sa.Column("at", TEXT, nullable=False),
        sa.Column("wish", TEXT, nullable=False),
        sa.Column("by", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
    )
    op.create_index("ix_intervention_run", "intervention", ["run"])
    op.create_table(
        "slot",
        sa.Column("run", TEXT, primary_key=True),
        sa.Column("host", TEXT, primary_key=True),
        sa.Column("scope", TEXT, primary_key=True),
    )
    op.create_index("ix_slot_scope", "slot", ["scope"])
    op.create_table(
        "wave",
        sa.Column("run", TEXT, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("hosts", TEXT, nullable=False),
    )
    # A version from before there were migrations refuses what is higher than 1, and does not write past this.
    op.execute("UPDATE meta SET value = '2' WHERE name = 'schema_version'")
    if op.get_bind().dialect.name == "postgresql":
        _artifacts()


def _artifacts() -> None:
    op.create_table(
        "artifact",
        sa.Column("kind", TEXT, primary_key=True),
        sa.Column("hash", TEXT, primary_key=True),
        sa.Column("upload", TEXT, nullable=False, unique=True),
        sa.Column("size", NUMBER, nullable=False),
        sa.Column("made_at", sa.Double, nullable=False),
    )
    op.create_index("ix_artifact_hash", "artifact", ["hash"])
    op.create_table(
        "artifact_chunk",
        sa.Column("upload", TEXT, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    # Packages and compressed outputs do not get smaller by being compressed again.
    op.execute("ALTER TABLE artifact_chunk ALTER COLUMN data SET STORAGE EXTERNAL")
