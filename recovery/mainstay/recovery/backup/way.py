"""What stands beside a job at a repository on a host: the way to it through the controller, where that is the way, and the secrets
until the job has taken them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Protocol

from mainstay.recovery.backup import handover
from mainstay.recovery.depot import Depot
from mainstay.recovery.repository import Repository
from mainstay.runner.operation import HostWork
from mainstay.runner.shell.contract import ContactLost, ForwardRefused, JobStatus


class Comes(Protocol):
    """A change whose job comes to a repository."""

    @property
    def run(self) -> str: ...

    @property
    def memory(self) -> str:
        """A folder that is never written to a disk."""

    @property
    def port(self) -> int:
        """On the host's loopback, for the way through the controller; 0 where the host reaches the repository by itself."""


def port_of(work: HostWork, repository: Repository) -> int:
    """Chosen by the host's sshd; kept, so that another process can set up the same way again."""
    if repository.through != "controller":
        return 0
    with work.shell.forward(("127.0.0.1", 9)) as port:
        return port


def _nothing() -> None:
    pass


@contextmanager
def beside(
    depot: Depot,
    repository: Repository,
    of: str,
    work: HostWork,
    change: Comes,
    name: str,
    *,
    again: Callable[[], None] = _nothing,
) -> Iterator[None]:
    """of: the host whose data it is. name: of the job. again: done before the way is set up once more for a job that was begun
    by another process. Raises ContactLost, ForwardRefused, Refused, GatewayError."""
    access = depot.access(repository, of, "write")
    folder = handover.place(change.memory, name)
    with ExitStack() as stack:
        begun = work.shell.poll(name).status is not JobStatus.ABSENT
        if change.port:
            if begun:
                again()
            secret = handover.way_secret(access, change.run)
            served = stack.enter_context(depot.gateway.serve(access, handover.USER, secret))
            try:
                stack.enter_context(work.shell.forward((served.host, served.port), change.port))
            except ForwardRefused as error:
                if not begun:
                    raise
                # That of the process before this one may not have been given up yet.
                raise ContactLost(work.host.name, error.plain) from error
            url = f"rest:http://127.0.0.1:{change.port}/"
            access = replace(access, kind="rest", url=url, user=handover.USER, secret=secret)
        if not begun:
            handover.hand_over(work, folder, handover.files(access))
            stack.callback(handover.take_back, work, folder)
        yield
