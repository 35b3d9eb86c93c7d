"""An opening of a window: from when until when work may start, as instants."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Opening:
    """Aware, UTC; starts_at inclusive, ends_at exclusive. cutoff_at: from then on nothing new starts."""

    window: str
    starts_at: datetime
    ends_at: datetime
    cutoff_at: datetime
    zone: str
    remark: str = ""
    """What a change of the clocks does to it, for people; empty in most nights."""

    def contains(self, moment: datetime) -> bool:
        return self.starts_at <= moment < self.ends_at

    def may_start(self, moment: datetime) -> bool:
        return self.starts_at <= moment < self.cutoff_at

    def remaining(self, moment: datetime) -> float:
        """Seconds until it ends; 0 outside of it."""
        return (self.ends_at - moment).total_seconds() if self.contains(moment) else 0.0
