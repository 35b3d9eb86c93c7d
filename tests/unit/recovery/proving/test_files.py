"""Proofs of files by real restic: what is proved, what is not, and that nothing is left over."""

from __future__ import annotations

import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.recovery.proving.drills import Drill, Killed
from tests.unit.recovery.restore.repositories import Book, packs, tree

from mainstay.recovery.expectations import Expectations
from mainstay.recovery.proving import scratch
from mainstay.recovery.restic.adapters.controller import Controller
from mainstay.runner.steps import Stopped
from mainstay.runner.verdict import Verdict

pytestmark = pytest.mark.server

FILES: dict[str, Any] = {"etc": {"paths": ["/etc"]}}


@pytest.fixture
def drill(tmp_path: Path) -> Drill:
    return Drill(tmp_path)


def test_a_sample_of_the_newest_point_is_proved_and_nothing_stays(drill: Drill) -> None:
    etc = tree(drill.folder / "etc", {f"f{n}": f"{n}" * 100 for n in range(30)})
    drill.world.backup(etc, source="etc", at=datetime.now(UTC) - timedelta(days=1))
    point = drill.world.backup(etc, source="etc")
    said, book = drill.do(FILES, sample=5)
    (proof,) = drill.proofs()
    assert (proof.point, proof.verdict, proof.run) == (point.id, Verdict.SUCCEEDED, "run-1")
    assert proof.scope.startswith("5 of 30 files, ")
    assert said.startswith("1 of 1 point proved")
    assert book.measures["proves"] == [point.run]
    (told,) = book.measures["proofs"]
    assert told["point"] == point.id and told["at"] == point.at
    assert {"locate", "transfer", "verify"} <= set(proof.measures)
    assert list(drill.scratch.iterdir()) == []
    assert drill.world.points.tended()[0].what == "prove"


def test_damaged_data_is_not_proved_and_said(drill: Drill) -> None:
    etc = tree(drill.folder / "etc", {"a": os.urandom(30_000)})
    point = drill.world.backup(etc, source="etc")
    big = max(packs(drill.folder / "main"), key=lambda path: path.stat().st_size)
    content = bytearray(big.read_bytes())
    content[200] ^= 0xFF
    big.chmod(0o600)
    big.write_bytes(content)
    with pytest.raises(Stopped, match=r"0 of 1 point proved.*etc is not proved: not as in the repository: .*/a"):
        drill.do(FILES)
    (proof,) = drill.proofs()
    assert (proof.point, proof.verdict) == (point.id, Verdict.FAILED)
    assert list(drill.scratch.iterdir()) == []


def test_what_does_not_fit_is_named_and_not_proved(drill: Drill) -> None:
    etc = tree(drill.folder / "etc", {"big": os.urandom(9000), "small": "s" * 100})
    drill.world.backup(etc, source="etc")
    _, book = drill.do(FILES, max_bytes=5000)
    (proof,) = drill.proofs()
    assert proof.verdict is Verdict.SUCCEEDED and proof.scope.startswith("1 of 2 files")
    assert "/big (9.0 kB)" in proof.left_out[0]
    assert "/big" in book.concerns[0], "the host is degraded by it"
    drill.world.points = type(drill.world.points)()
    drill.world.backup(etc / "big", source="etc")
    with pytest.raises(Stopped, match="nothing could be tried: for max_bytes"):
        drill.do(FILES, max_bytes=5000)
    assert drill.proofs()[0].verdict is Verdict.REFUSED


def test_time_that_is_over_is_no_proof(drill: Drill) -> None:
    etc = tree(drill.folder / "etc", {"a": "a"})
    drill.world.backup(etc, source="etc")
    times = iter(range(0, 100_000, 40))
    with pytest.raises(Stopped, match="max_time was over"):
        drill.do(FILES, max_time="60s", clock=lambda: float(next(times)))
    (proof,) = drill.proofs()
    assert proof.verdict is Verdict.REFUSED and proof.left_out == ("etc: max_time was over",)


def test_a_repository_that_does_not_open_proves_nothing(drill: Drill) -> None:
    drill.world.backup(tree(drill.folder / "etc", {"a": "a"}), source="etc")
    drill.world.passwords["file:main"] = "wrong"
    with pytest.raises(Stopped, match="password"):
        drill.do(FILES)
    assert [proof.verdict for proof in drill.proofs()] == [Verdict.FAILED]


@pytest.mark.parametrize("when", ["before", "listed", "restored"])
def test_a_point_that_is_removed_meanwhile_says_nothing_of_the_backup(
    drill: Drill, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Retention may take the point of this noon away while its drill waits, or works: there is one of this evening then."""
    point = drill.world.backup(tree(drill.folder / "etc", {"a": "a"}), source="etc")

    removed: list[bytes] = []

    def forget() -> None:
        if not removed:
            removed.append(drill.world.run("main", "forget", point.id))

    def does(*given: Any, **more: Any) -> Any:
        found = real(*given, **more)
        forget()
        return found

    if when == "before":
        forget()
    else:
        name = {"listed": "ls", "restored": "restore"}[when]
        real = getattr(Controller, name)
        monkeypatch.setattr(Controller, name, does)
    with pytest.raises(Stopped, match=f"point {point.id[:12]} is gone from the repository: retention"):
        drill.do(FILES)
    assert removed and [proof.verdict for proof in drill.proofs()] == [Verdict.UNKNOWN]


def test_what_a_killed_drill_left_over_is_found_and_removed(drill: Drill) -> None:
    etc = tree(drill.folder / "etc", {"a": "a"})
    drill.world.backup(etc, source="etc")
    left = drill.scratch / "run-0-abc"
    left.mkdir(parents=True)
    (left / scratch.LOCK).touch()
    elsewhere = scratch.Place(left).elsewhere(os.geteuid(), os.getegid())
    sleeper = subprocess.Popen(["sleep", "600"], cwd=elsewhere, start_new_session=True)
    try:
        _, book = drill.do(FILES)
        assert sleeper.wait(60) == -signal.SIGKILL
    finally:
        sleeper.kill()
        sleeper.wait()
    assert not elsewhere.exists() and list(drill.scratch.iterdir()) == []
    assert any("run-0-abc" in note for note in book.notes)


def test_a_drill_that_dies_in_the_middle_begins_its_point_anew(drill: Drill) -> None:
    etc, data = tree(drill.folder / "etc", {"a": "a"}), tree(drill.folder / "data", {"b": "b"})
    drill.world.backup(etc, source="etc")
    drill.world.backup(data, source="data")
    sources = FILES | {"data": {"paths": ["/data"]}}
    book = Book()

    kept: dict[str, Any] = {}
    with pytest.raises(Killed):
        drill.do(sources, book=book, kept=kept, dies_in="prove etc")
    assert list(kept) == ["sweep", "prove data"]
    assert len(list(drill.scratch.iterdir())) == 1
    said, _ = drill.do(sources, book=book, kept=kept)
    assert said.startswith("2 of 2 points proved")
    assert [proof.source for proof in drill.proofs()] == ["data", "etc"]
    assert list(drill.scratch.iterdir()) == []


def test_what_may_be_empty_by_the_plan_is_proved_empty(drill: Drill, monkeypatch: pytest.MonkeyPatch) -> None:
    (drill.folder / "spool").mkdir()
    drill.world.backup(drill.folder / "spool", source="etc")
    with pytest.raises(Stopped, match="the point holds no file"):
        drill.do(FILES)
    plan = drill.plan(FILES).model_copy(update={"expect": Expectations(may_be_empty=True)})
    monkeypatch.setattr(drill, "plan", lambda sources: plan)
    said, _ = drill.do(FILES, book=Book("run-2"))
    assert said.startswith("1 of 1 point proved")


def test_a_disk_that_becomes_full_does_not_speak_against_the_point(
    drill: Drill, monkeypatch: pytest.MonkeyPatch
) -> None:
    etc = tree(drill.folder / "etc", {"a": os.urandom(3_000_000)})
    drill.world.backup(etc, source="etc")
    # As where something else fills it after it was looked at.
    monkeypatch.setattr(scratch.Place, "free", lambda place, **_: 1 << 40)
    drill.scratch.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", drill.scratch], check=True)
    try:
        with pytest.raises(Stopped, match=r"the disk of the controller was full: .*no space left on device"):
            drill.do(FILES)
    finally:
        subprocess.run(["umount", drill.scratch], check=True)
    assert drill.proofs()[0].verdict is Verdict.REFUSED
