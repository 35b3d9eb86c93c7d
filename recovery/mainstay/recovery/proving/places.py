"""Where a drill is done: on the controller or on a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mainstay.inventory.value import Json
from mainstay.recovery.depot import Depot
from mainstay.recovery.proving.drill import SCRATCH, DrillErrand
from mainstay.recovery.proving.far.operation import DrillOperation
from mainstay.recovery.proving.order import CONTROLLER, DrillOrder


def drilling(data: Json, depot: Depot, state: Path) -> Any:
    """From a DrillOrder, as a request holds it: the errand of one on the controller, else the operation. state: its folder."""
    order = DrillOrder.from_json(data)
    return DrillErrand(order, depot, state / SCRATCH) if order.on == CONTROLLER else DrillOperation(order, depot)
