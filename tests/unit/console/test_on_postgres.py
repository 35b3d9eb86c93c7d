"""The command line over a state in PostgreSQL, as far as it goes without a host; and the password is nowhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.postgres import Postgres
from tests.servers.state import with_tables
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import part, seal, write_site

from mainstay.console import bootstrap
from mainstay.runner.state.adapters.migrating import migrate
from mainstay.runner.state.adapters.migrations import REVISIONS
from mainstay.runner.state.adapters.stores import open_database

RUN = "01KYB0000000000000000000K7"


class Told:
    """Everything that the command line said in a test."""

    def __init__(self, mainstay: Mainstay) -> None:
        self._mainstay = mainstay
        self.all = ""

    def __call__(self, *arguments: str, code: int = 0) -> str:
        result = self._mainstay(*arguments)
        self.all += result.out + result.err
        assert result.code == code, result.err
        return result.out + result.err


@pytest.fixture
def told(mainstay: Mainstay, postgres: Postgres) -> Iterator[Told]:
    one = Told(mainstay)
    yield one
    assert postgres.PASSWORD not in one.all


def site_on(server: Postgres, database: str, root: Path) -> Path:
    main = f"site: acme\nssh: {{user: ops}}\nstate: {server.url(database)}\nstate_password: file:secret\n"
    write_site(root, **{"mainstay.yml": main})
    (root / "secret").write_text(f"{server.PASSWORD}\n")
    (root / "secret").chmod(0o600)
    return root


def holders(server: Postgres, root: Path) -> list[str]:
    """Files that hold the password, but for the one that is there for it."""
    word = server.PASSWORD.encode()
    return [
        str(path) for path in root.rglob("*") if path.is_file() and path.name != "secret" and word in path.read_bytes()
    ]


def test_a_state_goes_into_one_file_and_into_another_database(told: Told, postgres: Postgres, tmp_path: Path) -> None:
    site = site_on(postgres, with_tables(postgres), tmp_path / "site")
    at = ("--site", str(site))
    with bootstrap.load(site) as app:
        seal(app, RUN, [part("web1")])  # type: ignore[arg-type]  # has state and ledger, as the fake does
        id = app.state.id
    assert "1 record" in told("state", *at)
    told("records", "verify", *at)
    told("state", "backup", str(tmp_path / "all"), *at)
    assert "is not empty" in told("state", "restore", str(tmp_path / "all"), *at, code=2)
    (site / "state").rename(tmp_path / "lost")
    assert "holds a state already" in told("state", "restore", str(tmp_path / "all"), *at, code=2)
    site_on(postgres, postgres.database(), site)
    assert "Restored 1 record" in told("state", "restore", str(tmp_path / "all"), *at)
    assert id in told("state", *at)
    assert RUN in told("records", "--json", *at)
    told("records", "verify", *at)
    assert holders(postgres, tmp_path) == []
    assert postgres.PASSWORD.encode() not in (tmp_path / "all").read_bytes()


def test_a_second_machine_is_told_what_it_lacks_and_then_what_it_begins_with(
    told: Told, postgres: Postgres, tmp_path: Path
) -> None:
    name = with_tables(postgres)
    first, second = (site_on(postgres, name, tmp_path / each) for each in ("one", "two"))
    with bootstrap.load(first) as app:
        seal(app, RUN, [part("web1")])  # type: ignore[arg-type]  # as above
    said = told("records", "--site", str(second), code=2)
    assert "no key of the ledger" in said and str(first / "state" / "ledger.key") in said
    shutil.copy(first / "state" / "ledger.key", second / "state" / "ledger.key")
    assert "for the first time: its 1 record is sound" in told("records", "--site", str(second))
    assert "for the first time" not in told("records", "--site", str(second))
    assert holders(postgres, tmp_path) == []


def test_the_roles_are_printed_made_and_looked_at(told: Told, postgres: Postgres, tmp_path: Path) -> None:
    name = postgres.database()
    postgres.execute(f"ALTER DATABASE {name} OWNER TO owner")
    site = site_on(postgres, name, tmp_path / "site")
    at = ("--site", str(site))
    script = told("state", "sql", "--owner", "owner", *at)
    for line in script.splitlines():
        if line.startswith(("CREATE SCHEMA", "GRANT")):
            postgres.execute(line.partition("--")[0], database=name)
    assert "migrate --as" in told("state", *at, code=1)
    migrated = told("state", "migrate", "--as", "owner", "--password", "file:secret", *at)
    assert f"from revision none to {REVISIONS[-1]}" in migrated
    assert "can't change one" in told("state", *at)
    assert "can't change one" in told("doctor", "--controller", "--json", *at)
    assert f"{REVISIONS[-1]} already" in told("state", "migrate", "--as", "owner", "--password", "file:secret", *at)
    assert "plain text" in told("state", "migrate", "--as", "owner", "--password", "hunter2", *at, code=2)
    postgres.execute("ALTER TABLE mainstay.maintenance_record OWNER TO mainstay", database=name)
    assert "can take its guards away" in told("doctor", "--controller", "--json", *at)


def test_an_older_state_is_brought_up_on_purpose(told: Told, postgres: Postgres, tmp_path: Path) -> None:
    name = postgres.database()
    site = site_on(postgres, name, tmp_path / "site")
    at = ("--site", str(site))
    with bootstrap.load(site) as app:
        database = open_database(app.site.state_url, app.state_password)
        migrate(database, to=REVISIONS[0])
        database.close()
    assert "mainstay state migrate" in told("records", *at, code=1)
    assert f"from revision {REVISIONS[0]} to {REVISIONS[-1]}" in told("state", "migrate", *at)
    told("records", *at)


def test_a_server_that_is_away_is_told_in_one_sentence(
    told: Told, postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.runner.state.adapters.stores.OPENING", 0.1)
    site = site_on(postgres, with_tables(postgres), tmp_path / "site")
    postgres.stop("immediate")
    try:
        said = told("records", "--site", str(site), code=1)
        told("records", "--debug", "--site", str(site), code=1)
        assert "Connection refused" in said and "Does the server run" in said
    finally:
        postgres.start()
    told("records", "--site", str(site))


def test_the_password_is_on_no_command_line_and_in_no_environment(postgres: Postgres, tmp_path: Path) -> None:
    site = site_on(postgres, with_tables(postgres), tmp_path / "site")
    look = (
        "import sys; from pathlib import Path; from mainstay.console.cli import run\n"
        f"code = run(['--site', {str(site)!r}, 'state', '--json'])\n"
        "own = Path('/proc/self/cmdline').read_bytes() + Path('/proc/self/environ').read_bytes()\n"
        "sys.exit(code or 9 * (sys.stdin.read().encode() in own))"
    )
    done = subprocess.run([sys.executable, "-c", look], input=postgres.PASSWORD, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert postgres.PASSWORD not in done.stdout + done.stderr


def test_roles_are_for_postgresql(mainstay: Mainstay, tmp_path: Path) -> None:
    site = write_site(tmp_path / "site")
    for arguments in (("sql",), ("migrate", "--as", "owner")):
        assert mainstay("state", *arguments, "--site", str(site)).code == 2
    assert mainstay("state", "migrate", "--site", str(site)).code == 2
    assert mainstay("records", "--site", str(site)).code == 0
    assert mainstay("state", "migrate", "--json", "--site", str(site)).json == {
        "before": REVISIONS[-1],
        "after": REVISIONS[-1],
    }
