"""Who has looked at what was not well, and why it is settled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import tzinfo

from mainstay.console.render import times
from mainstay.console.render.spans import Line, line
from mainstay.console.render.table import wrap
from mainstay.inventory.value import Json
from mainstay.recovery.points.contract import Ack


def section(acks: Sequence[Ack], zone: tzinfo, columns: int) -> list[Line]:
    """Of one record, oldest first; nothing where nobody has."""
    if not acks:
        return []
    said = [f"{_whom(one)}by {one.by}, {times.local(one.at, zone)}: {one.reason}" for one in acks]
    return [line(), line("acknowledged"), *(row for text in said for row in wrap(text, columns=columns))]


def briefly(acks: Sequence[Ack]) -> str:
    """`acknowledged by anna@ops1: the disk was full`, of the last."""
    last = acks[-1]
    return f"acknowledged {_whom(last)}by {last.by}: {last.reason}"


def marked(acks: Sequence[Ack]) -> str:
    """`acknowledged by anna@ops1`, of the last; why stands in the record."""
    return f"acknowledged by {acks[-1].by}"


def _whom(one: Ack) -> str:
    parts = " ".join(part for part in (one.host, one.source) if part)
    return f"for {parts} " if parts else ""


def to_json(acks: Sequence[Ack]) -> list[Json]:
    """`[{item, host, source, by, at, reason}]`; host and source are null where it is for all of them."""
    return [{**asdict(one), "host": one.host or None, "source": one.source or None} for one in acks]
