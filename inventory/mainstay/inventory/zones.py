"""Names of time zones: those of the IANA database, https://www.iana.org/time-zones"""

from __future__ import annotations

import zoneinfo
from typing import Annotated

from pydantic import AfterValidator

from mainstay.inventory.errors import WrongValue
from mainstay.inventory.names import shown
from mainstay.inventory.validation import did_you_mean

_NOT_THE_SAME_EVERYWHERE = ("right/", "posix/", "localtime", "posixrules", "Factory")
"""What some systems keep beside the zones: with leap seconds, or whatever that machine's own zone is."""


def check_timezone(name: str) -> str:
    """The name. Raises ValueError where it is no zone."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        zones = zoneinfo.available_timezones()
        same = [zone for zone in zones if zone.lower() == name.lower()]
        hint = f'Did you mean "{same[0]}"?' if same else did_you_mean(name, zones)
        hint = hint or "Write for example Europe/Berlin or UTC."
        raise WrongValue(f"{shown(name)} is no time zone.", hint=hint) from None
    if name.startswith(_NOT_THE_SAME_EVERYWHERE):
        hint = "Write for example Europe/Berlin or UTC."
        raise WrongValue(f"{shown(name)} is not the same time zone on every machine.", hint=hint)
    return name


TimeZone = Annotated[str, AfterValidator(check_timezone)]
"""A name of the IANA time zone database."""
