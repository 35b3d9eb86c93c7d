"""What has to stand beside a job that reads a repository on a host: the way to it, and the secrets until the job has taken them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Protocol

from mainstay.recovery.backup import handover
from mainstay.recovery.backup.change import Program
from mainstay.recovery.depot import Depot
from mainstay.recovery.repository import Repository
from mainstay.runner.operation import HostWork
from mainstay.runner.shell.contract import ContactLost, ForwardRefused, JobStatus


class Reads(Protocol):
    """A change whose job reads a repository."""

    @property
    def run(self) -> str: ...

    @property
    def program(self) -> Program: ...

    @property
    def state_dir(self) -> str: ...

    @property
    def token(self) -> str:
        """Random. Only what the job itself prints has it."""

    @property
    def memory(self) -> str:
        """A folder that is never written to a disk."""

    @property
    def port(self) -> int:
        """On the host's loopback, for the way through the controller; 0 where the host reaches the repository by itself."""

    @property
    def region(self) -> str:
        """Of an S3 storage that the host reaches by itself; empty where none is said."""

    @property
    def download(self) -> int:
        """KiB per second, at the most; 0: no limit."""


def port_of(work: HostWork, repository: Repository) -> int:
    """Chosen by the host's sshd; kept, so that another process can set up the same way again."""
    if repository.through != "controller":
        return 0
    with work.shell.forward(("127.0.0.1", 9)) as port:
        return port


@contextmanager
def beside(depot: Depot, repository: Repository, of: str, work: HostWork, change: Reads, name: str) -> Iterator[None]:
    """As a backup's. of: the host whose data it is. name: of the job."""
    access = depot.access(repository, of, "write")
    folder = handover.place(change.memory, name)
    with ExitStack() as stack:
        begun = work.shell.poll(name).status is not JobStatus.ABSENT
        if change.port:
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
