"""One host of a preview."""

from __future__ import annotations

from dataclasses import dataclass

from mainstay.recovery.required import Backing
from mainstay.runner.operation import Forecast


@dataclass(frozen=True, slots=True)
class Look:
    """error: why nothing can be said of it; empty where there is a forecast.
    wave: its number from 1, None where it would not be touched."""

    host: str
    forecast: Forecast | None = None
    error: str = ""
    unreachable: bool = False
    wave: int | None = None
    cohort: str = ""
    asked: bool = False
    """It answered, whatever it was."""
    backing: Backing | None = None
    """How it stands to the backup that is required now; None where none is."""
