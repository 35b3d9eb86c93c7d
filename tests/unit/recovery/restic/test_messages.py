"""What restic prints: as 0.18 and 0.19 do, and as no restic should."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.inventory.redaction import remember
from mainstay.recovery.restic.messages import (
    LISTED,
    LONGEST,
    WORDS,
    BackupSummary,
    Reader,
    Unreadable,
    moment,
    read,
    values,
)

SUMMARY = (
    b'{"message_type":"summary","files_new":1,"files_changed":2,"files_unmodified":3,"dirs_new":0,"dirs_changed":1,'
    b'"dirs_unmodified":1,"data_blobs":1,"tree_blobs":2,"data_added":1725,"data_added_packed":878,"total_files_processed":6,'
    b'"total_bytes_processed":300006,"total_duration":0.775747285,"backup_start":"2026-11-22T16:57:38.474991178Z",'
    b'"backup_end":"2026-11-22T16:57:39.250738463Z","snapshot_id":"f0f961c2179f0c875e57aadfac6fe314982463ba966243bed48c5fa43d45ebdd"}'
)
UNREADABLE = (
    b'{"message_type":"error","error":{"message":"open /x: permission denied"},"during":"archival","item":"/x"}'
)
UNCHANGED_018 = (
    b'{"message_type":"summary","files_new":0,"files_unmodified":4,"total_files_processed":4,"total_bytes_processed":300006,'
    b'"total_duration":-9223372036.854776,"backup_start":"2026-11-22T16:57:39.284671777Z","backup_end":"0001-01-01T00:00:00Z"}'
)


def test_the_summary_of_a_backup_is_read_with_its_units() -> None:
    assert read(SUMMARY).summary == BackupSummary(
        snapshot="f0f961c2179f0c875e57aadfac6fe314982463ba966243bed48c5fa43d45ebdd",
        files=6,
        bytes=300006,
        files_new=1,
        files_changed=2,
        files_unmodified=3,
        added=1725,
        stored=878,
        began_at="2026-11-22T16:57:38.474Z",
        ended_at="2026-11-22T16:57:39.250Z",
        seconds=0.775747285,
    )


def test_a_backup_that_made_no_snapshot_has_none_and_no_absurd_times() -> None:
    summary = read(UNCHANGED_018).summary

    assert summary is not None
    assert (summary.snapshot, summary.ended_at, summary.seconds) == ("", "", 0.0)


def test_what_could_not_be_read_and_what_is_not_there_stand_apart_from_words() -> None:
    said = read(
        b"\n".join(
            [
                "/nosuch dir/ü does not exist, skipping".encode(),
                UNREADABLE,
                SUMMARY,
                b'{"message_type":"exit_error","code":3,"message":"Warning: at least one source file could not be read"}',
            ]
        )
    )

    assert said.missing == ("/nosuch dir/ü",)
    assert said.unreadable == (Unreadable(item="/x", during="archival", message="open /x: permission denied"),)
    assert (said.unreadable_count, said.code) == (1, 3)
    assert said.fatal == "Warning: at least one source file could not be read"
    assert said.summary is not None and said.summary.files == 6


def test_errors_of_014_that_hold_no_text_are_still_counted() -> None:
    said = read(b'{"message_type":"error","error":{"Op":"open","Path":"/x","Err":13},"during":"archival","item":"/x"}')

    assert said.unreadable == (Unreadable(item="/x", during="archival"),)


def test_a_panic_is_words_and_what_was_said_before_it_counts() -> None:
    said = read(UNREADABLE + b"\npanic: runtime error: index out of range\n\ngoroutine 1 [running]:\nmain.main()\n")

    assert said.summary is None and said.unreadable_count == 1
    assert said.words[0] == "panic: runtime error: index out of range"


def test_a_fatal_error_in_plain_text_is_one() -> None:
    assert read(b"Fatal: wrong password or no key found\n").fatal == "Fatal: wrong password or no key found"


@pytest.mark.parametrize(
    "line",
    [
        *(b"{", b"[]", b"null", b"\xff\xfe\x00", b"{" * 50_000),
        *(b'{"message_type":7}', b'{"message_type":"summary"}', b'{"message_type":"error","error":[]}'),
        *(b'{"message_type":"status","percent_done":"x"}', b'{"message_type":"exit_error"}'),
        b'{"message_type":"summary","total_files_processed":-1,"total_duration":"x","snapshot_id":"../../etc"}',
        b'{"message_type":"summary","total_bytes_processed":1e400,"backup_start":5}',
    ],
)
def test_what_is_no_message_does_no_harm(line: bytes) -> None:
    said = read(line)

    assert said.missing == ()
    if said.summary is not None:
        assert (said.summary.snapshot, said.summary.files, said.summary.bytes) == ("", 0, 0)


def test_what_can_grow_without_end_is_bounded_and_counted() -> None:
    errors = b"\n".join([UNREADABLE] * (LISTED + 5))
    words = b"\n".join(b"word %d" % n for n in range(WORDS * 3))
    said = read(errors + b"\n" + words + b"\n" + b"x" * (LONGEST + 5))

    assert len(said.unreadable) == LISTED and said.unreadable_count == LISTED + 5
    assert len(said.words) == WORDS
    assert said.words[0] == "word 0" and f"word {WORDS * 3 - 1}" in said.words
    assert max(map(len, said.words)) <= 500


def test_words_are_fit_for_a_terminal_and_hold_no_secret() -> None:
    remember("canary-of-a-password")
    said = read(b"\x1b]0;title\x07Fatal: \x1b[31mcan't open canary-of-a-password\r\x00\n")

    assert said.words == ("Fatal: can't open ***",)
    assert said.fatal == said.words[0]


@pytest.mark.parametrize(
    ("stamp", "utc"),
    [
        ("2026-11-22T16:57:38.474991178Z", "2026-11-22T16:57:38.474Z"),
        ("2026-11-22T16:57:38+05:30", "2026-11-22T11:27:38.000Z"),
        ("2026-11-22T16:57:38.5-08:00", "2026-11-23T00:57:38.500Z"),
        ("0001-01-01T00:00:00Z", ""),
        ("9999-12-31T23:59:59-01:00", ""),
        ("2026-13-22T16:57:38Z", ""),
        ("yesterday", ""),
        (None, ""),
        (5, ""),
    ],
)
def test_moments_are_utc(stamp: object, utc: str) -> None:
    assert moment(stamp) == utc


def test_progress_is_the_newest_and_in_percent() -> None:
    reader = Reader()
    reader.take(
        b'{"message_type":"status","percent_done":0.25,"total_files":8,"files_done":2,"total_bytes":4000,"bytes_done":1000}'
    )

    assert reader.progress is not None
    assert (reader.progress.percent, reader.progress.files, reader.progress.bytes_total) == (25.0, 2, 4000)
    assert str(reader.progress) == "25 %, 1.0 kB of 4.0 kB"


def test_values_are_found_between_plain_text() -> None:
    data = b'[{"a":1}]\n[0:00] 100.00%  1 / 1 files deleted\n{"b":2}\n'

    assert list(values(data)) == [[{"a": 1}], {"b": 2}]


@given(st.binary(max_size=300))
def test_any_bytes_are_read(data: bytes) -> None:
    said = read(data)
    assert said.unreadable_count >= len(said.unreadable)
    json.dumps(said.to_json())


KEYS = st.sampled_from(
    ["message_type", "error", "message", "code", "item", "total_bytes_processed", "total_duration", "x"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.text()
    | st.integers()
    | st.sampled_from(["summary", "error", "status"])
)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)))
def test_any_json_is_read(data: object) -> None:
    read(json.dumps(data).encode())
    list(values(json.dumps(data)))
