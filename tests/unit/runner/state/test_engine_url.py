"""The URL that another library gets says the same password to SQLAlchemy and to libpq."""

from __future__ import annotations

import psycopg.conninfo
import pytest
import sqlalchemy as sa

from mainstay.inventory.postgres import postgres_address
from mainstay.inventory.secrets import Secret
from mainstay.runner.state.adapters.postgres import engine_url


@pytest.mark.parametrize("password", ["plain", "a b", " +$é\"%'@:/?#&=\\", "%20 +"])
def test_any_password_arrives(password: str) -> None:
    url = engine_url(postgres_address("postgresql://m@db:6543/mainstay"), Secret(password))
    assert sa.make_url(url).password == password
    told = psycopg.conninfo.conninfo_to_dict(url.replace("+psycopg", "", 1))
    assert (told["password"], told["user"], told["dbname"]) == (password, "m", "mainstay")
