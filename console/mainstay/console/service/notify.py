"""Word to the supervisor that started this process, by sd_notify(3)
(https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from logging import WARNING

from mainstay.console.clean import line
from mainstay.inventory.redaction import redact
from mainstay.runner.log.events import tell

LONGEST = 400
"""Characters of a status."""


class Supervisor:
    """Says where the process stands, as one datagram each time. Without a supervisor it says nothing; one that does not
    listen (any more) is no error: the work is what counts."""

    def __init__(
        self,
        address: str = "",
        *,
        ping_every: float | None = None,
        send_within: float = 1.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """address: as in $NOTIFY_SOCKET, a path or `@` and an abstract name. ping_every: seconds, None where no watchdog
        wants to hear. send_within: seconds after which a word is dropped."""
        self._address = b"\0" + os.fsencode(address[1:]) if address.startswith("@") else os.fsencode(address)
        self._ping_every = ping_every
        self._send_within = send_within
        self._now = now
        self._pinged: float | None = None
        self._status = ""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Supervisor:
        """By $NOTIFY_SOCKET, and by $WATCHDOG_USEC where it is meant for this process: a third of the limit between two
        pings, so that one may be late."""
        address = environ.get("NOTIFY_SOCKET", "")
        if address and not address.startswith(("/", "@")):
            tell(WARNING, "supervisor not told", reason=f"no address of a kind known here: {line(address)}")
            address = ""
        return cls(address, ping_every=_watchdog(environ) if address else None)

    @property
    def listens(self) -> bool:
        return bool(self._address)

    def ready(self, status: str = "") -> None:
        """The work has begun; also after `reloading`."""
        self._say("READY=1", *self._new_status(status))

    def reloading(self) -> None:
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str = "") -> None:
        self._say("STOPPING=1", *self._new_status(status))

    def status(self, text: str) -> None:
        """One line for people; said only where it is another than before."""
        if told := self._new_status(text):
            self._say(*told)

    def watchdog(self) -> None:
        """Still at work. Call it as often as is convenient: it is passed on as seldom as will do."""
        now = self._now()
        if self._ping_every is None or (self._pinged is not None and now - self._pinged < self._ping_every):
            return
        self._pinged = now
        self._say("WATCHDOG=1")

    def _new_status(self, text: str) -> tuple[str, ...]:
        shown = redact(line(text))[:LONGEST]  # one line: another one would be another assignment
        if not shown or shown == self._status:
            return ()
        self._status = shown
        return (f"STATUS={shown}",)

    def _say(self, *assignments: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(self._send_within)  # a supervisor whose queue is full must not hold the work up
            channel.connect(self._address)
            channel.sendall("\n".join(assignments).encode())


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Seconds between two pings, where a watchdog is set for this very process (sd_watchdog_enabled(3))."""
    meant = environ.get("WATCHDOG_PID")
    if meant is not None and meant != str(os.getpid()):
        return None
    with suppress(ValueError):
        limit = int(environ.get("WATCHDOG_USEC", ""))
        return limit / 1_000_000 / 3 if limit > 0 else None
    return None
