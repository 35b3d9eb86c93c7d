"""The same work for many hosts at once; what goes wrong with one is an answer, not the end of the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.host import Host

R = TypeVar("R")
LOOKS = 1.0
"""Seconds after which whoever waits looks whether a signal came."""


def for_each(items: Iterable[Host], work: Callable[[Host], R], *, parallel: int) -> dict[str, R | MainstayError]:
    """Host's name → what `work` returned, or the MainstayError that it raised; in the order of `items`.

    At most `parallel` threads. Any other exception is a bug: it is raised here, and nothing new starts after it. Ctrl-C
    does not wait for the hosts in hand: their threads end with the process.
    """
    if parallel < 1:
        raise ValueError(f"at least one host has to be worked on at a time, not {parallel}")
    hosts = list(items)
    todo = deque(hosts)
    done: SimpleQueue[tuple[str, R | MainstayError] | BaseException] = SimpleQueue()

    def worker() -> None:
        while True:
            try:
                host = todo.popleft()
            except IndexError:
                return
            try:
                done.put((host.name, work(host)))
            except MainstayError as error:
                done.put((host.name, error))
            except BaseException as bug:
                todo.clear()
                done.put(bug)

    for number in range(min(parallel, len(hosts))):
        Thread(target=worker, name=f"host-{number}", daemon=True).start()
    answers: dict[str, R | MainstayError] = {}
    try:
        for _ in hosts:
            answer = _next(done)
            if isinstance(answer, BaseException):
                raise answer
            answers[answer[0]] = answer[1]
    finally:
        todo.clear()
    return {host.name: answers[host.name] for host in hosts}


def _next(done: SimpleQueue[R]) -> R:
    """A signal that comes just before a wait without an end begins is not heard until it ends: so no wait is one."""
    while True:
        with suppress(Empty):
            return done.get(timeout=LOOKS)
