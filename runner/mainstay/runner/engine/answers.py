"""What goes into the store in place of a result or an exception: plain JSON, the same on a replay as the first time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.redaction import redact
from mainstay.inventory.value import Json
from mainstay.runner.engine.contract import JsonValue, StepFailed, Unkept, WorkflowFailed


def plain(value: Any) -> JsonValue:
    """The value as it will come back from the store: tuples are lists, keys are strings.

    Raises TypeError or ValueError for what JSON can't say (also NaN).
    """
    return json.loads(json.dumps(value, allow_nan=False))


def answer(work: Callable[[], Any]) -> Json:
    """`{"value": …}`, or `{"error": {type, message, data}}` where work raised. What is no Exception passes, and Unkept."""
    try:
        return {"value": plain(work())}
    except Unkept:
        raise
    except Exception as error:
        return {"error": describe(error)}


def describe(error: Exception) -> Json:
    """A failure that another process can read, without secrets; `data`: of a MainstayError its kind, exit code and plain fields."""
    if isinstance(error, StepFailed):
        return {"type": error.error_type, "message": error.message, "data": error.data, "step": error.step}
    data: Json = {}
    if isinstance(error, MainstayError):
        data = {key: value for key, value in vars(error).items() if key != "message" and _is_plain(value)}
        data |= {"kind": error.kind, "exit_code": error.exit_code}
    try:
        message = str(error)
    except Exception:  # a broken __str__ must not hide that the step failed
        message = "(no text)"
    return {"type": type(error).__name__, "message": redact(message), "data": redact.deeply(data)}


def read_step(name: str, recorded: Json) -> JsonValue:
    """The step's value, or StepFailed."""
    failure = recorded.get("error")
    if failure is not None:
        raise StepFailed(name, failure["type"], failure["message"], failure["data"])
    return recorded["value"]


def read_workflow(id: str, recorded: Json) -> JsonValue:
    """The workflow's value, or WorkflowFailed."""
    failure = recorded.get("error")
    if failure is not None:
        at = f" (step {failure['step']})" if failure.get("step") else ""
        raise WorkflowFailed(
            f"{id}: {failure['type']}: {failure['message']}{at}",
            hint=failure["data"].get("hint"),
            error_type=failure["type"],
            data=failure["data"],
        )
    return recorded["value"]


def _is_plain(value: Any) -> bool:
    try:
        return bool(plain(value) == value)
    except (TypeError, ValueError):
        return False
