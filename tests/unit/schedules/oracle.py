"""An independent way from local time to instants: the offsets of a zone are read off, hour by hour, and looked through."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)
NASTY = (
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Beirut",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Gaza",
    "America/Nuuk",
    "Antarctica/Troll",
    "Africa/Casablanca",
    "UTC",
)


class Offsets:
    """Of one zone between two years: (from when, offset), in order."""

    def __init__(self, name: str, first: int, last: int) -> None:
        zone = ZoneInfo(name)

        def offset(moment: datetime) -> timedelta:
            found = moment.astimezone(zone).utcoffset()
            assert found is not None
            return found

        at, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last, 1, 1, tzinfo=UTC)
        self.spans = [(at, offset(at))]
        while at < end:
            following = at + HOUR
            if offset(following) != self.spans[-1][1]:
                changed = at
                while offset(changed) == self.spans[-1][1]:
                    changed += 60 * SECOND
                while offset(changed - SECOND) != self.spans[-1][1]:
                    changed -= SECOND
                self.spans.append((changed, offset(changed)))
            at = following
        self._ends = [begin for begin, _ in self.spans[1:]] + [datetime.max.replace(tzinfo=UTC)]
        self._walls = [begin.replace(tzinfo=None) for begin, _ in self.spans]

    @property
    def changes(self) -> list[datetime]:
        return [begin for begin, _ in self.spans[1:]]

    def first_at_or_past(self, local: datetime) -> datetime:
        """The first instant at which the clock on the wall shows `local`, or the moment at which it went over it."""
        near = bisect_right(self._walls, local)
        shown = local.replace(tzinfo=UTC)
        for (begin, offset), end in list(zip(self.spans, self._ends, strict=True))[max(0, near - 3) : near + 3]:
            if begin <= shown - offset < end or (shown - offset < begin and begin is not self.spans[0][0]):
                return max(begin, shown - offset)
        raise AssertionError(f"{local} is not in these years")


@lru_cache(maxsize=16)
def offsets(name: str, first: int, last: int) -> Offsets:
    return Offsets(name, first, last)
