"""What is said of a server that does not let us in."""

from __future__ import annotations

import psycopg

from mainstay.runner.state.adapters.postgres import _hint, _plain


def test_libpqs_own_question_is_left_out() -> None:
    """The hint asks the same."""
    said = 'connection to server at "db", port 5432 failed: Connection refused\n\tIs the server running on that host?\n'
    assert _plain(psycopg.OperationalError(said)) == said.splitlines()[0]
    assert _plain(psycopg.OperationalError("Is it?")) == "Is it?"


def test_whoever_migrates_as_another_role_is_told_where_its_password_goes() -> None:
    hint = _hint(None, "fe_sendauth: no password supplied")
    assert hint is not None and "state_password: file:PATH" in hint and "--password" in hint
