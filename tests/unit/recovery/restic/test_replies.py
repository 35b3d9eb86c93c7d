"""What restic answers about a repository, as 0.18 and 0.19 print it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mainstay.recovery.restic import replies
from mainstay.recovery.restic.replies import Key, Node, RestoreSummary

ID = "9f2b04b25b0777d5f9d477fb731e58f7073e828b73c5c562e5376168c86b5b97"
SNAPSHOT: dict[str, Any] = {
    "time": "2026-11-22T17:57:37.728111851+01:00",
    "tree": "07556a8f66669c8e2fc5f10c1b64dbc6847f9430205837288f460cc3ed97b0bd",
    "paths": ["/srv"],
    "hostname": "web1",
    "username": "root",
    "tags": ["run=1", "plan=nightly"],
    "program_version": "restic 0.18.0",
    "summary": {
        "backup_start": "2026-11-22T16:57:37.728111851Z",
        "backup_end": "2026-11-22T16:57:38.444780017Z",
        "files_new": 3,
        "total_files_processed": 3,
        "total_bytes_processed": 300004,
    },
    "id": ID,
    "short_id": "9f2b04b2",
}


def test_a_snapshot_has_its_moment_in_utc_and_what_it_holds() -> None:
    (one,) = replies.snapshots(json.dumps([SNAPSHOT]).encode()) or []

    assert (one.id, one.at, one.host, one.paths) == (ID, "2026-11-22T16:57:37.728Z", "web1", ("/srv",))
    assert (one.tagged("plan"), one.tagged("pla")) == ("nightly", "")
    assert one.summary is not None
    assert (one.summary.files, one.summary.bytes, one.summary.seconds, one.summary.snapshot) == (3, 300004, 0.716, ID)


def test_snapshots_of_an_old_restic_have_no_summary_and_one_without_a_full_id_is_none() -> None:
    old = {key: value for key, value in SNAPSHOT.items() if key not in ("summary", "program_version", "tags")}
    found = replies.snapshots(json.dumps([old, {**SNAPSHOT, "id": "9f2b04b2"}, 5, None]).encode()) or []

    assert [(one.summary, one.tags, one.program) for one in found] == [(None, (), "")]


def test_an_answer_that_is_none_is_told_from_an_empty_one() -> None:
    assert replies.snapshots(b"[]\n") == []
    assert replies.snapshots(b"Ignoring: no matching ID\n[]\n") == []
    assert replies.snapshots(b"") is None
    assert replies.snapshots(b"Fatal: something\n") is None
    assert replies.snapshots(b'[{"id": "' + ID.encode()) is None


def test_what_a_policy_would_do_is_read_in_spite_of_what_stands_behind_it() -> None:
    group = {"tags": None, "host": "web1", "paths": ["/srv"], "keep": [SNAPSHOT], "remove": None, "reasons": []}
    (found,) = replies.forget_groups(json.dumps([group]).encode() + b"\n[0:00] 100.00%  1 / 1 files deleted\n") or []

    assert (found.host, found.tags, [one.id for one in found.keep], found.remove) == ("web1", (), [ID], ())


def test_permissions_are_those_of_unix() -> None:
    def mode(go: int) -> int:
        node = replies.node({"path": "/x", "type": "file", "mode": go})
        assert node is not None
        return node.mode

    assert mode(0o644) == 0o644
    assert mode(2147484141) == 0o755  # a folder's
    assert mode(1 << 23 | 0o755) == 0o4755
    assert mode(1 << 22 | 0o755) == 0o2755
    assert mode(1 << 31 | 1 << 20 | 0o777) == 0o1777


def test_the_first_line_of_a_listing_is_no_entry() -> None:
    assert replies.node({**SNAPSHOT, "message_type": "snapshot", "struct_type": "snapshot"}) is None
    assert replies.node({"path": "/a", "type": "file", "size": 2, "mtime": "2026-11-22T16:57:34.606Z"}) == Node(
        path="/a", type="file", size=2, modified_at="2026-11-22T16:57:34.606Z"
    )


def test_what_is_left_out_is_zero() -> None:
    assert replies.restore_summary({"message_type": "summary"}) == RestoreSummary()
    check = replies.check_summary({"num_errors": 0, "broken_packs": None}, [])
    assert check.sound and check.broken_packs == ()


@pytest.mark.parametrize(
    ("said", "bytes"),
    [
        (
            b"to delete:             3 blobs / 754 B\ntotal prune:           3 blobs / 754 B\nremaining: 6 blobs / 2 B\n",
            754,
        ),
        (b"total prune:     0 blobs / 0 B\n", 0),
        (b"total prune:     12 blobs / 293.983 KiB\n", 301039),
        (b"total prune:     12 blobs / 1.500 GiB\n", 1610612736),
        (b"done\n", None),
        (b"total prune:     many\n", None),
    ],
)
def test_what_was_pruned_is_read(said: bytes, bytes: int | None) -> None:
    assert replies.pruned(said) == bytes


def test_damage_is_not_sound() -> None:
    assert not replies.check_summary({"num_errors": 1}, []).sound
    assert not replies.check_summary({"num_errors": 0, "broken_packs": ["ab"]}, []).sound


def test_keys_and_finds_are_read() -> None:
    key = {"current": True, "id": "ab", "userName": "root", "hostName": "vm", "created": "2026-11-22 16:57:36"}
    assert replies.keys(json.dumps([key, {}]).encode()) == [
        Key(id="ab", current=True, user="root", host="vm", created="2026-11-22 16:57:36")
    ]
    hit = {"matches": [{"path": "/a", "type": "file", "size": 2}, {}], "hits": 1, "snapshot": ID}
    assert replies.found(json.dumps([hit]).encode()) == [(ID, Node(path="/a", type="file", size=2))]


def test_a_lock_says_who_holds_it_and_one_that_can_not_be_read_does_not() -> None:
    said = {"time": "2026-11-22T16:57:36Z", "hostname": "web1", "username": "root", "pid": 77, "exclusive": True}
    one = replies.lock(ID, said)

    assert (one.id, one.at, one.host, one.pid, one.exclusive) == (ID, "2026-11-22T16:57:36.000Z", "web1", 77, True)
    assert replies.lock(ID, {}).at == ""
