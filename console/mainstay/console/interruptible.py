"""Work that Ctrl-C lets go of at once, however long the hosts take to answer. For what only reads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def interruptible(work: Callable[[], T]) -> T:
    """Do it in a thread that does not keep the process, and wait for it here, where KeyboardInterrupt arrives."""
    answers: list[T] = []
    errors: list[BaseException] = []
    ended = threading.Event()

    def run() -> None:
        try:
            answers.append(work())
        except BaseException as error:  # raised again below
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, name="interruptible", daemon=True).start()
    while not ended.wait(0.2):
        pass
    if errors:
        raise errors[0]
    return answers[0]
