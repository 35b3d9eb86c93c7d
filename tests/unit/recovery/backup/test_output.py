"""What a backup's job prints, read as it comes from a host: whole, cut off, and from somebody who wants to be believed."""

from __future__ import annotations

import json

import pytest

from mainstay.recovery.backup import output
from mainstay.recovery.backup.change import BackupChange, Item, Program
from mainstay.recovery.judging import Dump

TOKEN = "0123456789abcdef0123456789abcdef"
CHANGE = BackupChange(
    run="RUN1",
    host="web1",
    items=(Item(source="files", kind="paths"), Item(source="db", name="shop", kind="postgresql", filename="shop.dump")),
    program=Program(path="/usr/bin/restic", version="0.18.0"),
    state_dir="/var/lib/mainstay",
    memory="/run",
    token=TOKEN,
)
SUMMARY = {
    "message_type": "summary",
    "files_new": 2,
    "total_files_processed": 2,
    "total_bytes_processed": 5002,
    "data_added": 7099,
    "snapshot_id": "de81b354dd33517ce51c614bb54443a540077627d1e966ac54f3c7d90e5face5",
}
UNREAD = {"message_type": "error", "error": {"message": "permission denied"}, "during": "archival", "item": "/data/x"}
STATUS = {
    "message_type": "status",
    "total_files": 20000,
    "files_done": 12345,
    "total_bytes": 3_400_000_000,
    "bytes_done": 10,
}


def said(*lines: object) -> bytes:
    """Texts are markers, mappings what restic prints, bytes anything."""
    out = b""
    for line in lines:
        if isinstance(line, bytes):
            out += line + b"\n"
        elif isinstance(line, str):
            out += f"\n@mainstay {TOKEN} {line}\n".encode()
        else:
            out += json.dumps(line).encode() + b"\n"
    return out


WHOLE = (
    "job web1.example",
    "begin 0 1000",
    "missing 0 /no  such",
    b"/no  such does not exist, skipping",
    UNREAD,
    SUMMARY,
    "pid 0 4392",
    "end 0 3 1010",
    "begin 1 1010",
    SUMMARY,
    "producer 1 0 yes",
    "pid 1 4393",
    "end 1 0 1012",
    "done",
)


def test_each_item_has_its_own_words() -> None:
    job = output.read(said(*WHOLE), CHANGE)
    assert (job.hostname, job.whole, job.unready) == ("web1.example", True, False)
    files, shop = job.items
    assert (files.unit, files.code, files.pid, files.begun_at, files.ended_at) == ("files", 3, 4392, 1000, 1010)
    assert files.missing == ("/no  such",) and [one.item for one in files.said.unreadable] == ["/data/x"]
    assert files.said.summary is not None and files.said.summary.bytes == 5002
    assert (shop.unit, shop.code, shop.dump) == ("db/shop", 0, Dump(producer=0, trailer=True))
    assert output.JobSaid.from_json(job.to_json()) == job


@pytest.mark.parametrize("end", range(0, 700, 7))
def test_cut_off_anywhere_nothing_is_taken_for_an_end_that_is_none(end: int) -> None:
    whole = said(*WHOLE)
    job = output.read(whole[:end], CHANGE)
    assert not job.whole or end >= len(whole) - 1
    for item in job.items:
        assert item.code is None or f"end {0 if item.unit == 'files' else 1} {item.code}".encode() in whole[:end]


def test_what_has_not_the_token_is_no_marker() -> None:
    forged = (
        b"@mainstay done",
        b"@mainstay 00000000000000000000000000000000 end 0 0 1",
        b" @mainstay %b done" % TOKEN.encode(),
    )
    job = output.read(said("begin 0 1", *forged), CHANGE)
    assert job.items[0].code is None and not job.whole


def test_what_is_not_of_this_change_is_passed_over() -> None:
    job = output.read(said("begin 7 1", "end 7 0 1", "begin x 1", "end", "begin", "begin 0 1", "end 0 huge 1"), CHANGE)
    assert [item.unit for item in job.items] == ["files"] and job.items[0].code not in (None, 0)


def test_a_million_of_the_unreadable_are_counted_and_a_hundred_are_named() -> None:
    job = output.read(said("begin 0 1", *[UNREAD] * 5000, "end 0 3 2"), CHANGE)
    assert (len(job.items[0].said.unreadable), job.items[0].said.unreadable_count) == (output.NAMED, 5000)
    assert len(json.dumps(job.to_json())) < 50_000


def test_dead_jobs_of_before_are_told() -> None:
    job = output.read(
        said("job h", "dead RUN0-h-apply 77", "dead RUN9-h-apply ", "busy RUN8-h-apply 78", "left vg/x"), CHANGE
    )
    assert [(one.job, one.pid) for one in job.dead] == [("RUN0-h-apply", 77), ("RUN9-h-apply", 0)]
    assert (job.busy, job.left) == (("RUN8-h-apply",), ("vg/x",))


def test_progress_is_one_short_line() -> None:
    assert output.progress(b"", CHANGE) == ""
    assert output.progress(said("begin 1 1"), CHANGE) == "db/shop (2 of 2)"
    line = output.progress(said("begin 0 1", STATUS), CHANGE)
    assert line == "files (1 of 2): 12,345 of 20,000 files, 10 B of 3.4 GB"
    assert output.progress(said(STATUS)[20:], CHANGE) == ""
