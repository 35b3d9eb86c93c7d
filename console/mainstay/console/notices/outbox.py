"""What happened, put down for whoever is to be told: from the ledger, from the requests for approval, from runs that begin.

A mark for each channel (`notify.<channel>.seq`) says up to which record notices have been put down. The notice goes first and
the mark second, and a notice is one by its id: a crash in between, or two processes at once, put down nothing twice. The
ledger itself is the queue: a channel that is full gets no more until there is room, and loses nothing by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mainstay.console.notices import events
from mainstay.inventory.notify import Notify
from mainstay.inventory.value import Json
from mainstay.runner.ledger.contract import Entry, Ledger
from mainstay.runner.plan import Plan
from mainstay.runner.ports import Clock
from mainstay.runner.record import ASIDE, Summary
from mainstay.runner.state.contract import State
from mainstay.runner.steps import rfc3339
from mainstay.runner.verdict import Verdict
from mainstay.schedules.approvals import standing
from mainstay.schedules.store.contract import Approval, Notice, ScheduleStore

FULL = 200
"""Notices of one channel that wait at most."""
OLDEST = timedelta(days=7)
"""What is older is not told any more: a channel that was away for a while is not to say everything at once."""
STALE = timedelta(hours=24)
"""After that, a dead man's switch is not told any more how a run ended: it would take it for news."""
PINGS = "pings"
"""The mark that all switches share."""
WIDTH = 12
ALARMING = frozenset({Verdict.FAILED, Verdict.DEGRADED, Verdict.UNKNOWN})
"""How a staging ends that is told: nobody is to take one for the run that it goes ahead of."""


def mark_of(channel: str) -> str:
    return f"notify.{channel}.seq"


def ping_channel(plan: str) -> str:
    """No other channel can be called that: a name holds no `/`."""
    return f"ping/{plan}"


@dataclass(frozen=True, slots=True)
class Outbox:
    """targets: plan → the hosts that it has now. waiting: the requests for approval that somebody may still answer. asked:
    ids of the notices about them that this process has put down already, kept by whoever makes the next one."""

    store: ScheduleStore
    ledger: Ledger
    state: State
    clock: Clock
    site: str
    channels: Sequence[Notify]
    pinged: Mapping[str, Plan]
    targets: Callable[[Plan], frozenset[str]]
    waiting: Callable[[], Iterable[Approval]]
    asked: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Before anything happens that could be told: a channel that is new is told what comes, and not all that ever was."""
        head = self.ledger.head()[0]
        for name in self._marked():
            if self.store.mark(mark_of(name)) is None:
                self.store.raise_mark(mark_of(name), _padded(head))

    def _marked(self) -> list[str]:
        return [channel.label for channel in self.channels] + ([PINGS] if self.pinged else [])

    def fill(self) -> None:
        """Put down everything that happened since the last time, as far as there is room for it."""
        self.begin()
        now = self.clock.now()
        waiting = Counter(notice.channel for notice in self.store.undelivered())
        room = {channel.label: FULL - waiting[channel.label] for channel in self.channels}
        try:
            self._approvals(now, room)
        finally:  # what can't be asked about keeps no record from being told
            self._records(now, room)

    def _records(self, now: datetime, room: dict[str, int]) -> None:
        after = {name: int(self.store.mark(mark_of(name)) or 0) for name in self._marked()}
        after = {name: seq for name, seq in after.items() if room.get(name, 1) > 0}
        if not after or self.ledger.head()[0] <= min(after.values()):
            return
        for entry in self.ledger.entries(after=min(after.values())):
            for name in [name for name, seq in after.items() if entry.seq > seq]:
                notices = list(self._of(name, entry, now))
                if len(notices) > room.get(name, 1):
                    del after[name]  # from here on, the next time
                    continue
                for notice in notices:
                    self.store.put_notice(notice)
                    room[name] = room.get(name, FULL) - 1
                self.store.raise_mark(mark_of(name), _padded(entry.seq))
                after[name] = entry.seq

    def begun(self, run: str, plan: str, hosts: Iterable[str]) -> None:
        """A run has begun to work on these hosts: for the switch of its plan."""
        if plan in self.pinged and self._whole(run, self.pinged[plan], hosts):
            self._put(f"{run}:start", ping_channel(plan), events.of_start(run, plan), self.clock.now())

    def _of(self, name: str, entry: Entry, now: datetime) -> Iterator[Notice]:
        """What one record is to one channel."""
        summary = Summary.from_json(entry.body)
        age = now - datetime.fromisoformat(summary.finished_at) if summary.finished_at else timedelta()
        if name == PINGS:
            plan = self.pinged.get(summary.plan)
            if plan is not None and age <= STALE and summary.kind == plan.kind:
                row = self.state.run(summary.id)
                hosts = [host["name"] for host in row.request.get("hosts", ())] if row else []
                if self._whole(summary.id, plan, hosts):
                    yield self._notice(f"{summary.id}:end", ping_channel(summary.plan), events.of_end(summary), now)
            return
        if summary.kind in ASIDE and summary.verdict not in ALARMING:
            return
        channel = next(one for one in self.channels if one.label == name)
        if age <= OLDEST and channel.wants(str(summary.verdict), summary.plan):
            body = events.of_record(entry, self.state.each_part(summary.id), self.site)
            yield self._notice(f"record:{summary.id}", name, body, now)

    def _whole(self, run: str, plan: Plan, hosts: Iterable[str]) -> bool:
        """Whether the run stands for the plan: one of the clock does; one by hand where it takes all of the plan's hosts."""
        row = self.state.run(run)
        if row is None or row.kind != plan.kind:
            return False
        return row.request.get("trigger") == "clock" or self.targets(plan) <= set(hosts)

    def _approvals(self, now: datetime, room: dict[str, int]) -> None:
        told = [channel for channel in self.channels if "approval" in channel.on]
        if not told:
            return
        for approval in self.waiting():
            stands = standing(approval, self.store.votes(approval.run), now, need=approval.need)
            if stands.answer != "waiting":
                continue
            for channel in told:
                if not channel.wants("approval", approval.plan) or room[channel.label] <= 0:
                    continue
                for suffix in _due(approval, channel.remind, now):
                    id = f"approval:{approval.run}:{approval.hash[:16]}:{suffix}"
                    if (told_already := f"{channel.label}:{id}") in self.asked:
                        continue
                    body = events.of_approval(approval, stands, self.site, reminder=suffix != "asked")
                    self._put(id, channel.label, body, now)
                    self.asked.add(told_already)

    def _put(self, id: str, channel: str, body: Json, now: datetime) -> None:
        self.store.put_notice(self._notice(id, channel, body, now))

    def _notice(self, id: str, channel: str, body: Json, now: datetime) -> Notice:
        stamp = rfc3339(now)
        event = str(body["event"])
        return Notice(id=f"{channel}:{id}", channel=channel, event=event, body=body, made_at=stamp, next_try_at=stamp)


def _due(approval: Approval, remind: Sequence[float], now: datetime) -> list[str]:
    """That it was asked, and the last of its reminders whose time has come."""
    opens = datetime.fromisoformat(approval.preview.get("starts_at") or approval.expires_at)
    asked = datetime.fromisoformat(approval.asked_at)
    passed = [before for before in remind if asked < opens - timedelta(seconds=before) <= now]
    return ["asked", *([f"{min(passed):g}"] if passed else [])]


def _padded(seq: int) -> str:
    """Marks are compared as texts."""
    return f"{seq:0{WIDTH}}"
