"""The URL that another library gets says the same password and the same servers to SQLAlchemy and to libpq."""

from __future__ import annotations

import psycopg.conninfo
import pytest
import sqlalchemy as sa

from mainstay.inventory.postgres import postgres_address
from mainstay.inventory.secrets import Secret
from mainstay.runner.engine.adapters.postgres_place import for_libpq
from mainstay.runner.state.adapters.postgres import engine_url


@pytest.mark.parametrize("password", ["plain", "a b", " +$é\"%'@:/?#&=\\", "%20 +"])
def test_any_password_arrives(password: str) -> None:
    url = engine_url(postgres_address("postgresql://m@db:6543/mainstay"), Secret(password))
    assert sa.make_url(url).password == password
    told = psycopg.conninfo.conninfo_to_dict(url.replace("+psycopg", "", 1))
    assert (told["password"], told["user"], told["dbname"]) == (password, "m", "mainstay")


@pytest.mark.parametrize(
    ("servers", "hosts", "ports"),
    [
        ("db", "db", "5432"),
        ("[::1]:6543", "::1", "6543"),
        ("our_db:1", "our_db", "1"),
        ("one:1,[fe80::1],our_db:3", "one,fe80::1,our_db", "1,5432,3"),
    ],
)
def test_any_servers_arrive(servers: str, hosts: str, ports: str) -> None:
    url = engine_url(postgres_address(f"postgresql://m@{servers}/mainstay"), None)
    _, told = sa.create_engine(url).dialect.create_connect_args(sa.make_url(url))
    assert (told["host"], told["port"]) == (hosts, ports)
    read = psycopg.conninfo.conninfo_to_dict(for_libpq(url))
    assert (read["host"], read["port"]) == (hosts, ports)
