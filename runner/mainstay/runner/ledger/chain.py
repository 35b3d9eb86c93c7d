"""How entries hang together, and what can be seen to be wrong with them. Pure: no database, no files."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mainstay.inventory.value import Json, canonical
from mainstay.runner.ledger.contract import Entry, Finding

Hosts = Callable[[str], str]
"""Digest over what is kept of a run's hosts, by the run's id; what `record.hosts_digest` makes of their parts."""

REORDER_LIMIT = 200
"""So many broken entries are compared with each other's places; more than that is damage, not a swap."""


@dataclass(frozen=True, slots=True)
class Seal:
    """One line of the anchor: that the ledger reached this entry, and when (RFC 3339 UTC)."""

    seq: int
    hash: str
    time: str


def entry_hash(key: bytes, seq: int, id: str, prev: str, body: Json) -> str:
    return hmac.new(key, canonical([seq, id, prev, body]), hashlib.sha256).hexdigest()


def make_entry(key: bytes, head: tuple[int, str], id: str, body: Json) -> Entry:
    """The next entry after `head`."""
    seq, prev = head[0] + 1, head[1]
    return Entry(seq=seq, id=id, prev=prev, hash=entry_hash(key, seq, id, prev, body), body=body)


def examine(entries: Iterable[Entry], key: bytes, anchor: Mapping[int, str], hosts: Hosts | None) -> list[Finding]:
    """Everything wrong with the entries, which come in the order of their seq. anchor: seq → hash."""
    found: list[Finding] = []
    broken: list[Entry] = []
    expected, prev, sound_before = 1, "", True
    for entry in entries:
        if entry.seq < 1:
            found.append(_forged(entry, "nothing is sealed before the first entry"))
            continue
        if entry.seq != expected:
            found += [_missing(expected, entry.seq - 1)]
        made = entry_hash(key, entry.seq, entry.id, entry.prev, entry.body)
        sound = hmac.compare_digest(made.encode(), entry.hash.encode())  # as bytes: what lies there may be any text
        anchored = anchor.get(entry.seq, entry.hash)
        if not sound:
            broken.append(entry)
        elif anchored != entry.hash:
            found.append(_forged(entry, "another one was sealed in its place"))
        elif entry.seq == expected and entry.prev != prev and sound_before:
            found.append(_forged(entry, "it does not follow the one before it"))
        if sound and hosts is not None:
            found += _hosts(entry, hosts)
        expected, prev, sound_before = entry.seq + 1, entry.hash, sound
    found += _broken(broken, key, anchor)
    found += _beyond(expected - 1, anchor)
    return sorted(found, key=lambda finding: finding.seq or 0)


def _missing(first: int, last: int) -> Finding:
    which = f"entry {first} is" if first == last else f"entries {first} to {last} are"
    return Finding(kind="missing", seq=first, message=f"{which} not there any more")


def _forged(entry: Entry, why: str) -> Finding:
    return Finding(kind="forged", seq=entry.seq, message=f"entry {entry.seq} ({entry.id}): {why}")


def _broken(broken: list[Entry], key: bytes, anchor: Mapping[int, str]) -> list[Finding]:
    places = [entry.seq for entry in broken][:REORDER_LIMIT]
    sealed_at = {hash: seq for seq, hash in anchor.items()}
    return [_why_broken(entry, key, anchor, [*places, sealed_at.get(entry.hash, entry.seq)]) for entry in broken]


def _why_broken(entry: Entry, key: bytes, anchor: Mapping[int, str], places: list[int]) -> Finding:
    for place in places:
        if entry_hash(key, place, entry.id, entry.prev, entry.body) == entry.hash:
            text = f"entry {entry.seq} ({entry.id}) was sealed as {place} and has been moved"
            return Finding(kind="reordered", seq=entry.seq, message=text)
    if entry.seq in anchor and anchor[entry.seq] != entry.hash:
        return _forged(entry, "it was sealed with another hash, and the new one was made without the key")
    text = f"entry {entry.seq} ({entry.id}) is not what was sealed"
    return Finding(kind="edited", seq=entry.seq, message=text)


def _beyond(last: int, anchor: Mapping[int, str]) -> list[Finding]:
    reached = max(anchor, default=0)
    if reached <= last:
        return []
    return [Finding(kind="truncated", seq=last + 1, message=f"the anchor has seen {reached} entries; {last} are left")]


def _hosts(entry: Entry, hosts: Hosts) -> list[Finding]:
    sealed = entry.body.get("hosts_digest")
    if not sealed or hosts(entry.id) == sealed:
        return []
    text = f"entry {entry.seq} ({entry.id}): what is kept of its hosts is not what was sealed"
    return [Finding(kind="hosts-differ", seq=entry.seq, message=text)]
