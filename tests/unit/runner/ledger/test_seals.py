"""What lies outside the database: half-written, hostile, replaced, on a disk that is full or fails."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mainstay.runner.ledger.chain import Seal
from mainstay.runner.ledger.contract import LedgerBehind, LedgerUnusable
from mainstay.runner.ledger.seals import Anchor, make_key, read_key

HASH = "ab" * 32


@pytest.fixture
def anchor(tmp_path: Path) -> Anchor:
    made = Anchor(tmp_path / "anchor.jsonl")
    made.make()
    return made


def reached(anchor: Anchor) -> list[int]:
    return [seal.seq for seal in anchor.seals()]


def test_a_disk_that_takes_half_a_line_has_taken_none(anchor: Anchor, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a full disk does: the first write is short, the next one refused."""
    anchor.note(1, HASH)
    write, said = os.write, anchor.path.read_bytes()

    def half(number: int, data: bytes) -> int:
        if len(data) > 40:
            return write(number, data[:40])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", half)
    for _ in range(2):
        with pytest.raises(LedgerUnusable, match="No space left") as caught:
            anchor.note(2, HASH[:10])
        assert caught.value.hint is not None
        assert "make room" in caught.value.hint
    assert anchor.path.read_bytes() == said
    monkeypatch.undo()
    anchor.note(2, HASH)
    assert reached(anchor) == [1, 2]


def test_a_short_write_is_gone_on_with(anchor: Anchor, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda number, data: write(number, data[:7]))
    anchor.note(1, HASH)
    anchor.note(2, HASH)
    assert reached(anchor) == [1, 2]


def test_a_line_that_could_not_be_synced_is_not_taken_for_noted(
    anchor: Anchor, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def broken(number: int) -> None:
        synced.append(number)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", broken)
    for tries in (1, 2):
        with pytest.raises(LedgerUnusable, match="Input/output error"):
            anchor.note(1, HASH)
        assert len(synced) == tries
    monkeypatch.undo()
    assert anchor.last() is None
    anchor.note(1, HASH)
    assert reached(anchor) == [1]


@pytest.mark.parametrize(
    "line",
    [
        '{"seq": Infinity, "hash": "h", "time": "t"}',
        '{"seq": -Infinity, "hash": "h", "time": "t"}',
        '{"seq": NaN, "hash": "h", "time": "t"}',
        '{"seq": 1e999, "hash": "h", "time": "t"}',
        '{"seq": 2.5, "hash": "h", "time": "t"}',
        '{"seq": true, "hash": "h", "time": "t"}',
        '{"seq": "9", "hash": "h", "time": "t"}',
        '{"seq": 0, "hash": "h", "time": "t"}',
        '{"seq": 9223372036854775808, "hash": "h", "time": "t"}',
        '{"seq": ' + "9" * 5000 + ', "hash": "h", "time": "t"}',
        '{"seq": 9, "hash": ["h"], "time": "t"}',
        '{"seq": 9, "hash": "h"}',
        "[" * 100_000,
        "null",
        "9",
        "\udcff\udcfe",
        "x" * 100_000,
    ],
)
def test_a_hostile_line_is_passed_over(anchor: Anchor, line: str) -> None:
    anchor.note(1, HASH)
    with anchor.path.open("ab") as file:
        file.write(line.encode("utf-8", "surrogateescape") + b"\n")
    assert reached(anchor) == [1]
    assert anchor.last() == anchor.seals()[0]
    anchor.note(2, HASH)
    assert reached(anchor) == [1, 2]


@pytest.mark.parametrize(
    "put",
    [
        lambda path: path.mkdir(),
        lambda path: path.symlink_to(path.with_name("other")),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: os.mkfifo(path),
    ],
    ids=["folder", "link", "link to a device", "pipe"],
)
def test_what_lies_in_its_place_is_not_read_nor_written(anchor: Anchor, put: Callable[[Path], object]) -> None:
    anchor.note(1, HASH)
    anchor.path.rename(anchor.path.with_name("other"))
    put(anchor.path)
    before = anchor.path.with_name("other").read_bytes()
    asked: list[Callable[[], object]] = [anchor.seals, anchor.last, anchor.make, lambda: anchor.note(2, HASH)]
    for ask in asked:
        with pytest.raises(LedgerBehind, match="no file of its own"):
            ask()
    assert anchor.path.with_name("other").read_bytes() == before


def test_one_that_is_gone_is_not_made_anew(anchor: Anchor) -> None:
    anchor.path.unlink()
    with pytest.raises(LedgerBehind, match="missing"):
        anchor.note(1, HASH)
    assert not anchor.path.exists()


def test_what_was_noted_past_a_number_is_read_from_the_end(anchor: Anchor) -> None:
    anchor.append(Seal(seq, HASH, "2026-01-01T00:00:00Z") for seq in range(1, 501))
    assert [seal.seq for seal in anchor.after(497)] == [498, 499, 500]
    assert len(anchor.after(0)) == 500
    assert anchor.after(500) == []
    last = anchor.last()
    assert last is not None
    assert (last.seq, last.time) == (500, "2026-01-01T00:00:00Z")


def test_a_new_files_name_is_synced_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(number: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{number}").readlink()))
        fsync(number)

    monkeypatch.setattr(os, "fsync", noted)
    Anchor(tmp_path / "new" / "anchor.jsonl").make()
    assert str(tmp_path / "new") in synced
    synced.clear()
    make_key(tmp_path / "new" / "ledger.key")
    assert str(tmp_path / "new") in synced


def test_a_key_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LedgerUnusable, match="No space left"):
        make_key(tmp_path / "ledger.key")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    make_key(tmp_path / "ledger.key")
    key = read_key(tmp_path / "ledger.key")
    make_key(tmp_path / "ledger.key")
    assert read_key(tmp_path / "ledger.key") == key
    assert [path.name for path in tmp_path.iterdir()] == ["ledger.key"]


def test_a_line_says_what_it_always_said(anchor: Anchor) -> None:
    anchor.note(1, HASH)
    assert set(json.loads(anchor.path.read_text())) == {"seq", "hash", "time"}
