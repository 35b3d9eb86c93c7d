"""Which log events are written while a verb does its work, and in which form. Nothing heavy is imported before the first."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from mainstay.inventory.errors import UsageError
from mainstay.runner.log.events import LOGGER

if TYPE_CHECKING:
    from mainstay.console.screen import Screen

VARIABLE = "MAINSTAY_LOG"
LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("console", "json")

_NUMBER = {name: getattr(logging, name.upper()) for name in LEVELS}
_TOLD_IN_OUR_WORDS = "paramiko"
"""A library whose errors are all told again, as refusals and lost contact."""
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def wanted(level: str | None, form: str | None) -> tuple[str | None, str | None]:
    """(level, format) as given by the options, otherwise by $MAINSTAY_LOG (`info`, `json`, `debug,json`), otherwise None.
    Raises UsageError for a word in the variable that is neither."""
    for word in os.environ.get(VARIABLE, "").replace(",", " ").lower().split():
        if word in LEVELS:
            level = level or word
        elif word in FORMATS:
            form = form or word
        else:
            hint = f"It takes one of {', '.join(LEVELS)} and one of {', '.join(FORMATS)}: {VARIABLE}=info,json"
            raise UsageError(f'${VARIABLE} holds "{word}"', hint=hint)
    return level, form


@contextmanager
def writing(screen: Screen, *, serves: bool = False) -> Iterator[None]:
    """Write log events to stderr within the block. serves: the verb works by itself, and its log is all that it shows."""
    level, form = wanted(screen.log_level, screen.log_format)
    journal = _to_the_journal()
    if form is None:
        form = "json" if serves and not journal and not (sys.stderr and sys.stderr.isatty()) else "console"
    tracebacks = serves or level is not None or screen.debug
    handler = _Stderr(form, colours=screen.colour(sys.stderr), tracebacks=tracebacks, journal=journal)
    own = logging.getLogger("mainstay")
    quiet = [logging.getLogger(LOGGER), logging.getLogger(_TOLD_IN_OUR_WORDS)]
    before = [(logger, logger.level) for logger in (own, *quiet)]
    least = _NUMBER[level or ("info" if serves else "warning")]
    own.setLevel(least)
    handler.setLevel(least)
    if level is None and not serves:
        # The screen shows what happens in the run; beside it, only what went wrong in mainstay itself.
        quiet[0].setLevel(logging.ERROR)
        quiet[1].setLevel(logging.CRITICAL + 1)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for logger, number in before:
            logger.setLevel(number)
        if not any(isinstance(one, logging.NullHandler) for one in root.handlers):
            # What a thread says after the end goes nowhere, rather than to stderr as it is.
            root.addHandler(logging.NullHandler())


class _Stderr(logging.Handler):
    """To whatever sys.stderr is now: a live table puts itself in its place and writes lines above itself."""

    def __init__(self, form: str, *, colours: bool, tracebacks: bool, journal: bool) -> None:
        super().__init__()
        self._form = form
        self._colours = colours
        self._tracebacks = tracebacks
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self.formatter is None:
                from mainstay.console.logs.form import formatter

                # the journal stamps each line itself
                stamped = self._form == "json" or not self._journal
                self.formatter = formatter(
                    self._form, colours=self._colours, tracebacks=self._tracebacks, stamped=stamped
                )
            text = self.format(record)
        except Exception as error:  # whatever it is, the work goes on; the record itself may hold anything
            text = f"mainstay: an event of {record.name} could not be written: {type(error).__name__}"
        if self._journal:
            # every line of a traceback is an entry of its own there
            prefix = f"<{_PRIORITY.get(record.levelno, 5)}>"
            text = "\n".join(prefix + line for line in text.splitlines())
        # Whoever reads may be gone.
        with suppress(OSError, ValueError, AttributeError):
            coding = sys.stderr.encoding or "ascii"
            sys.stderr.write(text.encode(coding, "replace").decode(coding) + "\n")
            sys.stderr.flush()


def _to_the_journal() -> bool:
    """Whether stderr is a stream of systemd's journal, which takes the priority of a line from its start
    (https://www.freedesktop.org/software/systemd/man/latest/sd-daemon.html)."""
    try:
        told = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{told.st_dev}:{told.st_ino}"
