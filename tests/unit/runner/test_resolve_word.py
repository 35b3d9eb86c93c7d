"""How the step that settles what is to be done tells how much that is."""

from types import SimpleNamespace
from typing import Any

import pytest

from mainstay.runner.phases import prepare


@pytest.mark.parametrize(("software", "told"), [(True, "3 to change"), (False, "3 to do")])
def test_what_changes_no_software_has_things_to_do(software: bool, told: str) -> None:
    change = SimpleNamespace(to_json=dict)
    operation: Any = SimpleNamespace(
        software=software, resolve=lambda *_: change, fingerprint=lambda _: "", changes=lambda _: 3
    )
    track: Any = SimpleNamespace(operation=operation, work=lambda _: None, forecast=None, tested=None)
    io: Any = SimpleNamespace(detail="")
    track.tools = SimpleNamespace(state=None)
    prepare._resolve(track, io)  # the step alone: a whole rollout says the same
    assert io.detail == told
