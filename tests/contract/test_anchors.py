"""What every anchor on another machine promises: one suite for the fake, a file, a file over a real sshd, and S3 servers."""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.sshd import Sshd
from tests.servers.s3 import REGION, S3, moto, swift

from mainstay.inventory.host import Host, Ssh
from mainstay.runner.ledger.adapters.anchor_s3 import Bucket, S3Anchor
from mainstay.runner.ledger.anchor_ssh import SshAnchor
from mainstay.runner.ledger.anchors import AnchorConflict, AnchorUnusable, FileAnchor, MemoryAnchor, RemoteAnchor
from mainstay.runner.ledger.chain import Seal
from mainstay.runner.ledger.seals import Anchor
from mainstay.runner.shell.adapters.fabric import FabricShells


def seal(seq: int, letter: str = "a") -> Seal:
    return Seal(seq, letter * 64, "2026-01-02T03:04:05Z")


class Rig:
    """One place that keeps seals. open: another process's view of it; lose: what it kept is gone; away: it is dead."""

    open: Callable[[], RemoteAnchor]
    lose: Callable[[], object]
    away: Callable[[], RemoteAnchor]


@pytest.fixture(scope="module")
def bucket_server() -> Iterator[S3]:
    with moto() as one:
        yield one


@pytest.fixture(scope="module")
def swift_server() -> Iterator[S3]:
    with swift() as one:
        yield one


class MemoryRig(Rig):
    def __init__(self) -> None:
        self.kept = MemoryAnchor()
        self.open = lambda: self.kept

    def lose(self) -> None:
        self.kept.kept, self.kept.made = [], False

    def away(self) -> RemoteAnchor:
        dead = MemoryAnchor()
        dead.broken = "is dead"
        return dead


class FileRig(Rig):
    def __init__(self, folder: Path) -> None:
        path = folder / "there" / "acme.anchor"
        self.open = lambda: FileAnchor(Anchor(path))
        self.lose = path.unlink
        self.away = lambda: FileAnchor(Anchor(folder / "sshd_is_no_folder" / "acme.anchor"))
        (folder / "sshd_is_no_folder").touch()


class SshRig(Rig):
    def __init__(self, server: Sshd, folder: Path) -> None:
        # What a path may hold is never shell text.
        self.path = folder / "the'\"re $(touch hacked)" / "acme; anchor"
        ssh = Ssh(user="root", key=f"file:{server.key}", port=server.port, connect_timeout=20)
        self.host = Host(name="vault1", address="127.0.0.1", ssh=ssh)
        self.known_hosts = folder / "known_hosts"
        self.opened: list[FabricShells] = []
        shells = self.shells()
        shells.pins.pin(self.host, shells.scan(self.host))
        self.open = lambda: SshAnchor(self.shells, self.host, str(self.path))
        self.lose = self.path.unlink
        nobody = self.host.model_copy(update={"ssh": ssh.model_copy(update={"port": 1, "connect_timeout": 2})})
        self.away = lambda: SshAnchor(self.shells, nobody, str(self.path))

    def shells(self) -> FabricShells:
        self.opened.append(FabricShells(lambda name: self.host, self.known_hosts, str))
        return self.opened[-1]


class S3Rig(Rig):
    def __init__(self, server: S3) -> None:
        self.server, self.bucket = server, server.bucket()
        self.open = lambda: self.on(server.endpoint)
        self.away = lambda: self.on("http://127.0.0.1:1")

    def on(self, endpoint: str) -> S3Anchor:
        return S3Anchor(
            Bucket(self.bucket, "mainstay/acme", REGION, endpoint), lambda: (self.server.access, self.server.secret)
        )

    def lose(self) -> None:
        client = self.server.client
        for item in client.list_objects_v2(Bucket=self.bucket).get("Contents", ()):
            client.delete_object(Bucket=self.bucket, Key=item["Key"])
        client.delete_bucket(Bucket=self.bucket)


KINDS = ["memory", "file", "ssh", "s3", pytest.param("swift", marks=pytest.mark.long)]


@pytest.fixture(params=KINDS)
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    def make() -> Rig:
        match request.param:
            case "memory":
                return MemoryRig()
            case "file":
                return FileRig(tmp_path)
            case "ssh":
                return SshRig(request.getfixturevalue("server"), tmp_path)
            case "s3":
                return S3Rig(request.getfixturevalue("bucket_server"))
            case _:
                return S3Rig(request.getfixturevalue("swift_server"))

    made = make()
    yield made
    for shells in made.opened if isinstance(made, SshRig) else ():
        shells.close()
    assert not list(tmp_path.rglob("hacked"))


@pytest.fixture
def anchor(rig: Rig) -> Iterator[RemoteAnchor]:
    one = rig.open()
    one.make()
    yield one
    one.close()


def by_seq(anchor: RemoteAnchor) -> dict[int, str]:
    return {one.seq: one.hash for one in anchor.seals()}


def test_one_that_was_never_made_has_seen_nothing(rig: Rig) -> None:
    """What the very first run of a site asks."""
    anchor = rig.open()
    assert anchor.last() is None
    assert anchor.seals() == []
    anchor.close()


def test_an_empty_one_has_seen_nothing(anchor: RemoteAnchor) -> None:
    assert anchor.last() is None
    assert anchor.last(near=7) is None
    assert anchor.seals() == []
    anchor.append([])
    assert anchor.seals() == []


def test_what_is_appended_is_there_for_everybody(rig: Rig, anchor: RemoteAnchor) -> None:
    anchor.append([seal(1), seal(2, "b")])
    anchor.append([seal(3, "c")])
    other = rig.open()
    other.make()  # once more is none the worse
    assert sorted(other.seals(), key=lambda one: one.seq) == [seal(1), seal(2, "b"), seal(3, "c")]
    for near in (0, 1, 2, 3, 4, 900):
        assert other.last(near) == seal(3, "c"), near
    other.close()


def test_what_is_there_already_is_left_as_it_is(anchor: RemoteAnchor) -> None:
    anchor.append([seal(1), seal(2)])
    anchor.append([seal(1), seal(2), seal(3)])
    assert sorted(one.seq for one in anchor.seals()) == [1, 2, 3]


def test_two_that_bring_the_same_and_more_lose_nothing(rig: Rig, anchor: RemoteAnchor) -> None:
    """Two controllers of one ledger, each with its own local anchor."""
    both = [rig.open(), anchor]

    def bring(one: RemoteAnchor, own: range) -> None:
        for seq in own:
            one.append([seal(seq)])

    threads = [threading.Thread(target=bring, args=(both[n], range(1 + n, 12 + n, 2))) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert by_seq(anchor) == dict.fromkeys(range(1, 13), "a" * 64)


@pytest.mark.parametrize("seq", [1, 2])
def test_another_record_under_the_same_number_is_a_conflict_and_changes_nothing(anchor: RemoteAnchor, seq: int) -> None:
    anchor.append([seal(1), seal(2)])
    with pytest.raises(AnchorConflict, match=f"another record {seq}"):
        anchor.append([seal(seq, "b")])
    assert by_seq(anchor) == {1: "a" * 64, 2: "a" * 64}


def test_many_at_once(anchor: RemoteAnchor) -> None:
    anchor.append([seal(seq) for seq in range(1, 26)])
    assert anchor.last() == seal(25)
    assert len(by_seq(anchor)) == 25


def test_one_that_is_gone_is_not_made_anew_by_who_brings_more(rig: Rig, anchor: RemoteAnchor) -> None:
    anchor.append([seal(1)])
    rig.lose()
    with pytest.raises(AnchorUnusable) as caught:
        anchor.append([seal(2)])
    assert anchor.name in caught.value.message


def test_a_dead_one_says_so(rig: Rig) -> None:
    dead = rig.away()
    asked: list[Callable[[], object]] = [dead.make, lambda: dead.append([seal(1)]), dead.last, dead.seals]
    for ask in asked:
        with pytest.raises(AnchorUnusable) as caught:
            ask()
        assert dead.name in caught.value.message
        assert "canary" not in str(caught.value)
    dead.close()


# What is their own


def test_over_ssh_a_line_that_was_cut_off_is_closed(server: Sshd, tmp_path: Path) -> None:
    rig = SshRig(server, tmp_path)
    anchor = rig.open()
    anchor.make()
    anchor.append([seal(1), seal(2)])
    rig.path.write_bytes(rig.path.read_bytes()[:-20])
    anchor.append([seal(3)])
    assert [one.seq for one in anchor.seals()] == [1, 3]
    anchor.append([seal(2)])
    assert sorted(by_seq(anchor)) == [1, 2, 3]
    anchor.close()


def test_over_ssh_an_append_only_file_is_enough(server: Sshd, tmp_path: Path) -> None:
    rig = SshRig(server, tmp_path)
    anchor = rig.open()
    anchor.make()
    set_flag = subprocess.run(["chattr", "+a", rig.path], capture_output=True, check=False)
    # Not every file system has the flag (overlay and tmpfs don't); the rest of the test holds without it as well.
    try:
        anchor.append([seal(1)])
        anchor.append([seal(2)])
        assert [one.seq for one in anchor.seals()] == [1, 2]
        if set_flag.returncode == 0:
            with pytest.raises(PermissionError):
                rig.path.write_text("")
    finally:
        subprocess.run(["chattr", "-a", rig.path], capture_output=True, check=False)
    anchor.close()


@pytest.mark.parametrize("put", [Path.mkdir, lambda path: path.symlink_to("/dev/null")], ids=["folder", "link"])
def test_over_ssh_what_lies_in_its_place_is_not_written(
    server: Sshd, tmp_path: Path, put: Callable[[Path], object]
) -> None:
    rig = SshRig(server, tmp_path)
    anchor = rig.open()
    rig.path.parent.mkdir()
    put(rig.path)
    anchor.make()
    asked: list[Callable[[], object]] = [lambda: anchor.append([seal(1)]), anchor.last, anchor.seals]
    for ask in asked:
        with pytest.raises(AnchorUnusable, match="not there any more"):
            ask()
    anchor.close()


def test_over_ssh_one_that_may_not_be_looked_for_is_unknown() -> None:
    from mainstay.runner.ledger.anchor_ssh import TAIL

    with tempfile.TemporaryDirectory() as closed:  # not below tmp_path, which is root's alone
        argv = ["setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", TAIL, "mainstay", f"{closed}/acme", "100"]
        assert subprocess.run(argv, capture_output=True, check=False).returncode == 70
        Path(closed).chmod(0o755)
        done = subprocess.run(argv, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (0, b"")


def test_over_ssh_half_of_what_was_sent_is_not_appended(server: Sshd, tmp_path: Path) -> None:
    from mainstay.runner.ledger.anchor_ssh import APPEND

    path = tmp_path / "anchor"
    path.touch()
    done = subprocess.run(
        ["sh", "-c", APPEND, "mainstay", path, "100"], input=b"half", capture_output=True, check=False
    )
    assert (done.returncode, path.read_bytes()) == (70, b"")
    assert b"only 4 of 100" in done.stderr


def test_over_ssh_a_host_whose_key_is_not_pinned_gets_nothing(server: Sshd, tmp_path: Path) -> None:
    rig = SshRig(server, tmp_path)
    rig.known_hosts.unlink()
    with pytest.raises(AnchorUnusable, match="host key is not known"):
        rig.open().make()
    assert not rig.path.parent.exists()


@pytest.fixture
def objects(bucket_server: S3) -> tuple[S3Anchor, Any, str]:
    rig = S3Rig(bucket_server)
    anchor = rig.on(bucket_server.endpoint)
    return anchor, bucket_server.client, rig.bucket


def test_in_s3_each_seal_is_an_object_of_its_own(objects: tuple[S3Anchor, Any, str]) -> None:
    anchor, client, bucket = objects
    anchor.append([seal(1), seal(12)])
    keys = [item["Key"] for item in client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert keys == [f"mainstay/acme/{1:020d}", f"mainstay/acme/{12:020d}"]
    body = json.loads(client.get_object(Bucket=bucket, Key=keys[1])["Body"].read())
    assert body == {"seq": 12, "hash": "a" * 64, "time": "2026-01-02T03:04:05Z"}


def test_in_s3_what_is_no_seal_is_passed_over(objects: tuple[S3Anchor, Any, str]) -> None:
    anchor, client, bucket = objects
    anchor.append([seal(1)])
    for name, body in (
        (f"{2:020d}", b"\xff" * 10**6),
        (f"{3:020d}", b'{"seq": 99, "hash": "h", "time": "t"}'),
        ("9", b""),
    ):
        client.put_object(Bucket=bucket, Key=f"mainstay/acme/{name}", Body=body)
    assert anchor.last() == seal(1)
    assert anchor.seals() == [seal(1)]
    with pytest.raises(AnchorUnusable, match="no seal"):
        anchor.append([seal(2)])


def test_in_s3_a_missing_bucket_is_not_made(bucket_server: S3) -> None:
    anchor = S3Anchor(Bucket("not-there", "", REGION, bucket_server.endpoint), lambda: ("a", "s"))
    with pytest.raises(AnchorUnusable, match="NoSuchBucket") as caught:
        anchor.make()
    assert caught.value.hint is not None
    assert "object lock" in caught.value.hint


def test_in_s3_a_server_that_overwrites_is_refused(bucket_server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    anchor = S3Rig(bucket_server).on(bucket_server.endpoint)
    client = anchor._client()
    put = client.put_object
    monkeypatch.setattr(client, "put_object", lambda IfNoneMatch, **words: put(**words))
    with pytest.raises(AnchorUnusable, match="overwrites"):
        anchor.make()
