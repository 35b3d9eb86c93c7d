"""One log record as one line (and a traceback after it, for people): structlog's processors over Python's own logging."""

from __future__ import annotations

import json
import logging
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from mainstay.console import clean
from mainstay.inventory.redaction import redact
from mainstay.runner.log.events import bound

ORDER = ("timestamp", "level", "event", "run", "host", "step", "logger")


def formatter(form: str, *, colours: bool, tracebacks: bool, stamped: bool = True) -> logging.Formatter:
    """form: `json`, one object per line, or `console`. tracebacks: whether people get them; programs always do.
    stamped: with the time."""
    if form == "json":
        last: list[Processor] = [structlog.processors.JSONRenderer(serializer=_one_line)]
    else:
        last = [_cleaned, structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=16, sort_keys=False)]
        last = last if tracebacks else [_without_traceback, *last]
    shared: list[Processor] = [
        _fields,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        *([structlog.processors.TimeStamper(fmt="iso", utc=True)] if stamped else []),
        structlog.processors.format_exc_info,
    ]
    # Redacted after everything has become text, so that nothing can add to it any more.
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[remove, _redacted, _in_order, *last]
    )


def _fields(logger: Any, method: str, event: EventDict) -> EventDict:
    """What is bound where the record was made, and its own fields over that."""
    own = getattr(event.get("_record"), "fields", None)
    return {**bound(), **(own if isinstance(own, dict) else {}), **event}


def _redacted(logger: Any, method: str, event: EventDict) -> EventDict:
    found: EventDict = redact.deeply(event)
    return found


def _in_order(logger: Any, method: str, event: EventDict) -> EventDict:
    first = {key: event[key] for key in ORDER if key in event}
    return {**first, **{key: value for key, value in event.items() if key not in first}}


def _without_traceback(logger: Any, method: str, event: EventDict) -> EventDict:
    event.pop("exception", None)
    return event


def _cleaned(logger: Any, method: str, event: EventDict) -> EventDict:
    """Fit for a terminal. Redacted once more: what hides in a word (a zero-width space) is gone by now."""
    return {clean.line(key): _shown(key, value) for key, value in event.items()}


def _shown(key: str, value: Any) -> Any:
    if key == "exception":
        return redact(clean.block(str(value)))
    if isinstance(value, (list, dict)):
        value = json.dumps(value, ensure_ascii=False, default=repr)
    return redact(clean.line(value)) if isinstance(value, (str, bytes)) else value


def _one_line(value: Any, **_: Any) -> str:
    return clean.json_text(json.dumps(value, ensure_ascii=False, default=repr))
