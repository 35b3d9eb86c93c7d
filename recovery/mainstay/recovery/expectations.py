"""What is expected of the backup of one source, as written under `expect:`, and which restic is new enough to be believed."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from mainstay.inventory.amounts import Duration, Size
from mainstay.inventory.names import shown
from mainstay.inventory.value import Value

LEAST_RESTIC = (0, 17, 1)
"""Older ones end with 1 for everything that goes wrong; the exit status 12 (wrong password) is the youngest that is needed."""


def percent(value: Any) -> float | None:
    """`90%` → 90.0; `none` → None. Raises ValueError, also for 0 %, more than 100 %, and a number without its sign."""
    if value is None or value == "none":
        return None
    # What mainstay itself wrote down (mode: json) is a float already.
    number = value if isinstance(value, float) else None
    if number is None and (found := re.fullmatch(r"\s*(\d{1,3}(?:\.\d{1,6})?)\s*%\s*", str(value), re.ASCII)):
        number = float(found[1])
    if number is None or not 0 < number <= 100:
        raise ValueError(f"{shown(value)} is no share; write for example 90%, or none")
    return number


Percent = Annotated[float | None, BeforeValidator(percent), WithJsonSchema({"type": ["string", "null"]})]
"""More than 0 and at most 100, read from a text with its sign; None: not looked at."""


class Expectations(Value):
    """Of one source. Sizes are those of the data that was read, not of what was new to the repository."""

    min_size: Size | None = None
    """Bytes."""
    min_files: int | None = Field(default=None, ge=1)
    too_small: Literal["failed", "degraded"] = "failed"
    """What a source with less than min_size or min_files is."""
    max_time: Duration | None = Field(default=None, gt=0)
    """Seconds; one that took longer is degraded."""
    may_be_empty: bool = False
    """No file, or no byte, is as good as any other amount."""
    drop: Percent = 90.0
    """An anomaly: so much less than the median of the good points before it, in bytes or in files."""
    changed: Percent = 95.0
    """An anomaly: more than that of all files are new or have changed, where usually fewer than `usually` do."""
    usually: Annotated[float, BeforeValidator(percent), WithJsonSchema({"type": "string"})] = 20.0
    history: int = Field(default=7, ge=1, le=100)
    """How many good points it is compared with."""

    @model_validator(mode="after")
    def _possible(self) -> Expectations:
        if self.may_be_empty and (self.min_size or self.min_files):
            raise ValueError("may_be_empty can't be kept together with min_size or min_files")
        if self.changed is not None and self.usually >= self.changed:
            raise ValueError("usually has to be less than changed")
        return self


def too_old(version: str) -> str | None:
    """Why this restic is not taken (`0.14.0`, `0.19.1-dev`), naming it; None where it is new enough.

    A version that can't be read is not believed either.
    """
    found = re.match(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", version, re.ASCII)
    least = ".".join(map(str, LEAST_RESTIC))
    if not found:
        return f"restic says that it is {shown(version, 30)}, which is no version; {least} or newer is needed"
    if tuple(int(part or 0) for part in found.groups()) < LEAST_RESTIC:
        return f"restic {found[0]} is too old: its exit status can't be believed; {least} or newer is needed"
    return None
