"""Who is told what, on one site: channels and dead man's switches as mainstay.yml and the plans say them, put together with
what they are told from. Any process that executes runs delivers; `mainstay serve` goes on trying."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from logging import WARNING
from typing import TYPE_CHECKING

from ulid import ULID

from mainstay.console.notices.contract import Channel, Undelivered
from mainstay.console.notices.delivery import Alarm, Delivery, alarms
from mainstay.console.notices.outbox import Outbox, ping_channel
from mainstay.inventory.errors import MainstayError
from mainstay.inventory.notify import Notify
from mainstay.inventory.value import canonical
from mainstay.runner.log.events import tell
from mainstay.runner.plan import Plan
from mainstay.runner.ports import Quiet
from mainstay.runner.record import MaintenanceRecord
from mainstay.schedules import approvals
from mainstay.schedules.store.contract import Approval, Notice

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application

AGAIN = 60.0
"""Seconds between two tries of a process that has something left to deliver."""
ROUND = 600.0
"""Seconds after which a round begins nothing more: what is left is the next one's."""
PARTING = 40.0
"""Seconds that the end of a process waits for what is on its way."""
LAST = 10.0
"""Seconds for breaking off what is on its way even then."""


class Notices:
    """Safe to use from several threads. Reads the site anew each time: `serve` may have taken an edited one."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{ULID()}"
        self._alone = threading.Lock()
        self._begun: deque[tuple[str, str, tuple[str, ...]]] = deque(maxlen=1000)
        self._asked: set[str] = set()
        self._courier = _Courier(self)
        self._looked = -AGAIN
        self.over = False
        """Nothing more is to be delivered by this process."""

    @property
    def wanted(self) -> bool:
        return bool(self._app.site.notify) or bool(self._pinged)

    @property
    def _pinged(self) -> Mapping[str, Plan]:
        return {name: plan for name, plan in self._app.plans.items() if plan.ping is not None}

    def begin(self) -> None:
        """Before this process does anything that could be told. What an earlier one could not deliver is tried."""
        if self.wanted:
            self._outbox().begin()
            if self.left():
                self.wake()

    def round(self) -> None:
        """Put down what happened, and deliver what is due. What goes wrong is raised only after all was tried."""
        if not self.wanted or not self._alone.acquire(blocking=False):
            return  # a thread of this process is at it
        self._looked = time.monotonic()
        try:
            fault: MainstayError | None = None
            try:
                outbox = self._outbox()
                while self._begun:
                    outbox.begun(*self._begun.popleft())
                outbox.fill()
            except MainstayError as error:
                fault = error
            self._delivery().round(self._channels())
            if fault is not None:
                raise fault
        finally:
            self._alone.release()

    def left(self) -> bool:
        return self.wanted and bool(self._app.schedule_store.undelivered())

    def alarms(self) -> list[Alarm]:
        """What somebody should look at. Tells nobody, and delivers nothing."""
        if not self.wanted:
            return []
        names = [channel.name for channel in self._channels()]
        return list(alarms(self._app.schedule_store, names, self._app.clock.now()))

    @property
    def listener(self) -> Listening:
        return Listening(self)

    def started(self, run: str, plan: str, hosts: Iterable[str]) -> None:
        if plan in self._pinged:
            self._begun.append((run, plan, tuple(hosts)))
            self.wake()

    def wake(self) -> None:
        """There may be something to tell. Returns at once; it is done in a thread of its own."""
        if self.wanted:
            self._courier.wake()

    def nudge(self) -> None:
        """Something waits for people: as `wake`, where nobody in this process has looked for a minute."""
        if time.monotonic() - self._looked >= AGAIN:
            self._looked = time.monotonic()
            self.wake()

    def close(self) -> None:
        """What this process has made is tried once more, within limits. What is left is delivered by the next one."""
        self._courier.end(PARTING)
        if self._alone.acquire(blocking=False):
            self._alone.release()
            return
        self.over = True  # a command in hand is killed, whichever thread is at it, and not left over
        if self._alone.acquire(timeout=LAST):
            self._alone.release()

    # Its parts

    def _outbox(self) -> Outbox:
        app = self._app
        return Outbox(
            store=app.schedule_store,
            ledger=app.ledger,
            state=app.state,
            clock=app.clock,
            site=app.site.name,
            channels=app.site.notify,
            pinged=self._pinged,
            targets=lambda plan: frozenset(host.name for host in app.targets(plan)),
            waiting=self._waiting,
            asked=self._asked,
        )

    def _waiting(self) -> list[Approval]:
        from mainstay.console.approving import waiting

        return [one.approval for one in waiting(self._app)]

    def _delivery(self) -> Delivery:
        enough = time.monotonic() + ROUND
        return Delivery(
            self._app.schedule_store,
            self._app.clock,
            self._holder,
            ending=lambda: self.over or time.monotonic() > enough,
            unwanted=self._unwanted,
        )

    def _unwanted(self, notice: Notice) -> str:
        """A request that was answered while its notice waited."""
        if notice.event != "approval":
            return ""
        store = self._app.schedule_store
        asked = store.approval(notice.body["approval"]["run"])
        if asked is None or asked.hash != notice.body["approval"]["hash"]:
            return "it was withdrawn"
        standing = approvals.standing(asked, store.votes(asked.run), self._app.clock.now(), need=asked.need)
        return "" if standing.answer == "waiting" else "it was answered"

    def _channels(self) -> Sequence[Channel]:
        commands = [
            Channel(channel.label, _Command(self._app, channel, lambda: self.over), channel.timeout)
            for channel in self._app.site.notify
        ]
        switches = [
            Channel(ping_channel(name), _Switch(self._app, plan), _ping_seconds(), newest_only=True)
            for name, plan in self._pinged.items()
        ]
        return [*commands, *switches]


def _ping_seconds() -> float:
    from mainstay.console.notices.adapters.ping import SECONDS

    return SECONDS


class _Command:
    """Hands a notice to the command of a channel."""

    def __init__(self, app: Application, channel: Notify, ending: Callable[[], bool]) -> None:
        self._app = app
        self._channel = channel
        self._ending = ending

    def __call__(self, notice: Notice) -> None:
        from mainstay.console.notices.adapters.command import run

        about = notice.body.get("record") or notice.body.get("approval") or {}
        variables = {
            "MAINSTAY_SITE": self._app.site.name,
            "MAINSTAY_CHANNEL": self._channel.label,
            "MAINSTAY_NOTICE": notice.id,
            "MAINSTAY_EVENT": notice.event,
            "MAINSTAY_PLAN": str(about.get("plan", "")),
        }
        try:
            secret = {name: self._app.secrets.resolve(where).reveal() for name, where in self._channel.env.items()}
        except MainstayError as error:
            raise Undelivered(error.message) from None
        text = canonical(
            {"notice": notice.id, "channel": self._channel.label, "made_at": notice.made_at, **notice.body}
        )
        run(
            self._channel.command,
            text + b"\n",
            folder=self._app.site.root,
            variables={**variables, **secret},
            seconds=self._channel.timeout,
            ending=self._ending,
        )


class _Switch:
    """Tells a dead man's switch."""

    def __init__(self, app: Application, plan: Plan) -> None:
        self._app = app
        self._ping = plan.ping or ""

    def __call__(self, notice: Notice) -> None:
        from mainstay.console.notices.adapters.ping import send
        from mainstay.inventory.web.adapters.guarded import Guarded

        send(notice.body, url=self._url, web=Guarded())

    def _url(self) -> str:
        from mainstay.inventory.redaction import remember
        from mainstay.inventory.secrets import is_reference

        if is_reference(self._ping):
            return self._app.secrets.resolve(self._ping).reveal()
        remember(self._ping)
        return self._ping


class Listening(Quiet):
    """Hears of runs that this process executes."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices

    def run_started(self, run: str, plan: str, waves: list[list[str]]) -> None:
        self._notices.started(run, plan, [host for wave in waves for host in wave])

    def run_finished(self, record: MaintenanceRecord) -> None:
        self._notices.wake()


class _Courier:
    """The thread of a process: woken when something happened, and by itself while something is left."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._condition = threading.Condition()
        self._asked = False
        self._ending = False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        with self._condition:
            if self._ending:
                return
            self._asked = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._go, name="notices", daemon=True)
                self._thread.start()
            self._condition.notify()

    def end(self, within: float) -> None:
        with self._condition:
            self._ending = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join(within)

    def _go(self) -> None:
        left = False
        while self._next(AGAIN if left else None):
            left = True
            try:
                self._notices.round()
                left = self._notices.left()
            except Exception as error:  # what was not told is told later: by this thread, or by the next process
                tell(WARNING, "notices stand still", fault=error)

    def _next(self, within: float | None) -> bool:
        with self._condition:
            self._condition.wait_for(lambda: self._ending or self._asked, within)
            if self._ending and not self._asked:
                return False
            self._asked = False
            return True
