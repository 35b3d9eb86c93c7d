"""What a host, a repository or a restic of a version to come may print instead of what it should: no reader of it fails, and what
they keep of it has a bound and is fit for a record and a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.recovery.points import NOW
from tests.unit.recovery.restic.test_failures import ACCESS

from mainstay.inventory.value import canonical
from mainstay.recovery.backup import output as backup
from mainstay.recovery.backup.change import BackupChange, Item, Program
from mainstay.recovery.restic import messages, replies
from mainstay.recovery.restic.failures import failure
from mainstay.recovery.restore import output as restore
from mainstay.recovery.retention.strays import strays
from mainstay.recovery.tending.locks import alarms, judge
from mainstay.runner.verdict import Verdict

TOKEN = "t" * 32
CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
DEEP = b'{"message_type":"error","item":' + b"[" * 100_000
KEYS = sorted(
    {
        "message_type",
        "error",
        "message",
        "during",
        "item",
        "action",
        "code",
        "id",
        "time",
        "hostname",
        "tags",
        "paths",
        "tree",
    }
    | {
        "original",
        "program_version",
        "summary",
        "percent_done",
        "total_files",
        "files_done",
        "bytes_done",
        "total_bytes",
    }
    | {
        "files_new",
        "data_added",
        "total_duration",
        "backup_start",
        "backup_end",
        "snapshot_id",
        "keep",
        "remove",
        "matches",
    }
    | {
        "num_errors",
        "broken_packs",
        "pid",
        "exclusive",
        "username",
        "path",
        "type",
        "size",
        "mode",
        "mtime",
        "userName",
    }
)
KINDS = ["status", "verbose_status", "summary", "error", "exit_error", "snapshot", "node"]
STAMPS = [
    "0001-01-01T00:00:00Z",
    "2026-13-41T99:00:00Z",
    "9999-12-31T23:59:59-23:59",
    "2026-11-22T16:57:38.4749911Z",
    "0001",
]
TEXTS = st.text(max_size=20) | st.sampled_from(
    ["\x1b]0;x\x07", "\udce4", "a" * 5000, "run=1", "mainstay", "f" * 64, *STAMPS]
)
NUMBERS = (
    st.integers()
    | st.sampled_from([10**400, -(10**400), 2**63, 2**64, -1])
    | st.floats(allow_nan=True, allow_infinity=True)
)
LEAVES = st.none() | st.booleans() | NUMBERS | TEXTS | st.sampled_from(KINDS)
WILD = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(KEYS), WILD, max_size=8)
MESSAGES = st.builds(lambda kind, more: more | {"message_type": kind}, st.sampled_from(KINDS), OBJECTS)
WORDS = st.sampled_from(["0", "1", "00", "-1", "+1", "٣", "9" * 5000, "x", "", "1e3", " ", "yes", "no", "\udce4"])
MARKS = [
    "job",
    "dead",
    "busy",
    "full",
    "left",
    "begin",
    "unready",
    "done",
    "missing",
    "link",
    "nosnap",
    "filled",
    "cannot",
    "pid",
]
MARKS += ["producer", "end", "restored", "compared", "database", "another"]


def line_of(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


MARKERS = st.builds(
    lambda mark, words: f"@mainstay {TOKEN} {' '.join([mark, *words])}".encode("utf-8", "surrogatepass"),
    st.sampled_from(MARKS),
    st.lists(WORDS, max_size=5),
)
LINES = st.lists(
    MESSAGES.map(line_of) | MARKERS | st.binary(max_size=60) | TEXTS.map(lambda t: t.encode("utf-8", "replace")),
    max_size=12,
)
OUTPUTS = LINES.map(b"\n".join)
CHANGE = BackupChange(
    run="R",
    host="h",
    items=(Item(source="db", name="x", kind="globals"), Item(source="files", kind="paths")),
    program=Program(path="/usr/bin/restic", version="0.18.0"),
    state_dir="/s",
    memory="/run",
    token=TOKEN,
)


SOME = settings(max_examples=40)


def recorded(value: Any) -> bytes:
    """As a record keeps it: plain JSON, without NaN."""
    return canonical(value)


@SOME
@given(OUTPUTS)
@example(DEEP)
@example(b'{"message_type":"summary","total_duration":NaN,"files_new":1e999}')
@example(b'{"message_type":"status","percent_done":' + b"9" * 4000 + b"}")
def test_what_restic_prints(output: bytes) -> None:
    said = messages.read(output)
    recorded(said.to_json())
    assert len(said.unreadable) <= messages.LISTED and len(said.words) <= messages.WORDS
    assert not CONTROLS.search("".join([said.fatal, *said.words, *(one.message for one in said.unreadable)]))
    wrong = failure(ACCESS, "backup", 1, (0, 19, 1), said)
    assert not CONTROLS.search(str(wrong))
    reader = messages.Reader(lambda action, path: None)
    for line in output.split(b"\n"):
        reader.take(line)
    str(reader.progress)


@SOME
@given(OUTPUTS)
@example(DEEP)
def test_what_a_backups_job_prints(output: bytes) -> None:
    said = backup.read(output, CHANGE)
    again = backup.JobSaid.from_json(json.loads(recorded(said.to_json())))
    assert again.whole == said.whole
    assert len(said.dead) <= backup.NAMED and len(said.busy) <= backup.NAMED and len(said.left) <= backup.NAMED
    for one in said.items:
        assert (
            max(len(one.missing), len(one.links), len(one.live), len(one.filled), len(one.said.unreadable))
            <= backup.NAMED
        )
        assert not CONTROLS.search("".join([one.cannot, *one.live, *one.filled]))
    backup.progress(output, CHANGE)


@SOME
@given(OUTPUTS)
@example(DEEP)
@example(b"@mainstay " + TOKEN.encode() + b" begin x 1")
@example(b'{"message_type":"status","percent_done":' + b"9" * 400 + b"}")
@example(b'{"message_type":"status","percent_done":NaN}')
def test_what_a_restores_job_prints(output: bytes) -> None:
    said = restore.read(output, TOKEN)
    for one in said.pieces.values():
        assert 0 <= one.percent <= 100
        assert not CONTROLS.search("".join(one.errors)) and len(one.errors) <= 100
        recorded({"same": one.same, "seconds": one.seconds, "other": sorted(one.other)})
    assert not CONTROLS.search(said.last)


ANSWERS: list[Callable[[bytes], Any]] = [
    replies.snapshots,
    replies.forget_groups,
    replies.keys,
    replies.found,
    replies.pruned,
]


@SOME
@given(st.lists(OBJECTS, max_size=4).map(line_of) | OBJECTS.map(line_of) | OUTPUTS)
@example(b"[" * 100_000)
@example(b"total prune:  1 blobs / " + b"9" * 9 + b".999999 EiB")
def test_what_a_repository_answers(data: bytes) -> None:
    for answer in ANSWERS:
        answer(data)
    for value in messages.values(data):
        if isinstance(value, dict):
            replies.node(value)
            replies.stats(value)
            recorded(replies.check_summary(value, ["x"]).to_json())
            recorded(replies.restore_summary(value).to_json())


@SOME
@given(st.lists(OBJECTS, max_size=4))
def test_locks_that_anybody_may_have_written(found: list[dict[str, Any]]) -> None:
    locks = [replies.lock("1" * 64, one) for one in json.loads(json.dumps(found))]
    assert len(judge(locks, (), NOW)) == len(locks)
    alarms(locks, "mainstay repo unlock nightly", NOW)


@st.composite
def snapshots(draw: st.DrawFn) -> list[dict[str, Any]]:
    tags = ["mainstay", "run=R1", "plan=nightly", "source=etc", "state=OURS", "run=%zz", "item=\udce4"]
    made = draw(st.lists(OBJECTS, max_size=4))
    return [
        one | {"id": str(number) * 64, "tags": draw(st.lists(st.sampled_from(tags), max_size=6)), "time": draw(TEXTS)}
        for number, one in enumerate(made)
    ]


@SOME
@given(snapshots())
@example(
    [{"id": "1" * 64, "tags": ["mainstay", "plan=nightly", "source=etc", "run=R1"], "time": "0001-01-01T00:00:00Z"}]
)
def test_snapshots_that_a_host_may_have_put_into_its_repository(made: list[dict[str, Any]]) -> None:
    found = replies.snapshots(line_of(made)) or []
    left = strays(
        found,
        [],
        lambda run, host: Verdict.FAILED,
        NOW,
        host="web1",
        plan="nightly",
        named=["nightly"],
        repository="main",
        blocked={},
        maker="OURS",
    )
    assert left.remove == (), "there is no newer point"


@pytest.mark.parametrize("size", [1 << 20, 1 << 21])
def test_a_line_without_an_end_is_kept_in_part(size: int) -> None:
    line = b'{"message_type":"error","item":"' + b"x" * size + b'"}'
    said = messages.read([line])
    assert sum(map(len, said.words)) < 1000 and said.unreadable == ()
    assert len(backup.read(line * 3, CHANGE).to_json()["items"]) == 0
    assert restore.read(line, TOKEN).pieces == {}
