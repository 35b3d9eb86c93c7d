"""Seals on their way to other machines: a dead anchor holds nobody up, loses nothing, and is named."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.fleet.system import wait_until

from mainstay.runner.ledger import courier as couriers
from mainstay.runner.ledger.anchored import AnchoredLedger, unmatched
from mainstay.runner.ledger.anchors import AnchorConflict, AnchorUnusable, MemoryAnchor
from mainstay.runner.ledger.chain import Seal
from mainstay.runner.ledger.comparing import compare_all
from mainstay.runner.ledger.contract import LedgerBehind
from mainstay.runner.ledger.courier import Courier, Lag
from mainstay.runner.ledger.memory import MemoryLedger
from mainstay.runner.ledger.seals import Anchor

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Site:
    """A local anchor, two others, and couriers as one process after the other has them."""

    def __init__(self, folder: Path) -> None:
        self.local = Anchor(folder / "anchor.jsonl")
        self.local.make()
        self.near, self.far = MemoryAnchor("near"), MemoryAnchor("far")
        self.folder = folder / "anchors"
        self.opened: list[Courier] = []

    def courier(self) -> Courier:
        self.opened.append(Courier(self.local, [self.near, self.far], self.folder))
        return self.opened[-1]

    def note(self, *seqs: int) -> None:
        self.local.append([Seal(seq, f"{seq:064x}", f"2026-01-02T10:{seq:02}:00Z") for seq in seqs])

    def lag(self, name: str = "far") -> Lag:
        return next(lag for lag in self.courier().lags() if lag.name == name)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    yield one
    for courier in one.opened:
        courier.close()


def seen(anchor: MemoryAnchor) -> list[int]:
    return [seal.seq for seal in anchor.kept]


def test_every_seal_is_brought_with_its_own_time(site: Site) -> None:
    site.note(1, 2)
    courier = site.courier()
    courier.wake()
    wait_until(lambda: seen(site.far) == seen(site.near) == [1, 2], "both have them", deadline=30)
    site.note(3)
    courier.wake()
    wait_until(lambda: seen(site.far) == [1, 2, 3], "the next one follows", deadline=30)
    assert site.far.kept == site.local.seals()
    courier.close()
    assert site.lag() == Lag("far", 3, 0)


def test_a_dead_anchor_keeps_nothing_from_the_other_and_gets_it_all_later(site: Site) -> None:
    site.far.broken = "no route to host"
    courier = site.courier()
    for seq in (1, 2, 3):
        site.note(seq)
        courier.wake()
    wait_until(lambda: seen(site.near) == [1, 2, 3], "the living one has them", deadline=30)
    courier.close()
    lag = site.lag()
    assert (lag.delivered, lag.behind, lag.since) == (0, 3, "2026-01-02T10:01:00Z")
    assert "no route to host" in lag.error
    assert lag.failing_since is not None
    assert lag.late(NOON)
    site.far.broken = ""
    assert [one.behind for one in site.courier().flush()] == [0, 0]
    assert seen(site.far) == [1, 2, 3]
    assert site.lag() == Lag("far", 3, 0)


def test_a_dead_one_is_tried_again_by_a_process_that_lives_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couriers, "AGAIN", 0.01)
    monkeypatch.setattr(couriers, "LONGEST", 0.01)
    site.far.broken = "is dead"
    site.note(1)
    courier = site.courier()
    courier.wake()
    wait_until(lambda: site.lag().error != "", "it was tried", deadline=30)
    site.far.broken = ""
    wait_until(lambda: seen(site.far) == [1], "it was tried again, though nobody asked", deadline=30)


class Faulty(MemoryAnchor):
    """Fails once in a way that nobody has foreseen."""

    failed = False

    def append(self, seals: Sequence[Seal]) -> None:
        if not self.failed:
            self.failed = True
            raise ValueError("unforeseen")
        super().append(seals)


def test_a_fault_of_ours_does_not_end_the_deliveries(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couriers, "AGAIN", 0.01)
    site.far = Faulty("far")
    site.note(1)
    courier = site.courier()
    courier.wake()
    wait_until(lambda: seen(site.far) == [1], "it was tried again", deadline=30)
    courier.close()


class Hanging(MemoryAnchor):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.go_on = threading.Event()
        self.begun = threading.Event()

    def append(self, seals: Sequence[Seal]) -> None:
        self.begun.set()
        self.go_on.wait(60)
        super().append(seals)


def test_one_that_hangs_holds_nobody_up(site: Site) -> None:
    site.far = hanging = Hanging("far")
    site.note(1)
    courier = site.courier()
    courier.wake()
    assert hanging.begun.wait(30)
    site.note(2)
    courier.wake()
    wait_until(lambda: seen(site.near) == [1, 2], "the other one has both", deadline=30)
    courier.close(within=0.01)
    assert site.lag().behind == 2
    hanging.go_on.set()


def test_two_processes_bring_each_seal_once(site: Site) -> None:
    brought: list[int] = []

    class Counting(MemoryAnchor):
        def append(self, seals: Sequence[Seal]) -> None:
            brought.extend(seal.seq for seal in seals)
            super().append(seals)

    site.far = Counting("far")
    site.note(*range(1, 41))
    threads = [threading.Thread(target=site.courier().flush) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(brought) == list(range(1, 41))


@pytest.mark.parametrize("harm", [b"", b"{}", b'{"name": "far", "delivered": "x"}', b"\xff", None])
def test_a_mark_that_is_lost_means_that_all_is_brought_once_more(site: Site, harm: bytes | None) -> None:
    site.note(1, 2)
    site.courier().flush()
    for mark in site.folder.glob("*.json"):
        mark.unlink() if harm is None else mark.write_bytes(harm)
    assert site.lag().behind == 2
    site.courier().flush()
    assert seen(site.far) == [1, 2]
    assert site.lag().behind == 0


def test_another_record_under_the_same_number_stays_a_lag(site: Site) -> None:
    site.far.make()
    site.far.kept = [Seal(1, "f" * 64, "2026-01-01T00:00:00Z")]
    site.note(1, 2)
    courier = site.courier()
    with pytest.raises(AnchorConflict):
        courier.deliver(site.far)
    lag = site.lag()
    assert lag.behind == 2
    assert "another record 1" in lag.error


def test_an_anchor_that_vanished_is_not_made_anew(site: Site) -> None:
    site.note(1)
    site.courier().flush()
    site.far.kept, site.far.made = [], False
    site.note(2)
    with pytest.raises(AnchorUnusable, match="not there any more"):
        site.courier().deliver(site.far)
    assert site.lag().behind == 1


def test_what_is_kept_of_it_is_for_its_owner_alone(site: Site) -> None:
    site.note(1)
    site.courier().flush()
    assert {path.stat().st_mode & 0o777 for path in site.folder.iterdir()} == {0o600}
    assert site.folder.stat().st_mode & 0o777 == 0o700
    assert {json.loads(path.read_text())["name"] for path in site.folder.glob("*.json")} == {"near", "far"}


def test_a_folder_that_cannot_be_written_is_said(site: Site) -> None:
    site.folder.write_text("a file in its place")
    site.note(1)
    with pytest.raises(AnchorUnusable, match="can't be written"):
        site.courier().deliver(site.far)
    assert site.lag().behind == 1
    site.folder.unlink()


@pytest.mark.parametrize(
    ("lag", "late"),
    [
        (Lag("a", 3, 0), False),
        (Lag("a", 3, 1, "2026-01-02T11:30:00Z"), False),
        (Lag("a", 3, 1, "2026-01-02T10:30:00Z"), True),
        (Lag("a", 3, 1, "2026-01-02T11:59:00Z", "is dead"), True),
        (Lag("a", 3, 1, "hostile"), True),
        (Lag("a", 3, 1, "2026-01-02T10:30:00"), True),
    ],
)
def test_when_somebody_should_look(lag: Lag, late: bool) -> None:
    assert lag.late(NOON) == late


# The ledger and what others have seen of it


class Whole:
    def __init__(self, site: Site) -> None:
        self.site, self.inner = site, MemoryLedger()
        self.runs: dict[str, bool] = {}
        self.ledger = AnchoredLedger(self.inner, site.courier(), lambda: dict(self.runs))

    def seal(self, *ids: str) -> None:
        for id in ids:
            self.runs[id] = False
            entry = self.ledger.seal(id, {"id": id})
            self.site.local.note(entry.seq, entry.hash)
            self.runs[id] = True

    def found(self) -> set[tuple[str, str, int | None]]:
        return {(one.name, found.kind, found.seq) for one in self.ledger.compare() for found in one.findings}


@pytest.fixture
def whole(site: Site) -> Whole:
    return Whole(site)


def test_a_sound_ledger_is_what_its_anchors_have_seen(whole: Whole) -> None:
    whole.ledger.guard()
    whole.seal("r1", "r2", "r3")
    whole.ledger.guard()
    assert whole.ledger.verify() == []
    assert [(one.name, one.reached, one.error, one.findings) for one in whole.ledger.compare()] == [
        ("near", 3, "", ()),
        ("far", 3, "", ()),
    ]


def test_a_tail_cut_off_together_with_the_local_anchor_is_found(whole: Whole) -> None:
    whole.seal("r1", "r2", "r3")
    whole.ledger.compare()
    del whole.inner.rows[1:]
    whole.inner.anchor = {1: whole.inner.rows[0].hash}
    whole.site.local.path.write_bytes(whole.site.local.path.read_bytes().split(b"\n")[0] + b"\n")
    assert whole.inner.verify() == []
    assert whole.found() == {("near", "truncated", 2), ("far", "truncated", 2)}


def test_a_ledger_emptied_with_all_that_lies_beside_it_does_not_begin_anew(whole: Whole) -> None:
    whole.seal("r1", "r2")
    whole.ledger.compare()
    whole.inner.rows.clear()
    whole.inner.anchor = {}
    whole.site.local.path.write_bytes(b"")
    for mark in whole.site.folder.iterdir():
        mark.unlink()
    whole.inner.guard()
    with pytest.raises(LedgerBehind, match="near has seen 2 records"):
        whole.ledger.guard()


def test_an_empty_ledger_whose_anchor_does_not_answer_does_not_begin(whole: Whole) -> None:
    whole.site.far.broken = "is dead"
    with pytest.raises(LedgerBehind, match="is dead"):
        whole.ledger.guard()
    whole.seal("r1")
    whole.ledger.guard()  # from now on what is at hand is enough


def test_a_ledger_made_anew_with_the_key_is_found_from_its_first_other_entry_on(whole: Whole) -> None:
    whole.seal("r1", "r2", "r3")
    whole.ledger.compare()
    del whole.inner.rows[1:]
    for id in ("r2", "r3"):
        whole.inner.seal(id, {"id": id, "forged": True})
    assert whole.inner.verify() == []
    assert whole.found() == {("near", "forged", 2), ("far", "forged", 2)}


def test_an_anchor_that_lost_what_it_was_given_is_found(whole: Whole) -> None:
    whole.seal("r1", "r2", "r3")
    whole.ledger.compare()
    del whole.site.far.kept[1:]
    assert whole.found() == {("far", "anchor-missing", None)}
    whole.site.far.kept.clear()
    assert whole.found() == {("far", "anchor-missing", None)}


def test_an_anchor_that_does_not_answer_is_unknown_and_not_well(whole: Whole) -> None:
    whole.seal("r1")
    whole.site.far.broken = "is dead"
    near, far = whole.ledger.compare()
    assert (near.error, near.reached) == ("", 1)
    assert "is dead" in far.error


def test_one_that_hangs_is_not_waited_for_in_vain(site: Site) -> None:
    class Silent(MemoryAnchor):
        def last(self, near: int = 0) -> Seal | None:
            threading.Event().wait(60)
            return None

    near, far = compare_all([site.near, Silent("far")], {}, {}, within=0.05)
    assert (near.error, far.error) == ("", "anchor far did not answer within 0.05 s")


def test_runs_and_records_are_held_against_each_other(whole: Whole) -> None:
    whole.seal("r1", "r2")
    whole.runs |= {"r8": False, "r9": True}
    del whole.runs["r1"]
    assert [(one.kind, one.seq) for one in whole.ledger.verify()] == [("unsealed", None), ("run-missing", 1)]


def test_a_run_that_is_sealed_and_not_yet_called_ended_is_well() -> None:
    assert unmatched([], {"r1": 1}, ["r1", "r2"]) == []
