"""Tests of one group run on one worker: where the tools can't do that any more, it is said before anything runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.conftest import groups_work


def collected(nodeid: str, *groups: str) -> Any:
    marks = [pytest.mark.xdist_group(name).mark for name in groups]
    return SimpleNamespace(nodeid=nodeid, iter_markers=lambda name: iter(marks))


@pytest.mark.parametrize("nodeid", ["test_a.py::test_b", "test_a.py::test_b[x@y]", "test_a.py::test_b@other"])
def test_a_test_that_would_run_apart_from_its_group_is_an_error(nodeid: str) -> None:
    with pytest.raises(RuntimeError, match="groups of tests don't work"):
        groups_work([collected(nodeid, "one-host")])


def test_a_group_that_works_and_no_group_are_well() -> None:
    groups_work([collected("test_a.py::test_b[x@y]@one-host", "one-host"), collected("test_a.py::test_b[x@y]")])
    groups_work([collected("test_a.py::test_b@a_b", "b", "a")])
