"""A dump is proved whole or not at all: what speaks against it, and what only keeps it from being tried."""

from __future__ import annotations

import pytest
from tests.unit.recovery.points import before
from tests.unit.recovery.tending.desk import World, plan

from mainstay.recovery.proving.attempt import NotProved, Untried
from mainstay.recovery.proving.drawing import Drawn, draw_dump


def drawn(files: dict[str, bytes], max_bytes: int = 10) -> Drawn:
    world = World()
    id = world.repository().back_up(files, host="web1", tags=["mainstay"], at=before())
    restic = world.memory.open(world.depot.access(plan().repositories["main"], "web1", "maintain"))
    return draw_dump(restic, id, max_bytes)


def test_one_that_is_greater_than_what_may_be_restored_is_left_out_by_name() -> None:
    assert drawn({"/app.dump": b"x" * 10}).bytes == 10
    with pytest.raises(Untried, match=r"for max_bytes: /app\.dump has 11 B, 10 B are left"):
        drawn({"/app.dump": b"x" * 11})


def test_one_that_is_empty_or_not_alone_is_not_proved() -> None:
    with pytest.raises(NotProved, match="the dump is empty"):
        drawn({"/app.dump": b""})
    with pytest.raises(NotProved, match="2 files instead of one dump"):
        drawn({"/app.dump": b"x", "/other": b"x"})
