from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.schedules.clock_world import NIGHT, PLAN, ClockWorld


@pytest.fixture
def world(tmp_path: Path) -> ClockWorld:
    return ClockWorld(tmp_path, "2026-11-22T01:00:00Z", {"night": NIGHT}, {"patch": PLAN})
