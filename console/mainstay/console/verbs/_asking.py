"""What is settled before a run is asked for."""

from __future__ import annotations

from mainstay.inventory.amounts import seconds
from mainstay.inventory.errors import Refused, UsageError
from mainstay.runner.plan import PatchPlan


def aged(plan: PatchPlan, min_age: str | None, reason: str) -> PatchPlan:
    """The plan with another age that updates must have. Raises UsageError without a reason."""
    if min_age is None:
        return plan
    if not reason.strip():
        raise UsageError("--min-age passes over what the plan asks for; it needs --reason TEXT.")
    try:
        age = seconds(min_age)
    except ValueError as error:
        raise UsageError(f"--min-age: {error}") from error
    return plan.model_copy(update={"updates": plan.updates.model_copy(update={"min_age": age})})


def permitted(plan: PatchPlan, break_glass: str) -> None:
    """Raises Refused for a plan with a window: windows are not enforced yet, and none is ever ignored."""
    if plan.window and not break_glass.strip():
        raise Refused(
            f"Plan {plan.name} has the window {', '.join(plan.window)}, and windows are not enforced yet. Nothing was touched.",
            hint="--break-glass REASON starts it now, on your word; the reason stands in the record.",
        )
