"""What a run does is found by its kind, also where that is imported late."""

from __future__ import annotations

from typing import Any, cast

from mainstay.console.operating import OF_POINTS, of_points


def test_all_kinds_at_repositories_are_known_before_they_are_imported() -> None:
    assert set(of_points(cast(Any, None))) == set(OF_POINTS)
