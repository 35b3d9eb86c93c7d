"""What freezes and calendars do to an occurrence that is still to come, as they stand now. For whoever looks ahead; what
may really start is asked of the gate, when the moment is there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from mainstay.inventory.host import Host
from mainstay.schedules.check import LoadedSite
from mainstay.schedules.freezes import Freeze, Freezes
from mainstay.schedules.openings import Opening
from mainstay.schedules.outlook import Line, Standing


class Frost:
    """By the same rules as the gate's. now: what has begun is looked at from there on."""

    def __init__(self, loaded: LoadedSite, freezes: Freezes, now: datetime) -> None:
        self._freezes = freezes
        self._now = now
        self._by_name = {host.name: host for host in loaded.site.hosts}
        self._partial = [spec.targets for spec in loaded.freezes.freezes if spec.targets is not None]
        self._kinds: dict[str, list[tuple[Host | None, int]]] = {}

    def judge(self, line: Line, opening: Opening, run: str) -> Standing | None:
        return self.held(line, opening)

    def held(self, line: Line, opening: Opening) -> Standing | None:
        """Frozen where no host of it could start when it opens, or now where it is open; or not on a day of its calendar."""
        if why := self._freezes.usable(line.plan.name, self._now):
            return Standing("frozen", why)
        if why := self._freezes.allows(line.plan, opening.starts_at):
            return Standing("not-in-calendar", why)
        found = [self._through(line, host, opening) for host, _ in self._hosts(line)]
        if found and all(found):
            return Standing("frozen", _told(found[0]) if found[0] else "")
        return None

    def notes(self, line: Line, opening: Opening) -> tuple[str, ...]:
        """Freezes of some of its hosts alone, and those that end or begin while it is open."""
        moment, zone = self._moment(opening), ZoneInfo(opening.zone)
        notes: list[str] = []
        for host, count in self._hosts(line):
            if host is not None and (freeze := self._through(line, host, opening)):
                notes.append(f"{count} of {len(line.hosts)} hosts frozen: {_told(freeze)}")
        for freeze in self._freezes.over(line.plan.name, None, moment, opening.cutoff_at):
            begins, ends = freeze.starts_at.astimezone(zone), freeze.ends_at.astimezone(zone)
            if freeze.starts_at > moment:
                notes.append(f"frozen from {begins:%H:%M} on: {_told(freeze)}")
            elif freeze.ends_at < opening.cutoff_at:
                notes.append(f"frozen until {ends:%H:%M}: {_told(freeze)}")
        return tuple(notes)

    def _moment(self, opening: Opening) -> datetime:
        return max(opening.starts_at, self._now) if opening.ends_at > self._now else opening.starts_at

    def _through(self, line: Line, host: Host | None, opening: Opening) -> Freeze | None:
        """What keeps the host from starting until the cutoff; the end of a freeze that is over before is waited for."""
        moment, last = self._moment(opening), None
        while moment < opening.cutoff_at:
            last = self._freezes.at(line.plan.name, host, moment)
            if last is None:
                return None
            moment = last.ends_at
        return last

    def _hosts(self, line: Line) -> Sequence[tuple[Host | None, int]]:
        """One host for all that the same freezes concern, and how many they are: a freeze of some hosts is asked as often as
        there are kinds of hosts, not hosts. None where all are alike."""
        if not self._partial:
            return [(None, len(line.hosts))]
        if line.id not in self._kinds:
            counts: dict[tuple[bool, ...], int] = {}
            first: dict[tuple[bool, ...], Host] = {}
            for name in line.hosts:
                host = self._by_name[name]
                kind = tuple(targets.matches(host) for targets in self._partial)
                counts[kind] = counts.get(kind, 0) + 1
                first.setdefault(kind, host)
            self._kinds[line.id] = [(first[kind], count) for kind, count in counts.items()]
        return self._kinds[line.id]


def _told(freeze: Freeze) -> str:
    """`year-end close (schedules/web.yml:3)`"""
    return f"{freeze.name} ({freeze.source})"
