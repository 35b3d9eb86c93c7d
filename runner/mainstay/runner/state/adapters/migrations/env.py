"""What Alembic runs: the connection and what to do after each revision are handed over by `migrating`."""

from __future__ import annotations

from alembic import context

given = context.config.attributes
context.configure(connection=given["connection"], on_version_apply=given["after"])
context.run_migrations()
