"""A repository's id is asked for once where several want to know it within moments, and no answer serves for two runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from mainstay.recovery.identities import RECENT, Identities

AT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
PLACE = ("offsite", "web1")


class Asked:
    """What is asked for, and how often."""

    def __init__(self, *answers: str | Exception | None) -> None:
        self.left = list(answers)
        self.times = 0

    def __call__(self) -> str | None:
        self.times += 1
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_an_answer_serves_until_the_last_has_heard_it() -> None:
    ids, asked = Identities(), Asked("a" * 64, "b" * 64)
    assert ids.answer(PLACE, AT, asked, last=False) == "a" * 64
    assert ids.answer(PLACE, AT + RECENT, asked, last=True) == "a" * 64
    assert ids.answer(PLACE, AT + RECENT, asked, last=True) == "b" * 64
    assert asked.times == 2


@pytest.mark.parametrize("later", [RECENT + timedelta(seconds=1), -timedelta(seconds=1)])
def test_an_old_answer_does_not_and_none_where_the_clock_was_set_back(later: timedelta) -> None:
    ids, asked = Identities(), Asked("a" * 64, "b" * 64)
    ids.answer(PLACE, AT, asked, last=False)
    assert ids.answer(PLACE, AT + later, asked, last=False) == "b" * 64


def test_that_of_another_host_does_not() -> None:
    ids, asked = Identities(), Asked("a" * 64, "b" * 64)
    ids.answer(PLACE, AT, asked, last=False)
    assert ids.answer(("offsite", "web2"), AT, asked, last=False) == "b" * 64


def test_an_error_and_that_there_is_none_are_not_kept() -> None:
    ids, asked = Identities(), Asked(ValueError("away"), None, "a" * 64)
    with pytest.raises(ValueError, match="away"):
        ids.answer(PLACE, AT, asked, last=False)
    assert ids.answer(PLACE, AT, asked, last=False) is None
    assert ids.answer(PLACE, AT, asked, last=False) == "a" * 64


def test_what_is_being_asked_for_is_waited_for() -> None:
    ids, may, beside = Identities(), threading.Event(), Asked("b" * 64)

    def ask() -> str | None:
        assert may.wait(60)
        return "a" * 64

    ids.begin(PLACE, AT, ask)
    ids.begin(PLACE, AT, _never)
    threading.Timer(0, may.set).start()
    assert ids.answer(PLACE, AT, beside, last=False) == "a" * 64
    assert beside.times == 0


def test_what_went_wrong_beside_is_raised_where_it_is_waited_for() -> None:
    ids, asked = Identities(), Asked(ValueError("away"))
    begun: Callable[[], str | None] = asked
    ids.begin(PLACE, AT, begun)
    # Either it is still being asked, or it is known to be in vain, and asked again.
    asked.left.append(ValueError("away"))
    with pytest.raises(ValueError, match="away"):
        ids.answer(PLACE, AT, asked, last=True)


def _never() -> str | None:
    raise AssertionError("it is being asked already")
