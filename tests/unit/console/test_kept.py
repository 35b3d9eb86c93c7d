"""What a record's part tells of backups and drills: tables, nothing raw."""

from datetime import datetime
from typing import Any

import pytest
from tests.unit.console.fakes import part

from mainstay.console.render import progress, record

START = "2026-11-22T01:30:00+00:00"
POINT = "0123456789abcdef"


def told(measures: dict[str, Any]) -> str:
    made = part("web1").model_copy(update={"measures": measures})
    return "\n".join("".join(span.text for span in line) for line in record.host(made, 120))


def test_a_backups_sources_are_a_table() -> None:
    row: dict[str, Any] = {
        "verdict": "degraded",
        "files": 12,
        "bytes": 2048,
        "added": 512,
        "seconds": 3.0,
        "point": POINT,
    }
    row |= {"reason": "1 file unreadable", "unreadable": 1, "unreadable_items": ["/etc/shadow"]}
    text = told({"sources": {"etc": row}, "job": {"hostname": "web1"}, "points": [POINT]})
    line = next(one for one in text.splitlines() if one.strip().startswith("etc ")).split()
    assert line[:3] == ["etc", "degraded", "12"]
    assert POINT[:12] in line
    assert "etc: unreadable: /etc/shadow" in text
    assert "hostname" not in text and POINT not in text


def test_a_drill_says_what_was_proved_and_what_was_left_out() -> None:
    proof: dict[str, Any] = {
        "unit": "etc",
        "point": POINT,
        "at": "2026-11-22T01:30:00Z",
        "run": "r1",
        "verdict": "succeeded",
    }
    proof |= {"scope": "sample", "reason": "", "left_out": ["/etc/big"], "seconds": 1.0, "measures": {"bytes": 10}}
    text = told({"proofs": [proof], "proves": ["r1"]})
    line = next(one for one in text.splitlines() if one.strip().startswith("etc ")).split()
    assert line[:3] == ["etc", "succeeded", "sample"]
    assert "etc: left out: /etc/big" in text
    assert "left_out" not in text and "measures" not in text
    # One that was restored elsewhere is told with whose it is.
    assert "db7: etc" in told({"proofs": [proof | {"of": "db7", "on": "web1"}]})
    assert "db7" not in told({"proofs": [proof | {"of": "db7", "on": "controller"}]})


@pytest.mark.parametrize(("kind", "named"), [("retention", "nightly (retention)"), ("backup", "nightly")])
def test_a_runs_head_says_what_is_done_beside_its_plan(kind: str, named: str) -> None:
    moment = progress.Moment(run="r1", plan="nightly", kind=kind, state="running", hosts=[], started_at=START)
    assert progress.title(moment, datetime.fromisoformat(START)).split(" · ")[1] == named
    assert progress.events(None, moment)[0].startswith(f"run r1 · {named} · ")


@pytest.mark.parametrize(
    ("measures", "said"),
    [
        (
            {"retention": {"removed": 3, "kept": 1, "foreign": 2, "no_points": 0, "no_points_removed": 0}},
            ["retention: 3 points to go, 1 to keep", "left alone, not of mainstay: 2 snapshots"],
        ),
        ({"prune": {"freed": 0}}, ["nothing to free"]),
        ({"prune": {"freed": None}}, ["pruned"]),
        ({"check": {"part": 2, "of": 12, "errors": 0}}, ["check: part 2 of 12 of the data read: sound"]),
        ({"check": {"part": 2, "of": 12, "errors": 1}}, ["check: part 2 of 12 of the data read: DAMAGED"]),
        (
            {"check": {"part": 2, "of": 12, "errors": 0, "broken_packs": ["ab"], "said": ["pack ab is broken"]}},
            ["check: part 2 of 12 of the data read: DAMAGED", "check: pack ab is broken"],
        ),
    ],
)
def test_upkeep_is_told_in_sentences(measures: dict[str, Any], said: list[str]) -> None:
    lines = [line.strip() for line in told(measures).splitlines()]
    assert [line for line in said if line not in lines] == []
    assert "no_points" not in "".join(lines) and "errors" not in "".join(lines) and "freed 0" not in "".join(lines)


def test_a_restore_says_what_came_from_where_and_what_differs() -> None:
    found: dict[str, Any] = {
        "point": POINT,
        "at": "2026-11-22T01:30:00Z",
        "of": "web1",
        "repository": "main",
        "paths": ["/etc"],
    }
    found |= {"to": "/root/back", "files": 1240, "bytes": 10, "seconds": 1.0, "verified": 20}
    text = " ".join(told({"restored etc": {**found, "differing": {"/etc/x": "size"}}}).split())
    assert "restored etc to /root/back: 1,240 files, 10 B, 20 verified;" in text
    assert f"from point {POINT[:12]} of 2026-11-22T01:30:00Z in main" in text
    assert "etc: /etc/x differs: size" in text
    assert "seconds" not in text and POINT not in text


def test_of_a_check_of_several_parts_every_part_is_told() -> None:
    sound = {"of": 12, "errors": 0, "broken_packs": [], "said": []}
    text = told({"check 2": {"part": 2, **sound}, "check 3": {"part": 3, **sound, "broken_packs": ["ab"]}})
    assert "check: part 2 of 12 of the data read: sound" in text
    assert "check: part 3 of 12 of the data read: DAMAGED" in text
    assert "broken packs" not in text


def test_sizes_counts_and_flags_are_written_for_people_and_each_note_in_its_line() -> None:
    measures = {
        "bytes": 123_456_789,
        "added": 2048,
        "files": 12_345,
        "drained": True,
        "tables": 7,
        "copied": 2,
        "points": [POINT],
    }
    measures |= {
        "restored_bytes": 5_000_000,
        "stopped": "half",
        "notes": ["sent restic to /x", "removed 1 lock"],
        "lost": "ab12",
    }
    lines = [" ".join(line.split()) for line in told(measures).splitlines()]
    assert {"size 123 MB", "new data 2.0 kB", "files 12,345", "out of service yes", "tables 7", "restored 5.0 MB"} <= {
        *lines
    }
    assert {"copied: 2 points", "note: sent restic to /x", "note: removed 1 lock"} <= {*lines}
    assert not [line for line in lines if "123456789" in line or "half" in line or "ab12" in line or POINT in line]
