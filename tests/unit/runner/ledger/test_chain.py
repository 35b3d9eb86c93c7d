"""Whatever is done to the entries without the key, `examine` finds it; what nobody touched is never accused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.inventory.value import Json
from mainstay.runner.ledger.chain import entry_hash, examine, make_entry
from mainstay.runner.ledger.contract import Entry

KEY = b"k" * 32
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
bodies: st.SearchStrategy[Json] = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner), max_leaves=5
    ),
    max_size=4,
)


def chain(contents: list[Json]) -> list[Entry]:
    entries: list[Entry] = []
    head = (0, "")
    for number, body in enumerate(contents):
        entries.append(make_entry(KEY, head, f"r{number}", body))
        head = (entries[-1].seq, entries[-1].hash)
    return entries


def anchor(entries: list[Entry]) -> dict[int, str]:
    return {entry.seq: entry.hash for entry in entries}


chains = st.lists(bodies, min_size=1, max_size=8).map(chain)
numbered = st.integers(1, 8).map(lambda count: chain([{"n": number} for number in range(count)]))
"""Where it matters only which entry it is: what they hold takes ten times as long to think up."""


@pytest.mark.thorough
@given(chains, st.data())
def test_what_is_sealed_is_sound_with_a_whole_anchor_a_thin_one_and_none(
    entries: list[Entry], data: st.DataObject
) -> None:
    some = data.draw(st.sets(st.integers(1, len(entries))))
    assert examine(entries, KEY, anchor(entries), None) == []
    assert examine(entries, KEY, {seq: hash for seq, hash in anchor(entries).items() if seq in some}, None) == []
    assert examine(entries, KEY, {}, None) == []
    assert examine([Entry.from_json(entry.to_json()) for entry in entries], KEY, {}, None) == []


@pytest.mark.thorough
@given(chains, bodies, st.data())
def test_a_changed_body_is_found_at_its_place(entries: list[Entry], body: Json, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(entries) - 1))
    changed = entries[at].model_copy(update={"body": {**body, "changed": True}})
    found = examine([*entries[:at], changed, *entries[at + 1 :]], KEY, anchor(entries), None)
    assert [(finding.kind, finding.seq) for finding in found] == [("edited", at + 1)]


@given(numbered, st.data())
def test_entries_left_out_are_found_with_the_anchor(entries: list[Entry], data: st.DataObject) -> None:
    kept = data.draw(st.sets(st.integers(1, len(entries)), max_size=len(entries) - 1))
    found = examine([entry for entry in entries if entry.seq in kept], KEY, anchor(entries), None)
    assert found
    assert {finding.kind for finding in found} <= {"missing", "truncated"}


@given(numbered, st.data())
def test_a_gap_is_found_without_an_anchor(entries: list[Entry], data: st.DataObject) -> None:
    kept = data.draw(st.sets(st.integers(1, len(entries)), min_size=1))
    found = examine([entry for entry in entries if entry.seq in kept], KEY, {}, None)
    assert bool(found) == (kept != set(range(1, max(kept) + 1)))


@given(numbered, st.data())
def test_entries_in_another_order_are_found(entries: list[Entry], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(entries))))
    moved = [entries[of].model_copy(update={"seq": place}) for place, of in enumerate(order, 1)]
    found = examine(moved, KEY, anchor(entries), None)
    displaced = [place for place, of in enumerate(order, 1) if place != of + 1]
    assert [finding.seq for finding in found if finding.kind == "reordered"] == displaced
    assert bool(found) == bool(displaced)


@given(numbered, st.data())
def test_a_chain_made_anew_with_another_key_is_found(entries: list[Entry], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(entries) - 1))
    forged, head = list(entries[:start]), (start, entries[start - 1].hash if start else "")
    for entry in entries[start:]:
        forged.append(make_entry(b"x" * 32, head, entry.id, entry.body))
        head = (forged[-1].seq, forged[-1].hash)
    found = examine(forged, KEY, anchor(entries), None)
    assert [(finding.kind, finding.seq) for finding in found] == [("forged", n + 1) for n in range(start, len(entries))]


def test_the_hash_covers_every_part() -> None:
    one = entry_hash(KEY, 1, "r", "", {"a": 1})
    others = [
        entry_hash(b"x" * 32, 1, "r", "", {"a": 1}),
        entry_hash(KEY, 2, "r", "", {"a": 1}),
        entry_hash(KEY, 1, "s", "", {"a": 1}),
        entry_hash(KEY, 1, "r", "0", {"a": 1}),
        entry_hash(KEY, 1, "r", "", {"a": 2}),
    ]
    assert len({one, *others}) == 6
