"""Bringing data back: which point holds it, where it goes, what would be overwritten, and whether it came as it was."""

from __future__ import annotations

from typing import Any

from mainstay.inventory.value import Json
from mainstay.recovery.depot import Depot
from mainstay.recovery.restore.databases import DatabaseOperation
from mainstay.recovery.restore.errand import RestoreErrand
from mainstay.recovery.restore.operation import RestoreOperation
from mainstay.recovery.restore.order import CONTROLLER, RestoreOrder


def restoring(data: Json, depot: Depot) -> Any:
    """From a RestoreOrder, as a request holds it: the errand of one that stays on the controller, else the operation."""
    order = RestoreOrder.from_json(data)
    if order.on == CONTROLLER:
        return RestoreErrand(order, depot)
    return DatabaseOperation(order, depot) if order.into else RestoreOperation(order, depot)
