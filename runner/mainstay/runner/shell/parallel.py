"""The same work for many hosts at once; what goes wrong with one is an answer, not the end of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.host import Host

R = TypeVar("R")


def for_each(items: Iterable[Host], work: Callable[[Host], R], *, parallel: int) -> dict[str, R | MainstayError]:
    """Host's name → what `work` returned, or the MainstayError that it raised; in the order of `items`.

    At most `parallel` threads. Any other exception is a bug: it is raised here once the work in hand has ended, and
    nothing new starts after it.
    """
    if parallel < 1:
        raise ValueError(f"at least one host has to be worked on at a time, not {parallel}")
    hosts = list(items)
    if not hosts:
        return {}

    def guarded(host: Host) -> R | MainstayError:
        try:
            return work(host)
        except MainstayError as error:
            return error

    with ThreadPoolExecutor(min(parallel, len(hosts)), thread_name_prefix="host") as pool:
        futures = {host.name: pool.submit(guarded, host) for host in hosts}
        try:
            return {name: future.result() for name, future in futures.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
