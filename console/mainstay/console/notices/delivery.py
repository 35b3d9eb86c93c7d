"""Bringing notices to where they belong: each at least once, one process at a time, with longer and longer pauses while a
channel does not take them.

At least once and not exactly once: a process that dies between the delivery and the note of it leaves one that is delivered
again. Two processes that are alive don't do the same, for as long as one holds the lease.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from logging import WARNING

from mainstay.console.notices.contract import Channel, Undelivered
from mainstay.inventory.redaction import redact
from mainstay.inventory.value import Json
from mainstay.runner.log.events import tell
from mainstay.runner.ports import Clock
from mainstay.runner.steps import rfc3339
from mainstay.schedules.store.contract import Notice, ScheduleStore

LEASE = "notices"
MARGIN = timedelta(seconds=60)
"""That the duty is held beyond what one try takes."""
AGAIN, LONGEST = 60.0, 6 * 3600.0
"""Seconds until a notice is tried again; twice as long each time, up to the longest."""
PAUSE, LONGEST_PAUSE = 30.0, 900.0
"""Seconds for which a channel is left alone after it failed, all its notices together; twice as long each time."""
KEPT = timedelta(days=7)
"""For which a notice is tried. What is given up then stays an alarm until the channel takes another one."""


def fault_of(channel: str) -> str:
    return f"notify.{channel}.fault"


@dataclass(frozen=True, slots=True)
class Fault:
    """How a channel stands that failed. failures: in a row; lost: notices that were given up; until: when it is tried next."""

    failures: int = 0
    until: str = ""
    error: str = ""
    lost: int = 0


def fault(store: ScheduleStore, channel: str) -> Fault | None:
    """None where its last delivery went well, or there never was one."""
    text = store.mark(fault_of(channel))
    return Fault(**json.loads(text)) if text else None


@dataclass(frozen=True, slots=True)
class Delivery:
    """holder: this process, among all that may do the same. ending: whether it is to stop between two notices. unwanted: why
    a notice is not worth delivering any more; empty where it is."""

    store: ScheduleStore
    clock: Clock
    holder: str
    ending: Callable[[], bool] = lambda: False
    unwanted: Callable[[Notice], str] = lambda notice: ""

    def round(self, channels: Sequence[Channel]) -> bool:
        """Try what is due. False: another process has this duty now."""
        if not any(self._due(channel) for channel in channels):
            return True
        try:
            for channel in channels:
                if not self._mine(channel):
                    return False
                # Read once the duty is ours: until then another one may have delivered it.
                for notice in self._due(channel):
                    if self.ending():
                        return True
                    if not self._mine(channel):
                        return False
                    if not self._try(channel, notice):
                        break
            self._forget({channel.name for channel in channels})
            return True
        finally:
            self._give_back()

    def _forget(self, known: Collection[str]) -> None:
        """What was meant for channels that the site has no more."""
        long_ago = rfc3339(self.clock.now() - KEPT)
        for notice in self.store.undelivered():
            if notice.channel not in known and notice.made_at < long_ago:
                self.store.note_try(notice.id, at=rfc3339(self.clock.now()))

    def _due(self, channel: Channel) -> list[Notice]:
        now = rfc3339(self.clock.now())
        stands = fault(self.store, channel.name)
        if stands is not None and stands.until > now:
            return []
        due = [notice for notice in self.store.due_notices(now) if notice.channel == channel.name]
        return sorted(due, key=_order)

    def _mine(self, channel: Channel) -> bool:
        now = self.clock.now()
        until = now + timedelta(seconds=channel.seconds) + MARGIN
        return self.store.lease(LEASE, self.holder, now=rfc3339(now), until=rfc3339(until))

    def _give_back(self) -> None:
        """Only what is ours: to hold it until now is to hold it no longer."""
        now = rfc3339(self.clock.now())
        self.store.lease(LEASE, self.holder, now="", until=now)

    def _try(self, channel: Channel, notice: Notice) -> bool:
        """Whether the channel may be given the next one."""
        now = self.clock.now()
        why = self.unwanted(notice) or self._overtaken(channel, notice)
        if why:
            self.store.note_try(notice.id, at=rfc3339(now))
            return True
        try:
            channel.carry(notice)
        except Exception as error:  # whatever it is: it is tried again, and nobody else has to wait for it
            foreseen = isinstance(error, Undelivered)
            text = redact(error.message if isinstance(error, Undelivered) else f"{type(error).__name__}: {error}")
            tell(
                WARNING, "notice not delivered", channel=channel.name, notice=notice.id, reason=text, foreseen=foreseen
            )
            self._failed(channel, notice, text)
            return False
        self.store.note_try(notice.id, at=rfc3339(self.clock.now()))
        if self.store.mark(fault_of(channel.name)):
            self.store.set_mark(fault_of(channel.name), "")
        return True

    def _overtaken(self, channel: Channel, notice: Notice) -> str:
        if not channel.newest_only:
            return ""
        later = [
            one for one in self.store.undelivered() if one.channel == channel.name and _order(one) > _order(notice)
        ]
        return "a later one says more" if later else ""

    def _failed(self, channel: Channel, notice: Notice, error: str) -> None:
        now = self.clock.now()
        before = fault(self.store, channel.name) or Fault()
        given_up = now - datetime.fromisoformat(notice.made_at) > KEPT
        if given_up:
            self.store.note_try(notice.id, at=rfc3339(now))
        else:
            next_try = now + timedelta(seconds=_backed_off(AGAIN, notice.tries, LONGEST))
            self.store.note_try(notice.id, at=rfc3339(now), error=error, next_try_at=rfc3339(next_try))
        until = now + timedelta(seconds=_backed_off(PAUSE, before.failures, LONGEST_PAUSE))
        after: Json = {
            "failures": before.failures + 1,
            "until": rfc3339(until),
            "error": error,
            "lost": before.lost + given_up,
        }
        self.store.set_mark(fault_of(channel.name), json.dumps(after))


def _order(notice: Notice) -> tuple[str, bool, str]:
    """A run's start and its end may be put down in the same moment."""
    return notice.made_at, notice.event != "start", notice.id


def _backed_off(first: float, times: int, longest: float) -> float:
    return min(longest, first * float(2 ** min(times, 20)))


@dataclass(frozen=True, slots=True)
class Alarm:
    """A channel that somebody has to look at. since: RFC 3339 UTC, of the oldest notice that waits."""

    channel: str
    waiting: int
    since: str
    error: str
    lost: int = 0


TRIES = 3
LATE = timedelta(hours=1)


def alarms(store: ScheduleStore, channels: Sequence[str], now: datetime) -> Iterator[Alarm]:
    """Channels of the site with a notice that was tried in vain a few times, or that nobody brought for an hour, or with one
    that was given up."""
    waiting: dict[str, list[Notice]] = {name: [] for name in channels}
    for notice in store.undelivered():
        waiting.get(notice.channel, []).append(notice)
    for name, notices in waiting.items():
        stands = fault(store, name) or Fault()
        oldest = min((notice.made_at for notice in notices), default="")
        late = bool(oldest) and now - datetime.fromisoformat(oldest) > LATE
        if late or stands.lost or any(notice.tries >= TRIES for notice in notices):
            error = stands.error or next((notice.error for notice in notices if notice.error), "")
            yield Alarm(name, len(notices), oldest, error, stands.lost)
