"""Secrets go through all that a run can come to, and are found nowhere: not in databases, artifacts, logs, errors, archives,
command lines or environments, neither on the controller nor on the hosts."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import signal
import sqlite3
import subprocess
import tarfile
import zlib
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.fleet import Fleet, Host
from tests.fleet.canary import Canaries, Watch, forms, on_host
from tests.fleet.site import Ended, OperatorSite, make_site
from tests.fleet.system import run, wait_until
from tests.servers.postgres import Postgres

pytestmark = pytest.mark.no_cover

VARIABLE = "CANARY_PASSPHRASE"
LOUD = ("--debug", "--log-level", "debug", "--log-format", "json")

PLAN = """
kind: patch
targets: role=web
updates: {{select: all, only: [demo-web]}}
before: [{{command: [/usr/local/bin/drain]}}, {{controller: [{drain}]}}]
health: [{{command: [/usr/local/bin/smoke], user: root, retries: 1, every: 1s}}]
on_failure: rollback-host
"""
# Both print what they should not: the host knows the password of sudo, and these tell it in their own words.
DRAIN = """#!/bin/sh
printf 'using %s\\n' "$(cat /root/password)"
base64 -w0 /root/password; echo
printf 'ops:%s' "$(cat /root/password)" | base64 >&2
"""
SMOKE = """#!/bin/sh
[ ! -e /etc/demo-web/unwell ] && exit 0
echo "no login with $(cat /root/password)" >&2; exit 1
"""


class Rig:
    """A host whose ops has a password for sudo and an encrypted key, and a site that knows of both by reference."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        # With what each way of quoting makes something else of; the words of a sentence between them.
        self.values = {name: f"{name}-{secrets.token_hex(6)} '+/$é\"%" for name in ("passphrase", "sudo", "wrong")}
        self.canaries = Canaries(self.values)
        self.fleet, (self.host,) = fleet, fleet.pristine(1)
        self.said: list[str] = []
        self.private = folder / "private"
        self.private.mkdir(mode=0o700)
        self._set_up(self.host)
        made = make_site(folder / "site", fleet, [self.host])
        self.site = OperatorSite(made.root, {VARIABLE: self.values["passphrase"]})
        self.plan()
        self.configure("sudo")

    def _set_up(self, host: Host) -> None:
        host.install("demo-web", "1.0")
        host.exec(["chpasswd"], stdin=f"ops:{self.values['sudo']}\n".encode())
        host.exec(["tee", "/etc/sudoers.d/ops"], stdin=b"ops ALL=(ALL) ALL\n")
        host.exec(["install", "-m", "600", "/dev/stdin", "/root/password"], stdin=self.values["sudo"].encode())
        for name, text in (("drain", DRAIN), ("smoke", SMOKE)):
            host.exec(["install", "-m", "755", "/dev/stdin", f"/usr/local/bin/{name}"], stdin=text.encode())
        host.exec(["mkdir", "-p", "/etc/demo-web"])
        host.exec(["tee", "/etc/demo-web/seconds"], stdin=b"2\n")

    def plan(self) -> None:
        drain = self.private / "drain"
        drain.write_text(f"#!/bin/sh\necho 'its key opens with'; cat {self.private}/passphrase\nsleep 0.3\n")
        drain.chmod(0o700)
        (self.private / "passphrase").write_text(self.values["passphrase"])
        self.site.plan("web-update", PLAN.format(drain=drain))

    def configure(self, sudo: str) -> None:
        """sudo: whose value the command gives that is asked for sudo's password."""
        key = self.private / "key"
        if not key.exists():
            key.write_bytes(self.fleet.key.read_bytes())
            key.chmod(0o600)
            run(["ssh-keygen", "-q", "-p", "-N", self.values["passphrase"], "-f", key])
        (self.private / "sudo").write_text(self.values[sudo] + "\n")
        (self.site.root / "mainstay.yml").write_text(
            f"site: acme\ntimezone: UTC\nssh: {{user: ops, key: 'file:{key}', passphrase: 'env:{VARIABLE}', "
            f"become: {{password: 'command:cat {self.private}/sudo'}}, known_hosts: inventory/known_hosts}}\n"
        )

    def __call__(self, *argv: str, ends: tuple[int, ...] = (0,)) -> Ended:
        ended = self.site(*argv, *LOUD)
        self.said += [ended.out, ended.told]
        assert ended.status in ends, ended.told
        return ended

    def killed_while_it_applies(self) -> str:
        """Returns the run's id."""
        with self.site.meanwhile("run", "web-update", "--yes", *LOUD) as process:
            wait_until(lambda: self._applying() or process.poll() is not None, "it is applying", deadline=120)
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            self.said += process.communicate()
        assert process.returncode == -signal.SIGKILL, self.said[-1]
        (row,) = self.site.in_flight()
        return str(row["id"])

    def _applying(self) -> bool:
        look = "systemctl list-units --plain --no-legend 'mainstay-*apply*' | grep -c running || true"
        return self.host.exec(["sh", "-c", look]).strip() == "1"

    def everywhere(self) -> list[str]:
        found = self.canaries.in_tree(self.site.root)
        for text in self.said:
            found += self.canaries.hits("what it said", text.encode())
        return found + on_host(self.canaries, self.host, but=["/root/password"])


@pytest.fixture(scope="module")
def rig(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return Rig(tmp_path_factory.mktemp("canary"), fleet)


def outputs(site: OperatorSite) -> bytes:
    """All that steps have printed, as it is kept."""
    files = sorted((site.root / "state/artifacts/output").rglob("*"))
    return b"\n".join(zlib.decompress(file.read_bytes()[65:]) for file in files if file.is_file())


def test_no_secret_is_left_anywhere(rig: Rig) -> None:
    repository = rig.fleet.repository
    # The environment in which an `env:` secret was put is mainstay's own, that of a command that is asked for another, and that
    # of `file`, where it is installed: the standard library asks it what the interpreter was built for, as croniter is imported.
    watch = Watch(rig.canaries, own=["/bin/mainstay", f"cat\0{rig.private}", "file\0-b\0"])
    with watch.looking():
        repository.publish("demo-web", "1.6")
        killed = rig.killed_while_it_applies()
        assert rig("runs", "resume", killed, "--json").json["verdict"] == "succeeded"
        rig.host.exec(["touch", "/etc/demo-web/unwell"])
        back = rig("rollback", killed, "--yes", "--json", ends=(1,))
        assert "no login with ***" in back.host(rig.host.name)["reason"], "what the check said of the host"
        rig.configure("wrong")
        rig("run", "web-update", "--yes", "--json", "--retry", ends=(1, 4))
        rig("state", "backup", str(rig.site.root / "all.tar"))
        rig("records", "show", killed)
    assert watch.looks > 20 and any(b"private/drain" in line for line in watch.seen), "it has looked while hooks ran"
    assert watch.found == set()
    kept = outputs(rig.site)
    assert b"using ***" in kept and b"its key opens with\n***" in kept, "they did print them, and that was kept"
    assert rig.everywhere() == []


def test_the_search_finds_what_is_there(rig: Rig) -> None:
    """Another one, planted in each kind of place, so that the search above can fail."""
    value = f"planted-{secrets.token_hex(6)} '+/$é\"%"
    planted = Canaries({"planted": value})
    rig("records")
    state, there, encoded = rig.site.root / "state", rig.host.root / "var/lib/mainstay/planted", value.encode()

    def found(kind: str) -> bool:
        hits = planted.in_tree(rig.site.root) if "host" not in kind else on_host(planted, rig.host)
        return any(kind.removeprefix("host ") in hit for hit in hits)

    assert planted.in_tree(rig.site.root) == on_host(planted, rig.host) == []
    place = state / "artifacts/output/ab/planted"
    place.parent.mkdir(parents=True, exist_ok=True)
    for form in sorted(forms(value)):
        content = b"said " + form
        place.write_bytes(hashlib.sha256(content).hexdigest().encode() + b"\n" + zlib.compress(content))
        assert found("ab/planted"), form
    with closing(sqlite3.connect(state / "planted.db")) as database:
        # Longer than a page of the database: no piece of the file holds it as a whole.
        database.execute("CREATE TABLE planted (value TEXT)")
        database.execute("INSERT INTO planted VALUES (?)", ("x" * 4090 + value + "x" * 4090,))
        database.commit()
    assert found("planted.db")
    with tarfile.open(rig.site.root / "planted.tar", "w") as archive:
        archive.add(place, "inner")
    assert found("planted.tar › inner")
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_bytes(encoded)
    assert found("host var/lib/mainstay/planted")
    rig.host.exec(["logger"], stdin=encoded)
    wait_until(lambda: found("host its journal"), "the journal has it", deadline=60, every=1)
    for path in (place, state / "planted.db", rig.site.root / "planted.tar", there):
        path.unlink()


def test_the_watch_sees_command_lines_and_environments() -> None:
    value = f"planted-{secrets.token_hex(6)}"
    watch = Watch(Canaries({"planted": value}), own=["of its own"])
    watch.look()
    assert watch.found == set()
    sleep, encoded = ["sleep", "60"], base64.b64encode(b"a:" + value.encode()).decode()
    for kind, argv, environment in (
        ("a command line", ["sh", "-c", "sleep 60; :", value], {}),
        ("the environment", sleep, {"X": value}),
        ("the environment", sleep, {"X": encoded}),
    ):
        process = subprocess.Popen(argv, env={"PATH": os.environ["PATH"], **environment})
        try:
            watch.found.clear()
            watch.look()
            assert any(kind in hit for hit in watch.found), kind
        finally:
            process.kill()
            process.wait()


SETTINGS = """
site: acme
timezone: UTC
state: {url}
state_password: file:../pg
ssh: {{user: ops, key: 'file:../key', known_hosts: inventory/known_hosts}}
"""


def test_the_databases_password_is_left_nowhere_either(postgres: Postgres, tmp_path: Path) -> None:
    """A run that is handed to a worker and ends refused, archives, a wrong password, a database that is not there."""
    values = {name: f'{name}-{secrets.token_hex(6)} +$é"%' for name in ("postgres", "wrong")}
    canaries, role = Canaries(values), f"canary{postgres.made()}"
    postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{values['postgres']}'")
    database = postgres.database()
    postgres.execute(f"ALTER DATABASE {database} OWNER TO {role}")
    site, said = _with_postgres(tmp_path, postgres.url(database, user=role)), []

    def mainstay(*argv: str, ends: tuple[int, ...] = (0,)) -> Ended:
        ended = site(*argv, *LOUD)
        said.extend([ended.out, ended.told])
        assert ended.status in ends, ended.told
        return ended

    def password(name: str) -> None:
        (tmp_path / "pg").write_text(values[name])
        (tmp_path / "pg").chmod(0o600)

    watch = Watch(canaries, own=[])
    with watch.looking():
        password("postgres")
        with site.meanwhile("worker", *LOUD) as worker:
            wait_until(lambda: b"worker" in b"".join(watch.seen) and watch.looks > 3, "it was looked at", deadline=60)
            mainstay("run", "nothing", "--yes", "--json", ends=(4, 5))
            worker.terminate()
            said.extend(worker.communicate(timeout=120))
        mainstay("state", "backup", str(site.root / "all.tar"))
        password("wrong")
        mainstay("records", ends=(1, 2))
        password("postgres")
        main = site.root / "mainstay.yml"
        main.write_text(main.read_text().replace(f":{postgres.port}/", ":1/"))
        mainstay("records", ends=(1, 2))
    assert watch.looks > 20 and watch.found == set()
    found = canaries.in_tree(site.root) + canaries.in_tree(postgres.folder, but=_of_others(postgres, database))
    for text in said:
        found += canaries.hits("what it said", text.encode())
    assert found + _in_database(canaries, postgres, database) == []
    postgres.execute("CREATE TABLE planted (value BYTEA)", database=database)
    postgres.execute("INSERT INTO planted VALUES (%s)", b"x" + values["postgres"].encode(), database=database)
    assert _in_database(canaries, postgres, database) != [], "the search finds what is there"


def _with_postgres(folder: Path, url: str) -> OperatorSite:
    root = folder / "site"
    for room in ("inventory", "schedules"):
        (root / room).mkdir(parents=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"])
    (root / "mainstay.yml").write_text(SETTINGS.format(url=url))
    (root / "inventory/hosts.yml").write_text("hosts:\n  h1: {address: 127.0.0.1, port: 1, tags: {role: web}}\n")
    (root / "inventory/known_hosts").touch()
    site = OperatorSite(root)
    site.plan("nothing", "kind: patch\ntargets: role=web\nupdates: {select: all}\n")
    return site


def _of_others(postgres: Postgres, database: str) -> list[Path]:
    """The files of the server's other databases, which are other tests'; what all have in common is not among them."""
    ((own,),) = postgres.execute("SELECT oid FROM pg_database WHERE datname = %s", database)
    folders = [folder for folder in (postgres.data / "base").iterdir() if folder.name != str(own)]
    return [file for folder in folders for file in folder.iterdir()]


def _in_database(canaries: Canaries, postgres: Postgres, database: str) -> list[str]:
    """In every row of every table, and in what is packed in them."""
    tables = postgres.execute(
        "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables "
        "WHERE table_schema NOT IN ('pg_catalog', 'information_schema')",
        database=database,
    )
    assert len(tables) > 5, "mainstay's own and the engine's"
    found: list[str] = []
    for (table,) in tables:
        for row in postgres.execute(f"SELECT * FROM {table}", database=database):
            for value in row:
                data = bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode()
                found += canaries.in_file(table, data)
    return found
