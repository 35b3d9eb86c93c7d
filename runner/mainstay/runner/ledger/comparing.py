"""The ledger against what other machines have seen of it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mainstay.inventory.errors import UsageError
from mainstay.runner.ledger.anchors import AnchorUnusable, RemoteAnchor
from mainstay.runner.ledger.contract import Finding, LedgerBehind

ANSWER_WITHIN = 60.0
"""Seconds that all anchors together may take to say how far they have come."""


@dataclass(frozen=True, slots=True)
class Compared:
    """What one anchor says of the ledger. reached: the highest seq that it has seen; error: why it says nothing."""

    name: str
    reached: int = 0
    error: str = ""
    hint: str | None = None
    findings: tuple[Finding, ...] = ()


def compare(anchor: RemoteAnchor, index: Mapping[int, str], delivered: int) -> Compared:
    """index: the ledger's hashes by seq. delivered: how far the anchor is known to have come.

    Each entry's hash covers the one before it, so that one seal stands for all that lies before it, where the chain itself
    is sound; only where it differs are the others read, to say from where on.
    """
    try:
        last, head = anchor.last(near=max(delivered, max(index, default=0))), max(index, default=0)
        reached = last.seq if last else 0
        found = []
        if reached < delivered:
            text = f"anchor {anchor.name} was given {delivered} seals, and shows {reached or 'none'}"
            found.append(Finding(kind="anchor-missing", message=text))
        if reached > head:
            text = f"anchor {anchor.name} has seen {reached} entries; {head} are left"
            found.append(Finding(kind="truncated", seq=head + 1, message=text))
        if last is not None and (reached > head or index.get(reached, last.hash) != last.hash):
            found += _differing(anchor, index)
    except AnchorUnusable as error:
        return Compared(anchor.name, error=error.message, hint=error.hint)
    return Compared(anchor.name, reached, findings=tuple(found))


def _differing(anchor: RemoteAnchor, index: Mapping[int, str]) -> list[Finding]:
    differ = sorted(seal.seq for seal in anchor.seals() if index.get(seal.seq, seal.hash) != seal.hash)
    if not differ:
        return []
    text = f"entry {differ[0]}: anchor {anchor.name} has seen another one in its place"
    more = f", and so for {len(differ) - 1} more" if len(differ) > 1 else ""
    return [Finding(kind="forged", seq=differ[0], message=text + more)]


def compare_all(
    anchors: Sequence[RemoteAnchor],
    index: Mapping[int, str],
    delivered: Mapping[str, int],
    *,
    within: float = ANSWER_WITHIN,
) -> list[Compared]:
    """All at once. One that does not answer within so many seconds is an error of its own."""
    answers: dict[str, Compared] = {}

    def ask(anchor: RemoteAnchor) -> None:
        answers[anchor.name] = compare(anchor, index, delivered.get(anchor.name, 0))

    threads = [threading.Thread(target=ask, args=(anchor,), daemon=True) for anchor in anchors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(within)
    late = f"did not answer within {within:g} s"
    return [answers.get(one.name) or Compared(one.name, error=f"anchor {one.name} {late}") for one in anchors]


def refuse_a_new_beginning(anchors: Sequence[RemoteAnchor]) -> None:
    """Asked where the ledger is empty. Raises LedgerBehind where an anchor has seen records, or can't say."""
    for said in compare_all(anchors, {}, {}):
        if said.reached:
            raise LedgerBehind(
                f"the ledger is empty, and its anchor {said.name} has seen {said.reached} records",
                hint="Bring the state back with `mainstay state restore`. A new state needs an anchor of its own.",
            )
        if said.error:
            raise LedgerBehind(
                f"the ledger is empty, and nobody can say whether it always was: {said.error}",
                hint=said.hint or "Its anchor has to answer once before the first run.",
            )


def refuse_another_ledger(anchors: Sequence[RemoteAnchor], index: Mapping[int, str]) -> list[Compared]:
    """Asked before a backup takes the place of a state. Raises UsageError where an anchor has seen more records than the
    backup holds, or others. Returns what each said; one that could not be asked says why."""
    answers = compare_all(anchors, index, {})
    for said in answers:
        if said.reached > max(index, default=0):
            raise UsageError(
                f"anchor {said.name} has seen {said.reached} records; the backup holds {max(index, default=0)}",
                hint="Restore a newer backup, or name another anchor to say that the records between are lost.",
            )
        if said.findings:
            seq = said.findings[0].seq
            raise UsageError(
                f"anchor {said.name} has seen another record {seq} than the backup holds",
                hint="It is a backup of another state, or somebody has changed it.",
            )
    return answers
