"""A point is named by the beginning of its id: where several begin so, none of them is meant."""

from __future__ import annotations

import pytest
from tests.unit.recovery.points import before, point

from mainstay.inventory.errors import UsageError
from mainstay.recovery.restore.choosing import Wanted, candidates


def test_the_beginning_of_an_id_that_several_points_have_names_none() -> None:
    old, new = (point(before(days=day), id=f"abc{word * 61}") for day, word in ((2, "1"), (1, "2")))
    with pytest.raises(UsageError, match="2 points of web1 begin with abc") as refusal:
        candidates([old, new], Wanted("web1", point="abc"))
    assert f"{old.id[:12]} (" in str(refusal.value.hint) and f"{new.id[:12]} (" in str(refusal.value.hint)
    assert candidates([old, new], Wanted("web1", point="abc1")) == [old]
