"""What `mainstay serve` tells of itself while it is up: to its supervisor, and to whoever asks for its health."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, tzinfo
from logging import ERROR, INFO

from mainstay.console.render.times import counted
from mainstay.console.service.health import Health
from mainstay.console.service.notify import Supervisor
from mainstay.inventory.serving import Listen
from mainstay.runner.log.events import tell


class Service:
    """Made by `serving`. The daemon's main loop calls `round`; its parts speak through `health`."""

    def __init__(self, supervisor: Supervisor, health: Health) -> None:
        self.supervisor = supervisor
        self.health = health
        self.port: int | None = None
        """Where its health is answered."""
        self._frozen: tuple[str, ...] = ()

    def ready(self, status: str = "") -> None:
        """The site is loaded, the engine launched, the clock set: not before."""
        self.supervisor.ready(status)

    def stopping(self, status: str = "") -> None:
        self.supervisor.stopping(status)

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Ready again at its end, whether or not the new site was taken."""
        self.supervisor.reloading()
        try:
            yield
        finally:
            self.supervisor.ready()

    def round(self, status: str) -> None:
        """Pass on that the process is at work, and what it does; the watchdog hears nothing while a vital loop is stuck, so
        that the process is started again. Call it every second or so, from the loop that everything hangs on."""
        frozen = self.health.frozen()
        if frozen != self._frozen:
            if frozen:
                tell(ERROR, "daemon is stuck", parts=list(frozen), reason="its supervisor is not told that it is well")
            else:
                tell(INFO, "daemon goes on", parts=list(self._frozen))
            self._frozen = frozen
        if not frozen:
            self.supervisor.watchdog()
        faults = self.health.faults()
        self.supervisor.status(f"{status}; not well: {', '.join(faults)}" if faults else status)


@contextmanager
def serving(listen: Listen | None = None, health: Health | None = None) -> Iterator[Service]:
    """A service for as long as the block lasts, with its health answered where `listen` says. Raises UsageError where it
    can't listen there."""
    health = health or Health()
    with ExitStack() as stack:
        service = Service(Supervisor.from_environment(), health)
        if listen is not None:
            from mainstay.console.service.endpoint import Endpoint

            service.port = stack.enter_context(Endpoint(listen.host, listen.port, health)).port
        yield service


def standing(plans: int, upcoming: tuple[str, datetime] | None, in_hand: int, zone: tzinfo) -> str:
    """`serves 3 plans, next patch-web Fri 2026-12-11 02:00 CET; 1 run in hand`. upcoming: plan, and when its window opens."""
    text = f"serves {counted(plans, 'plan')}"
    if upcoming is not None:
        plan, moment = upcoming
        text += f", next {plan} {moment.astimezone(zone):%a %Y-%m-%d %H:%M %Z}"
    return f"{text}; {counted(in_hand, 'run')} in hand"
