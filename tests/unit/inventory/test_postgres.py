"""A PostgreSQL URL says where a state is and never a password; whatever else it could say is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.inventory.errors import WrongValue
from mainstay.inventory.postgres import PostgresAddress, postgres_address


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://m@db/x", PostgresAddress("m", (("db", None),), "x")),
        ("postgres://m@db:5433/x", PostgresAddress("m", (("db", 5433),), "x")),
        ("postgresql://db1:1,db2:2/x", PostgresAddress("", (("db1", 1), ("db2", 2)), "x")),
        ("postgresql://m@[::1]:5/x", PostgresAddress("m", (("::1", 5),), "x")),
        ("postgresql:///x?host=/run/pg", PostgresAddress("", (), "x", (("host", "/run/pg"),))),
        ("postgresql://%2Frun%2Fpg/x", PostgresAddress("", (("/run/pg", None),), "x")),
        ("postgresql:///?service=acme", PostgresAddress("", (), "", (("service", "acme"),))),
        (
            "postgresql://a%40b@db/x%20y?sslmode=require",
            PostgresAddress("a@b", (("db", None),), "x y", (("sslmode", "require"),)),
        ),
    ],
)
def test_what_a_url_says(url: str, address: PostgresAddress) -> None:
    assert postgres_address(url) == address
    assert postgres_address(str(address)) == address


def test_libpq_gets_it_word_by_word() -> None:
    said = postgres_address("postgresql://m@a:1,b/x?sslmode=require").connection()
    assert said == {"user": "m", "host": "a,b", "port": "1,5432", "dbname": "x", "sslmode": "require"}
    assert postgres_address("postgresql:///x").connection() == {"dbname": "x"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://m:hunter2@db/x",
        "postgresql://:hunter2@db/x",
        "postgresql://m@db/x?password=hunter2",
        "postgresql://m@db/x?sslpassword=hunter2",
        "postgresql://m@db/x?options=-csearch_path%3Dhunter2",
        "postgresql://m@db/x?connect_timeout=hunter2",
        "postgresql://m@db",
        "postgresql://m@db/",
        "postgresql://m@db/x/hunter2",
        "postgresql://m@db:hunter2/x",
        "postgresql://m@db:0/x",
        "postgresql://m@db,/x",
        "postgresql://m@db/x?host=hunter2",
        "postgresql:///x?host=a&host=b",
        "postgresql:///x?hunter2",
        "postgresql://m@[::1/x",
        "postgresql://m@db/x\nhunter2",
        "mysql://m@db/x",
        "postgresql:m@db/x",
    ],
)
def test_what_is_refused_is_not_repeated(url: str) -> None:
    with pytest.raises(WrongValue) as caught:
        postgres_address(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.hint


@given(st.text(alphabet="a:/@?=&,[]%.é 5", max_size=40))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = postgres_address(f"postgresql://{text}")
    except WrongValue:
        return
    assert postgres_address(str(address)) == address
