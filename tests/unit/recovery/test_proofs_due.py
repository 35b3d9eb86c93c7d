"""Which source is to be proved now, with which of its files, and which part of a repository's data is read next."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.recovery.points import NOW, before, point, proof

from mainstay.recovery.proofs_due import (
    FIRST_RETRY,
    MOST_PARTS,
    due_at,
    next_subset,
    parts_of,
    proofs_due,
    sample,
    subsets_due,
)
from mainstay.recovery.restic.replies import Node
from mainstay.runner.verdict import Verdict

NOW_S = NOW.timestamp()
HOUR, DAY = 3600.0, 86400.0
NEWEST, OLDER = point(before(hours=10)), point(before(days=3))
F = Verdict.FAILED


def due(proofs: Any = (), points: Any = (OLDER, NEWEST), every: float = 7 * DAY, **more: Any) -> list[str]:
    return [one.reason for one in proofs_due(points, proofs, every, NOW_S, **more)]


def test_a_source_is_due_when_it_was_never_proved_or_not_for_so_long() -> None:
    assert due() == ["never proved"]
    assert due([proof(OLDER, before(days=6.9))]) == []
    assert due([proof(OLDER, before(days=7))]) == ["last proved 2026-11-15"]
    assert due(points=[]) == []


def test_what_is_proved_is_the_newest_point_that_is_there() -> None:
    (one,) = proofs_due([NEWEST, OLDER, point(before(hours=-9))], [], DAY, NOW_S)
    assert one.point == NEWEST
    gone = NEWEST.model_copy(update={"removed_at": before()})
    (one,) = proofs_due([gone, OLDER], [], DAY, NOW_S)
    assert one.point == OLDER


def test_each_source_and_each_database_is_due_for_itself() -> None:
    databases = [point(before(hours=2), source="db", item=name) for name in ("a", "b")]
    proved = [proof(databases[0], before(hours=1)).model_copy(update={"item": "a"})]
    assert [one.point for one in proofs_due([*databases, NEWEST], proved, DAY, NOW_S)] == [databases[1], NEWEST]


def test_a_proof_that_failed_is_tried_again_after_a_while_that_grows() -> None:
    assert due([proof(NEWEST, before(hours=0.9), F)]) == []
    assert due([proof(NEWEST, before(hours=1), F)]) == ["never proved, 1 attempt failed since"]
    two = [proof(NEWEST, before(hours=3), F), proof(NEWEST, before(hours=1.9), F)]
    assert due(two) == []
    assert due([proof(OLDER, before(days=8)), *two], tried={("web1", "nightly", "etc"): NOW_S - 4 * HOUR}) == []
    assert due([proof(OLDER, before(days=2)), *two]) == []  # the failed ones after it do not make it due sooner
    assert due([*two, proof(OLDER, before(hours=1))]) == []


def test_one_that_died_without_a_trace_has_failed() -> None:
    group = ("web1", "nightly", "etc")
    assert due(tried={group: NOW_S - 0.5 * HOUR}) == []
    assert due(tried={group: NOW_S - 2 * HOUR}) == ["never proved, 1 attempt failed since"]
    assert due([proof(NEWEST, before(days=8))], tried={group: NOW_S - 9 * DAY}) == ["last proved 2026-11-14"]


def test_a_proof_from_the_future_does_not_put_it_off() -> None:
    assert due([proof(NEWEST, before(days=-300))]) == ["never proved"]


@given(st.floats(1, 90 * DAY), st.floats(0, 1e9), st.floats(0, 1e9), st.integers(0, 200))
def test_nothing_is_put_off_for_longer_than_the_plans_own_time(
    every: float, proved_at: float, later: float, failures: int
) -> None:
    tried_at = proved_at + later
    at = due_at(every, proved_at, tried_at, failures)
    assert proved_at + every <= at <= max(proved_at, tried_at) + every
    assert not failures or at >= tried_at + min(every, FIRST_RETRY)


# --- the sample


def node(path: str, size: int, day: int = 1, **more: Any) -> Node:
    return Node(path=path, type=more.pop("type", "file"), size=size, modified_at=f"2026-01-{day:02}T00:00:00Z")


TREE = [node(f"/data/{number}", size=number % 7 * 1000 + 1, day=number % 5 + 1) for number in range(60)]


def test_the_same_seed_takes_the_same_files_whatever_the_order_and_another_one_others() -> None:
    mixed = random.Random(1).sample(TREE, len(TREE))
    assert sample(TREE, 8, "a", 10**9) == sample(mixed, 8, "a", 10**9)
    assert sample(TREE, 8, "a", 10**9).files != sample(TREE, 8, "b", 10**9).files


def test_every_file_is_met_some_time() -> None:
    met = {node.path for seed in range(60) for node in sample(TREE, 8, str(seed), 10**9).files}
    assert met == {node.path for node in TREE}


def test_folders_links_and_devices_are_no_files() -> None:
    others = [node(f"/x/{type}", 5, type=type) for type in ("dir", "symlink", "fifo", "socket")]
    found = sample([*others, node("/x/file", 5)], 10, "a", 100)
    assert ([one.path for one in found.files], found.of, found.scope) == (["/x/file"], 1, "1 of 1 file, 5 B")


def test_empty_files_are_taken_only_where_there_is_nothing_else() -> None:
    empty = [node(f"/empty/{number}", 0) for number in range(50)]
    assert all(one.size for one in sample([*empty, *TREE], 60, "a", 10**9).files)
    assert len(sample(empty, 5, "a", 0).files) == 5


def test_what_does_not_fit_is_named_and_the_rest_taken() -> None:
    huge = [node(f"/huge/{number}", 10**9) for number in range(30)]
    found = sample([*huge, node("/small", 10)], 31, "a", 1000)
    assert ([one.path for one in found.files], found.bytes) == (["/small"], 10)
    (words,) = found.left_out
    assert words.startswith("for max_bytes of 1.0 kB: /huge/")
    assert words.endswith("and 10 more")


def test_a_name_that_is_no_utf8_can_not_be_asked_for_and_is_named() -> None:
    found = sample([node("/a\ufffd\x1b[2J", 5), node("/b", 5)], 5, "a", 100)
    assert [one.path for one in found.files] == ["/b"]
    assert "UTF-8: /a" in found.left_out[0]
    assert "\x1b" not in found.left_out[0]
    # Only who writes a repository's trees himself makes such a name; it must not end a drill in the midst.
    found = sample([node("/a\0", 5), node("/b", 5)], 5, "a", 100)
    assert [one.path for one in found.files] == ["/b"] and "\0" not in found.left_out[0]


def test_a_path_that_has_no_room_below_another_folder_is_not_taken_and_named() -> None:
    long = "/" + "/".join(["d" * 255] * 15)
    found = sample([node(long, 5), node("/b", 5)], 5, "a", 100)
    assert [one.path for one in found.files] == ["/b"]
    assert "too long below another folder: /ddd" in found.left_out[0]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), max_size=30),
    st.integers(1, 12),
    st.integers(0, 60),
    st.text(max_size=3),
)
def test_a_sample_keeps_its_limits_and_meets_all_kinds(
    made: list[tuple[int, int]], n: int, max_bytes: int, seed: str
) -> None:
    nodes = [node(f"/{number}", size, day) for number, (size, day) in enumerate(made)]
    found = sample(nodes, n, seed, max_bytes)
    assert len(found.files) <= n
    assert sum(one.size for one in found.files) == found.bytes <= max_bytes
    assert len({one.path for one in found.files}) == len(found.files)
    assert found.of == len(nodes)
    if len(found.files) < min(n, len(nodes)):
        assert found.left_out
    full = sample(nodes, n, seed, 10**9)
    assert (len(full.files), full.left_out) == (min(n, len(nodes)), ())
    held = [one for one in nodes if one.size]
    if n >= 4 and held:
        assert max(one.size for one in full.files) > sorted(one.size for one in held)[(len(held) - 1) // 2] or (
            max(one.size for one in held) == sorted(one.size for one in held)[(len(held) - 1) // 2]
        )


def test_big_and_small_new_and_old_are_all_met_by_four() -> None:
    tree = [node(f"/{size}/{day}/{n}", size, day) for size in (1, 10**6) for day in (1, 28) for n in range(20)]
    for seed in range(20):
        kinds = {(one.size, one.modified_at[8:10]) for one in sample(tree, 4, str(seed), 10**9).files}
        assert len(kinds) == 4


# --- check in rotation


def test_the_part_that_was_never_read_comes_first_then_the_one_read_longest_ago() -> None:
    assert next_subset({}, 4, 28 * DAY, NOW_S) == 1
    assert next_subset({1: NOW_S - DAY, 2: NOW_S - 9 * DAY, 4: NOW_S}, 4, 28 * DAY, NOW_S) == 3
    read = {1: NOW_S - DAY, 2: NOW_S - 9 * DAY, 3: NOW_S, 4: NOW_S - 8 * DAY}
    assert next_subset(read, 4, 28 * DAY, NOW_S) == 2
    assert next_subset(read | {2: NOW_S + DAY}, 4, 28 * DAY, NOW_S) == 2  # a time that has not come says nothing
    assert next_subset({9: NOW_S, 0: NOW_S, 1: NOW_S}, 2, 28 * DAY, NOW_S) == 2


@pytest.mark.parametrize("t", [0, MOST_PARTS + 1])
def test_what_restic_does_not_take_is_an_error(t: int) -> None:
    with pytest.raises(ValueError, match="parts"):
        subsets_due({}, t, DAY, DAY, NOW_S)


def test_so_many_parts_that_some_nights_can_be_missed() -> None:
    assert [parts_of(DAY, days * DAY) for days in (28, 7, 1, 10_000)] == [23, 5, 1, MOST_PARTS]
    assert parts_of(2 * DAY, DAY) == 1


@given(st.integers(1, 40), st.randoms(use_true_random=False))
def test_all_data_is_read_in_time_though_every_seventh_night_is_missed(days: int, chance: random.Random) -> None:
    """One part each night, as the errand reads; of any seven nights in a row one is missed, at any place."""
    t = parts_of(DAY, days * DAY)
    read = dict.fromkeys(range(1, t + 1), -1.0)
    read = {n: -float(t - n) * DAY for n in read}
    missed = -99
    for night in range(1, 4 * days):
        now = night * DAY
        if days >= 7 and night - missed >= 7 and chance.random() < 0.5:
            missed = night
            continue
        read[next_subset(read, t, days * DAY, now)] = now
        assert now - min(read.values()) <= days * DAY


@given(st.integers(1, 30), st.integers(0, 6), st.randoms(use_true_random=False))
def test_what_was_missed_is_made_up_for_and_no_more(spare: int, most_missed: int, chance: random.Random) -> None:
    """Whatever nights are missed, what could be read in time is; and where none was, one part each night is enough."""
    t, within = 20, (20 + spare) * DAY
    read = {n: -float(t - n) * DAY for n in range(1, t + 1)}
    night = 0
    for _ in range(25):
        skipped = chance.randint(0, most_missed)
        night += 1 + skipped
        now = night * DAY
        taken = subsets_due(read, t, within, DAY, now)
        late = {n for n in read if now - read[n] > within}
        assert late <= set(taken)
        assert len(set(taken)) == len(taken) >= 1
        assert taken[0] == next_subset(read, t, within, now)
        if most_missed == 0:
            assert len(taken) == 1
        read |= dict.fromkeys(taken, now)
        assert now - min(read.values()) <= within  # nothing is overdue after any turn
        if most_missed <= 0:
            continue
        # and nothing becomes so if no further turn is missed
        ahead = dict(read)
        for step in range(1, t + 1):
            then = now + step * DAY
            assert then - min(ahead.values()) <= within
            ahead[next_subset(ahead, t, within, then)] = then


def test_one_part_that_is_overdue_brings_no_other_with_it() -> None:
    read = {n: NOW_S - n * DAY for n in range(1, 9)} | {9: NOW_S - 300 * DAY}
    assert subsets_due(read, 9, 20 * DAY, DAY, NOW_S) == (9,)


def test_what_was_never_read_is_due_within_its_time_from_the_beginning() -> None:
    assert len(subsets_due({}, 10, 10 * DAY, DAY, NOW_S)) == 1
    assert len(subsets_due({}, 10, 10 * DAY, DAY, NOW_S, since=NOW_S - 5 * DAY)) == 5
    assert len(subsets_due({}, 10, 10 * DAY, DAY, NOW_S, since=NOW_S - 50 * DAY)) == 10
    assert len(subsets_due({}, 20, 10 * DAY, DAY, NOW_S)) == 10
