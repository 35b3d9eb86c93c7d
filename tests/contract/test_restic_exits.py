"""How restic ends, situation by situation, against the real ones: 0.18 and 0.19. And what is made of it: an exit status alone
is not believed. The table in docs/reference/backup-verdicts.md is this one; a test compares them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.fleet.system import wait_until
from tests.servers.repository import make_repository
from tests.servers.rest import rest
from tests.servers.restic import Name, restic, version

from mainstay.inventory.secrets import Secret
from mainstay.recovery.repository import Access
from mainstay.recovery.restic.adapters.command import Program
from mainstay.recovery.restic.adapters.controller import opener
from mainstay.recovery.restic.contract import READ_ALL, Locked, NothingRestored, NotRemoved, Partial, Restic, TooOld
from mainstay.recovery.restic.exits import Meaning, meaning
from mainstay.recovery.restic.messages import Said, read

DOCS = Path(__file__).parents[2] / "docs/reference/backup-verdicts.md"
pytestmark = pytest.mark.server
PASSWORD = "vault-canary-61e0"
LONG = 120.0
NOBODY = "0" * 64


@dataclass(frozen=True)
class Ended:
    status: int
    said: Said
    output: str


@dataclass
class Bench:
    """One restic, and a repository that holds one snapshot of `source`."""

    program: Path
    folder: Path
    snapshot: str = ""

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def source(self) -> Path:
        return self.folder / "source"

    @property
    def env(self) -> dict[str, str]:
        own = {"RESTIC_REPOSITORY": str(self.repository), "RESTIC_PASSWORD": PASSWORD}
        return {**os.environ, **own, "RESTIC_CACHE_DIR": str(self.folder / "cache")}

    def run(
        self, *words: str | Path, env: Mapping[str, str] | None = None, stdin: bytes = b"", without: str = ""
    ) -> Ended:
        """without: capabilities that root has to do without."""
        argv = [*(["setpriv", f"--bounding-set={without}"] if without else []), str(self.program), *map(str, words)]
        done = subprocess.run(
            argv, env={**self.env, **(env or {})}, input=stdin, capture_output=True, timeout=LONG, check=False
        )
        both = done.stdout + b"\n" + done.stderr
        return Ended(done.returncode, read(both), both.decode("utf-8", "replace"))

    @contextmanager
    def at_work(self) -> Iterator[subprocess.Popen[bytes]]:
        """A backup that goes on until the end, or until it is killed; it holds its lock."""
        hold = self.folder / "hold"
        os.mkfifo(hold)
        argv = [str(self.program), "backup", "--json", "--stdin-from-command", "--", "cat", str(hold)]
        process = subprocess.Popen(
            argv, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            with hold.open("wb"):  # opened by both: the producer runs
                wait_until(lambda: any((self.repository / "locks").iterdir()), "restic holds a lock", deadline=LONG)
                yield process
        finally:
            process.wait(LONG)
            hold.unlink()

    def access(self, password: str = PASSWORD) -> Access:
        return Access("vault", "web1", str(self.repository), Secret(password), "maintain", "path")

    def controller(self) -> Restic:
        program = Program(str(self.program), cache=self.folder / "cache", nice=0, lock_wait=0)
        return opener(program)(self.access())

    def snapshots(self) -> list[str]:
        return [path.name for path in (self.repository / "snapshots").iterdir()]

    def damage(self) -> None:
        """Flip bytes in the middle of all data, not of trees."""
        for pack in (self.repository / "data").glob("*/*"):
            data = bytearray(pack.read_bytes())
            if len(data) > 20_000:
                data[5000:5010] = bytes(byte ^ 0xFF for byte in data[5000:5010])
                pack.chmod(0o600)
                pack.write_bytes(data)


@pytest.fixture(scope="module", params=["oldest", "newest"])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    name: Name = request.param
    bench = Bench(restic(name), tmp_path_factory.mktemp(f"exits-{name}"))
    make_repository(bench.repository, PASSWORD)
    bench.source.mkdir()
    (bench.source / "small").write_text("small\n")
    (bench.source / "large").write_bytes(os.urandom(40_000))
    made = bench.run("backup", "--json", bench.source)
    assert made.status == 0 and made.said.summary is not None
    bench.snapshot = made.said.summary.snapshot
    return bench


@pytest.fixture
def bench(prepared: Bench, tmp_path: Path) -> Bench:
    """As prepared, for this test alone."""
    shutil.copytree(prepared.repository, tmp_path / "repository")
    shutil.copytree(prepared.source, tmp_path / "source")
    return Bench(prepared.program, tmp_path, prepared.snapshot)


def no_repository(bench: Bench) -> Ended:
    ended = bench.run("backup", "--json", bench.source, env={"RESTIC_REPOSITORY": str(bench.folder / "none")})
    assert not (bench.folder / "none").exists()
    return ended


def wrong_password(bench: Bench) -> Ended:
    return bench.run("backup", "--json", bench.source, env={"RESTIC_PASSWORD": "not-it-9912"})


def locked_by_a_live_run(bench: Bench) -> Ended:
    with bench.at_work() as other:
        ended = bench.run("prune")
        with pytest.raises(Locked, match=f"PID {other.pid}"):
            bench.controller().prune()
        (lock,) = bench.controller().locks()
        assert (lock.pid, lock.exclusive) == (other.pid, False)
    return ended


def locked_by_a_dead_run(bench: Bench) -> Ended:
    with bench.at_work() as other:
        os.killpg(other.pid, signal.SIGKILL)
    ended = bench.run("prune")
    here = bench.controller()
    (lock,) = here.locks()
    assert lock.pid == other.pid and lock.at
    assert bench.run("backup", "--json", bench.source).status == 0  # and so nobody notices
    assert here.unlock([lock.id]) == [lock.id]
    here.prune()
    return ended


def killed(bench: Bench) -> Ended:
    with bench.at_work() as other:
        os.killpg(other.pid, signal.SIGKILL)
    assert len(list((bench.repository / "locks").iterdir())) == 1
    assert bench.snapshots() == [bench.snapshot]
    return Ended(other.returncode, Said(), "")


def _signalled(bench: Bench, number: signal.Signals) -> Ended:
    with bench.at_work() as other:
        other.send_signal(number)
        wait_until(lambda: other.poll() is not None, "restic has ended", deadline=LONG)
    assert list((bench.repository / "locks").iterdir()) == []
    assert bench.snapshots() == [bench.snapshot]
    return Ended(other.returncode, Said(), "")


def sigterm(bench: Bench) -> Ended:
    return _signalled(bench, signal.SIGTERM)


def sigint(bench: Bench) -> Ended:
    return _signalled(bench, signal.SIGINT)


def unreadable_file(bench: Bench) -> Ended:
    (bench.source / "secret").write_text("x")
    (bench.source / "secret").chmod(0)
    ended = bench.run("backup", "--json", bench.source, without="-dac_override,-dac_read_search")
    assert [one.item for one in ended.said.unreadable] == [str(bench.source / "secret")]
    assert ended.said.summary is not None and ended.said.summary.snapshot in bench.snapshots()
    return ended


def one_source_missing(bench: Bench) -> Ended:
    ended = bench.run("backup", "--json", bench.source, bench.folder / "gone")
    assert ended.said.missing == (str(bench.folder / "gone"),)
    assert len(bench.snapshots()) == 2
    return ended


def all_sources_missing(bench: Bench) -> Ended:
    ended = bench.run("backup", "--json", bench.folder / "gone")
    assert ended.said.missing == (str(bench.folder / "gone"),)
    assert bench.snapshots() == [bench.snapshot]
    return ended


def stdin_breaks_off(bench: Bench) -> Ended:
    ended = bench.run("backup", "--json", "--stdin", stdin=b"half of")
    assert ended.said.summary is not None and ended.said.summary.bytes == 7
    assert len(bench.snapshots()) == 2
    return ended


def stdin_is_empty(bench: Bench) -> Ended:
    ended = bench.run("backup", "--json", "--stdin")
    assert ended.said.summary is not None and ended.said.summary.bytes == 0
    assert len(bench.snapshots()) == 2
    return ended


def producer_fails(bench: Bench) -> Ended:
    ended = bench.run("backup", "--json", "--stdin-from-command", "--", "sh", "-c", "echo half of; exit 4")
    assert bench.snapshots() == [bench.snapshot]
    return ended


def producer_writes_nothing(bench: Bench) -> Ended:
    ended = bench.run("backup", "--json", "--stdin-from-command", "--", "true")
    assert ended.said.summary is None or ended.said.summary.bytes == 0
    return ended


def forget_refused(bench: Bench) -> Ended:
    with rest(bench.repository, bench.folder / "log") as server:
        ended = bench.run("forget", bench.snapshot, env={"RESTIC_REPOSITORY": server.url, **server.env})
        program = Program(str(bench.program), nice=0, lock_wait=0)
        here = opener(program)(
            Access("vault", "web1", server.url, Secret(PASSWORD), "write", "rest", server.user, Secret(server.secret))
        )
        with pytest.raises(NotRemoved, match="1 of 1 snapshots are still there"):
            here.forget([bench.snapshot])
    assert bench.snapshots() == [bench.snapshot]
    return ended


def forget_without_a_policy(bench: Bench) -> Ended:
    return bench.run("forget")


def forget_of_nothing(bench: Bench) -> Ended:
    ended = bench.run("forget", NOBODY)
    assert bench.controller().forget([NOBODY]) == []
    return ended


def damaged_unread(bench: Bench) -> Ended:
    bench.damage()
    assert bench.controller().check().sound
    return bench.run("check", "--json")


def damaged_read(bench: Bench) -> Ended:
    bench.damage()
    found = bench.controller().check(READ_ALL)
    assert not found.sound and found.errors > 0 and found.broken_packs and found.said
    assert not all(bench.controller().check((part, 2)).sound for part in (1, 2))
    return bench.run("check", "--json", "--read-data")


def restore_of_damage(bench: Bench) -> Ended:
    bench.damage()
    target = bench.folder / "target"
    with pytest.raises(Partial) as caught:
        bench.controller().restore(bench.snapshot, str(target))
    assert [Path(one.item).name for one in caught.value.items] == ["large"]
    assert [path.name for path in target.rglob("*") if path.is_file() and path.read_bytes() == b"small\n"] == ["small"]
    return bench.run("restore", "--json", bench.snapshot, "--target", bench.folder / "again")


def restore_of_nothing(bench: Bench) -> Ended:
    with pytest.raises(NothingRestored):
        bench.controller().restore(bench.snapshot, str(bench.folder / "target"), include=["/nomatch"])
    words = ["--target", str(bench.folder / "target"), "--include", "/nomatch"]
    return bench.run("restore", "--json", bench.snapshot, *words)


@dataclass(frozen=True)
class Row:
    """status: by version, 0.18 and 0.19. means: by version, of the status alone. made: what mainstay makes of it all."""

    situation: Callable[[Bench], Ended]
    status: tuple[int, int]
    means: tuple[Meaning, Meaning]
    made: str
    command: str = "backup"

    @property
    def name(self) -> str:
        return self.situation.__name__.replace("_", " ")

    def documented(self) -> str:
        status = [f"{code} {word}" for code, word in zip(self.status, self.means, strict=True)]
        return f"| {self.name} | {status[0]} | {status[1]} | {self.made} |"


def row(
    situation: Callable[[Bench], Ended],
    status: int | tuple[int, int],
    means: Meaning | tuple[Meaning, Meaning],
    made: str,
    command: str = "backup",
) -> Row:
    both = status if isinstance(status, tuple) else (status, status)
    return Row(situation, both, means if isinstance(means, tuple) else (means, means), made, command)


TABLE = [
    row(no_repository, 10, "no-repository", "failed; none is made"),
    row(wrong_password, 12, "wrong-password", "failed; not tried again, nothing is made"),
    row(locked_by_a_live_run, 11, "locked", "failed, naming who holds it; left alone", "prune"),
    row(locked_by_a_dead_run, 11, "locked", "an alarm; removed when it is tied to a dead run of ours", "prune"),
    row(unreadable_file, 3, "partial", "degraded, naming the files"),
    row(one_source_missing, (0, 3), ("done", "partial"), "failed, naming it: 0.18 says so in plain text alone"),
    row(all_sources_missing, 1, "failed", "failed; no point"),
    row(stdin_breaks_off, 0, "done", "never asked for: --stdin takes half a dump for a whole one"),
    row(stdin_is_empty, 3, "partial", "never asked for; and 0 bytes are failed"),
    row(producer_fails, 1, "failed", "failed; no point. This is how dumps are taken"),
    row(producer_writes_nothing, (3, 3), "partial", "failed: 0 bytes"),
    row(forget_refused, (0, 3), ("done", "partial"), "an error: the repository is asked, and still has it", "forget"),
    row(forget_without_a_policy, 1, "failed", "never asked for: what is removed is named in full", "forget"),
    row(forget_of_nothing, 0, "done", "nothing was removed, and that is what is said", "forget"),
    row(sigterm, (1, 130), ("failed", "interrupted"), "interrupted: who sent it knows; the lock is gone"),
    row(sigint, (1, 130), ("failed", "interrupted"), "interrupted: who sent it knows; the lock is gone"),
    row(killed, -9, "interrupted", "interrupted; the lock stays"),
    row(damaged_unread, 0, "done", "not proved: no data was read", "check"),
    row(damaged_read, 1, "failed", "damaged, naming the packs", "check"),
    row(restore_of_damage, 1, "failed", "partial, naming the files; the rest is there", "restore"),
    row(restore_of_nothing, 0, "done", "an error: nothing was restored", "restore"),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.situation.__name__)
def test_how_it_ends_and_what_that_is_taken_for(row: Row, bench: Bench) -> None:
    is_newer = version(bench.program) >= (0, 19)

    ended = row.situation(bench)

    assert ended.status == row.status[is_newer], ended.output
    major, minor, patch = version(bench.program)
    assert meaning(ended.status, (major, minor, patch), row.command) == row.means[is_newer]


def test_the_documented_table_is_this_one() -> None:
    documented = [line for line in DOCS.read_text().splitlines() if line.startswith("| ")]

    assert [line for line in documented if line in {row.documented() for row in TABLE}] == [
        row.documented() for row in TABLE
    ], "\n".join(["docs/reference/backup-verdicts.md has to say:", *(row.documented() for row in TABLE)])


def test_one_that_is_too_old_is_refused_before_it_does_anything(tmp_path: Path) -> None:
    make_repository(tmp_path / "repository", PASSWORD)
    program = tmp_path / "restic"
    program.write_text("#!/bin/sh\necho restic 0.14.0 compiled with go1.19.8 on linux/amd64\n")
    program.chmod(0o755)
    access = Access("vault", "web1", str(tmp_path / "repository"), Secret(PASSWORD), "maintain", "path")

    for path in (program, tmp_path / "nowhere"):
        with pytest.raises(TooOld):
            opener(Program(str(path)))(access).snapshots()
