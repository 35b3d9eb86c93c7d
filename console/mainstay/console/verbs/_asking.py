"""What is settled before a run is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainstay.inventory.amounts import seconds
from mainstay.inventory.errors import Refused, UsageError
from mainstay.inventory.validation import did_you_mean, one_of
from mainstay.runner.plan import PatchPlan, Plan

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application
    from mainstay.runner.ports import Permission
    from mainstay.runner.request import RunRequest


def aged(plan: Plan, min_age: str | None, reason: str) -> Plan:
    """The plan with another age that updates must have. Raises UsageError without a reason."""
    if min_age is None:
        return plan
    if not isinstance(plan, PatchPlan):
        raise UsageError(f"--min-age is for plans that patch; {plan.name} is of the kind {plan.kind}.")
    if not reason.strip():
        raise UsageError("--min-age passes over what the plan asks for; it needs --reason TEXT.")
    try:
        age = seconds(min_age)
    except ValueError as error:
        raise UsageError(f"--min-age: {error}") from error
    return plan.model_copy(update={"updates": plan.updates.model_copy(update={"min_age": age})})


def skipped(gate: str | None, reason: str) -> dict[str, str]:
    """The gate that is passed over → why. Raises UsageError for one that there is not, and without a reason."""
    from mainstay.schedules.gate import GATES

    if gate is None:
        return {}
    if gate not in GATES:
        raise UsageError(f'--skip-gate: there is no gate "{gate}".', hint=did_you_mean(gate, GATES) or one_of(GATES))
    if not reason.strip():
        raise UsageError(f"--skip-gate {gate} passes over what the site asks for; it needs --reason TEXT.")
    return {gate: reason.strip()}


def permitted(app: Application, request: RunRequest) -> Permission:
    """How the gate stands to a run that is about to be asked for. Raises Refused where it is closed: nothing was touched,
    and nothing is put down for it."""
    permission = app.tools.gate(request).permit(request.id, None, "run", None)
    if permission.answer == "refuse":
        message = f"Plan {request.plan} does not start now: {permission.reason}. Nothing was touched."
        raise Refused(message, hint=_HINTS.get(permission.gate))
    return permission


_REASONED = "--break-glass REASON starts it now, on your word; the reason stands in the record."
_HINTS = {
    "window": f"--at-next-window lets it wait for the next opening; {_REASONED}",
    "freeze": f"--skip-gate freeze --reason TEXT passes the freezes; {_REASONED}",
    "calendar": f"--skip-gate calendar --reason TEXT passes the calendars; {_REASONED}",
    "approval": _REASONED,
}
