"""The public fakes of the ports: a shelf that forgets, and a fetcher that gives what it was told to."""

from __future__ import annotations

from mainstay.schedules.calendars.contract import CalendarFault, CalendarSource, Fetched, Kept


class MemoryShelf:
    def __init__(self) -> None:
        self._kept: dict[str, Kept] = {}

    def load(self, source: CalendarSource) -> Kept:
        return self._kept.get(source.key, Kept())

    def save(self, source: CalendarSource, kept: Kept) -> None:
        self._kept[source.key] = kept

    def stamp(self, source: CalendarSource) -> object:
        return self._kept.get(source.key)


class ToldFetcher:
    """answers: by place, what the next look-ups get; the last one stays. A CalendarFault is raised."""

    def __init__(self, answers: dict[str, list[bytes | CalendarFault]] | None = None) -> None:
        self.answers = answers or {}
        self.asked: list[tuple[str, str, str]] = []
        """(place, etag, last_modified) of every fetch."""

    def fetch(self, source: CalendarSource, *, etag: str = "", last_modified: str = "") -> Fetched:
        self.asked.append((source.place, etag, last_modified))
        waiting = self.answers.get(source.place, [])
        if not waiting:
            raise CalendarFault(f"nothing answers for {source.name}")
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, CalendarFault):
            raise answer
        mark = f'"{hash(answer)}"'
        if etag == mark:
            return Fetched(None, etag=mark)
        return Fetched(answer, etag=mark)
