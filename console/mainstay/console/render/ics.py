"""What comes as a calendar that other programs subscribe to. RFC 5545; the refresh of RFC 7986 section 5.7."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import icalendar

from mainstay.console import clean
from mainstay.console.render.next import WORDS, fit, standing
from mainstay.console.render.times import counted, rfc3339
from mainstay.schedules.outlook import HELD, Coming

PRODUCT = "-//mainstay//mainstay next//EN"
REFRESH = timedelta(hours=1)


def calendar(site: str, coming: Iterable[Coming], now: datetime) -> bytes:
    """Each occurrence is an event with its run's id as UID, so that a program which reads it again finds the same one. What
    is held is CANCELLED, what waits for an approval TENTATIVE. Times in UTC."""
    found = icalendar.Calendar()
    found.add("prodid", PRODUCT)
    found.add("version", "2.0")
    found.add("x-wr-calname", _text(f"mainstay {site}"))
    found.add("refresh-interval", REFRESH, {"VALUE": "DURATION"})
    found.add("x-published-ttl", REFRESH, {"VALUE": "DURATION"})
    for one in coming:
        found.add_component(_event(site, one, now))
    return bytes(found.to_ical())


def _event(site: str, one: Coming, now: datetime) -> icalendar.Event:
    event = icalendar.Event()
    event.add("uid", f"{one.run}@{site}.mainstay")
    event.add("dtstamp", now.astimezone(UTC).replace(microsecond=0))
    event.add("dtstart", one.opening.starts_at.astimezone(UTC))
    event.add("dtend", one.opening.ends_at.astimezone(UTC))
    event.add("summary", _text(_summary(one)))
    event.add("description", _text(_description(one)))
    event.add("categories", [one.line.plan.kind])
    event.add("status", _status(one))
    event.add("transp", "TRANSPARENT")
    return event


def _status(one: Coming) -> str:
    if one.state in HELD:
        return "CANCELLED"
    return "TENTATIVE" if one.state == "waiting-for-approval" else "CONFIRMED"


def _summary(one: Coming) -> str:
    held = f" ({WORDS[one.state]})" if one.state in HELD or one.state == "waiting-for-approval" else ""
    return f"{one.line.plan.name}{held}"


def _description(one: Coming) -> str:
    rows = [
        f"Window {one.opening.window}, {counted(len(one.line.hosts), 'host')}; nothing starts after "
        f"{rfc3339(one.opening.cutoff_at)}."
    ]
    if one.state in WORDS:
        rows.append(standing(one))
    if one.work is not None:
        rows.append(fit(one))
    if one.opening.remark:
        rows.append(one.opening.remark)
    return "\n".join(rows)


def _text(text: str) -> str:
    """Without what steers a terminal or a calendar program; line breaks are escaped by the form itself."""
    return clean.block(text).replace("\t", " ")


def content(ics: bytes) -> bytes:
    """All that it says, without when it was written: two with the same content need not be told apart."""
    return re.sub(rb"^DTSTAMP[:;][^\r\n]*\r?\n", b"", ics, flags=re.MULTILINE)
