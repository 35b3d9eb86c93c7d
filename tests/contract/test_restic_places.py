"""restic on every kind of storage that a site can name: each with its credentials, its locks, and its own way to fail."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fleet.system import wait_until
from tests.servers.repository import make_repository
from tests.servers.rest import rest
from tests.servers.restic import restic
from tests.servers.s3 import S3, moto, swift
from tests.servers.sftp import sftp

from mainstay.inventory.secrets import Secret
from mainstay.recovery.repository import Access
from mainstay.recovery.restic.adapters.command import Program
from mainstay.recovery.restic.adapters.controller import opener
from mainstay.recovery.restic.contract import READ_ALL, Locked, NotRemoved, Restic, ResticError, Stopped, Unreachable
from mainstay.recovery.restic.environment import environment, options

pytestmark = pytest.mark.server
PASSWORD = "vault-canary-61e0"
LONG = 120.0


class Place:
    """One repository somewhere, with what it takes to get there."""

    def __init__(self, access: Access, folder: Path) -> None:
        self.access = access
        self.folder = folder
        self.program = restic()

    @property
    def bucket(self) -> str:
        return self.access.url.split("/")[3]

    def open(self, **more: float) -> Restic:
        program = Program(str(self.program), cache=self.folder / "cache", nice=0, lock_wait=0, **more)  # type: ignore[arg-type]  # patience
        return opener(program)(self.access)

    def back_up(self, *words: str | Path) -> None:
        subprocess.run(self.argv("backup", "-q", *words), env=self.env, check=True, timeout=LONG)

    def argv(self, *words: str | Path) -> list[str]:
        return [str(self.program), *options(self.access), *map(str, words)]

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, **environment(self.access), "RESTIC_CACHE_DIR": str(self.folder / "cache")}

    def leave_a_lock(self) -> int:
        """A backup begins, and is killed. Returns its pid."""
        hold = self.folder / "hold"
        os.mkfifo(hold)
        argv = self.argv("backup", "-q", "--stdin-from-command", "--", "cat", hold)
        process = subprocess.Popen(argv, env=self.env, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            with hold.open("wb"):
                wait_until(lambda: bool(self.open().locks()), "restic holds a lock", deadline=LONG)
                os.killpg(process.pid, signal.SIGKILL)
        finally:
            process.wait(LONG)
        return process.pid


def _s3(server: S3, folder: Path) -> Access:
    url = f"s3:{server.endpoint}/{server.bucket()}/hosts/web1"
    return Access(
        "vault", "web1", url, Secret(PASSWORD), "maintain", "s3", server.access, Secret(server.secret), "us-east-1"
    )


@pytest.fixture(
    params=["path", "sftp", "s3", *(pytest.param(name, marks=pytest.mark.long) for name in ("rest", "swift"))]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    kind: str = request.param
    at = tmp_path / "$(id) `id` [x]; é"
    with ExitStack() as closing:
        if kind in ("s3", "swift"):
            server = closing.enter_context(moto() if kind == "s3" else swift())
            made = Place(_s3(server, tmp_path), tmp_path)
            make_repository(tmp_path / "repository", PASSWORD)
            for file in (tmp_path / "repository").rglob("*"):
                if file.is_file():
                    name = f"hosts/web1/{file.relative_to(tmp_path / 'repository')}"
                    server.client.put_object(Bucket=made.bucket, Key=name, Body=file.read_bytes())
            yield made
            return
        (tmp_path / "keys").mkdir()
        repository = at if kind == "path" else tmp_path / "repository"
        make_repository(repository, PASSWORD)
        access = Access("vault", "web1", str(repository), Secret(PASSWORD), "maintain", "path")
        if kind == "rest":
            web = closing.enter_context(rest(repository, tmp_path / "log", append_only=False))
            access = replace(access, kind="rest", url=web.url, user=web.user, secret=Secret(web.secret))
        if kind == "sftp":
            files = closing.enter_context(sftp(tmp_path / "keys"))
            access = replace(
                access, kind="sftp", url=files.url(repository), key=str(files.key), known_hosts=str(files.known_hosts)
            )
        yield Place(access, tmp_path)


def test_everything_works_there(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("content")
    place.back_up(source)
    pid = place.leave_a_lock()
    here = place.open()

    (snapshot,) = here.snapshots()
    here.restore(snapshot.id, str(tmp_path / "back"), include=[str(source / "file")], verify=True)
    (lock,) = here.locks()
    with pytest.raises(ResticError):
        here.prune()
    assert (lock.pid, lock.exclusive) == (pid, False)
    assert here.unlock([lock.id, "0" * 64]) == [lock.id]
    assert here.unlock([lock.id]) == []

    assert (tmp_path / "back" / str(source / "file").lstrip("/")).read_text() == "content"
    assert here.check(READ_ALL).sound
    assert here.forget([snapshot.id]) == [snapshot.id]
    here.prune()
    assert here.snapshots() == []


def test_an_append_only_server_takes_away_locks_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")  # not for this machine itself
    make_repository(tmp_path / "repository", PASSWORD)
    with rest(tmp_path / "repository", tmp_path / "log") as server:
        access = Access(
            "vault", "web1", server.url, Secret(PASSWORD), "write", "rest", server.user, Secret(server.secret)
        )
        place = Place(access, tmp_path)
        place.back_up("/etc/hostname")
        place.leave_a_lock()
        here = place.open()

        (lock,) = here.locks()
        (snapshot,) = here.snapshots()
        with pytest.raises(Locked):
            here.forget([snapshot.id])
        assert here.unlock([lock.id]) == [lock.id]
        with pytest.raises(NotRemoved):
            here.forget([snapshot.id])
        assert [one.id for one in here.snapshots()] == [snapshot.id]

        (tmp_path / "repository" / "snapshots" / snapshot.id).unlink()  # so that there is something to prune
        with pytest.raises(NotRemoved):
            here.prune()
        assert here.locks() == []


def test_what_does_not_let_us_in_or_is_not_there_is_told_from_a_missing_repository(tmp_path: Path) -> None:
    make_repository(tmp_path / "repository", PASSWORD)
    (tmp_path / "keys").mkdir()
    with rest(tmp_path / "repository", tmp_path / "log") as server, sftp(tmp_path / "keys") as files:
        access = Access(
            "vault", "web1", server.url, Secret(PASSWORD), "write", "rest", server.user, Secret("not-it-9912")
        )
        away = replace(access, kind="sftp", url=files.url(tmp_path / "repository"), key=str(files.key))
        unpinned = replace(away, known_hosts=str(tmp_path / "nobody"))
        (tmp_path / "nobody").write_text("")
        for wrong in (access, unpinned):
            here = Place(wrong, tmp_path).open(patience=30.0)
            with pytest.raises(ResticError) as caught:
                here.identity()
            assert isinstance(caught.value, Unreachable), caught.value
            assert "9912" not in f"{caught.value} {caught.value.hint}"


def test_a_storage_that_refuses_or_never_answers_keeps_nobody_waiting(tmp_path: Path) -> None:
    """restic itself tries for a quarter of an hour."""
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        for server, more in ((closed, {"retries": 3.0}), (silent, {"patience": 3.0, "grace": 60.0})):
            url = f"rest:http://127.0.0.1:{server.getsockname()[1]}/"
            access = Access("vault", "web1", url, Secret(PASSWORD), "maintain", "rest", "web1", Secret("rest-canary-4"))
            with pytest.raises(Stopped if server is silent else Unreachable) as caught:
                Place(access, tmp_path).open(**more).identity()
            assert "canary" not in f"{caught.value} {caught.value.hint}"
            assert server is silent or "connection refused" in str(caught.value)


def test_a_full_disk_under_the_repository_is_an_error_and_what_was_there_stays(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m,mode=700", "tmpfs", small], check=True)
    try:
        make_repository(small / "repository", PASSWORD)
        place = Place(
            Access("vault", "web1", str(small / "repository"), Secret(PASSWORD), "maintain", "path"), tmp_path
        )
        place.back_up("/etc/hostname")
        (tmp_path / "large").write_bytes(os.urandom(24 << 20))

        done = subprocess.run(
            place.argv("backup", "--json", tmp_path / "large"),
            env=place.env,
            capture_output=True,
            timeout=LONG,
            check=False,
        )

        here = place.open()
        assert done.returncode == 1 and b"no space left" in done.stderr, done
        assert len(here.snapshots()) == 1
        shutil.rmtree(small / "repository" / "locks")
        (small / "repository" / "locks").mkdir()
        assert here.check(READ_ALL).sound
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def test_no_argument_of_ours_holds_a_secret_or_an_address(tmp_path: Path) -> None:
    """A restic that notes what it was given, in place of the real one."""
    noted = tmp_path / "noted"
    program = tmp_path / "restic"
    program.write_text(
        '#!/bin/sh\n[ "$1" = version ] && echo "restic 0.18.0 compiled" && exit\n'
        f'printf "%s\\n" "$@" >>"{noted}"\nenv >"{tmp_path}/env"\nexit 12\n'
    )
    program.chmod(0o755)
    secret = {"user": "someone-4410", "secret": Secret("storage-canary-7")}
    source = Access("b", "web1", "rest:http://backup.invalid/", Secret("from-canary-7"), "maintain", "rest", **secret)  # type: ignore[arg-type]  # by name
    to = Access("a", "web1", "s3:http://store.invalid/b", Secret(PASSWORD), "maintain", "s3", **secret)  # type: ignore[arg-type]  # by name
    here = opener(Program(str(program)))(replace(to, lock_wait=301.0))

    for ask in (
        here.snapshots,
        here.identity,
        here.prune,
        lambda: here.init(like=source),
        lambda: here.add_key(Secret("new-canary-7")),
    ):
        with pytest.raises(ResticError) as caught:
            ask()
        assert "canary" not in f"{caught.value!r} {caught.value.hint}"

    assert not any(word in noted.read_text() for word in ("canary", "4410", "invalid"))
    assert "canary" in (tmp_path / "env").read_text()
    assert "--retry-lock\n301s\n" in noted.read_text()
