"""What a program that failed says of a point."""

from __future__ import annotations

import pytest

from mainstay.recovery.proving.attempt import NotProved, Untried, against


@pytest.mark.parametrize(
    "words",
    [
        'pg_restore: error: COPY failed for table "t": ERROR:  could not extend file "base/1/2": No space left on device',
        "ERROR 3 (HY000) at line 30: Error writing file './shop/t.ibd' (Errcode: 28 \"No space left on device\")",
        "ERROR 1114 (HY000) at line 48: The table 'orders' is full",
        "tar: base/5/1259: Wrote only 4096 of 10240 bytes: Disk quota exceeded",
    ],
)
def test_a_full_disk_does_not_speak_against_the_dump(words: str) -> None:
    error = against(f"it failed: {words}", words, "drill1")
    assert isinstance(error, Untried) and error.limit
    assert error.message == f"the disk of drill1 was full: it failed: {words}"


def test_what_else_a_program_says_does() -> None:
    words = 'pg_restore: error: could not execute query: ERROR:  relation "space" does not exist'
    assert isinstance(against(words, words, "drill1"), NotProved)
