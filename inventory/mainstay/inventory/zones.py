"""Names of time zones: those of the IANA database, https://www.iana.org/time-zones"""

from __future__ import annotations

import re
import zoneinfo
from typing import Annotated

from pydantic import AfterValidator

from mainstay.inventory.errors import WrongValue
from mainstay.inventory.names import shown
from mainstay.inventory.validation import did_you_mean

_NOT_THE_SAME_EVERYWHERE = ("right/", "posix/", "localtime", "posixrules", "Factory")
"""What some systems keep beside the zones: with leap seconds, or whatever that machine's own zone is."""

_ABBREVIATIONS = {
    "EST": "America/New_York",
    "CST": "America/Chicago",
    "MST": "America/Denver",
    "PST": "America/Los_Angeles",
    "HST": "Pacific/Honolulu",
    "WET": "Europe/Lisbon",
    "CET": "Europe/Berlin",
    "MET": "Europe/Berlin",
    "EET": "Europe/Helsinki",
}


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


def zone_doubt(name: str) -> WrongValue | None:
    """What is odd about a zone that is one: names that people take for something else."""
    fixed = re.fullmatch(r"Etc/GMT([+-])(\d{1,2})", name, re.ASCII)
    if fixed and fixed[2] != "0":
        way = "behind" if fixed[1] == "+" else "ahead of"
        message = f"{name} is {int(fixed[2])} h {way} UTC: the sign is the other way round than one would think."
        return WrongValue(message, hint="Write a place, for example Europe/Berlin.")
    if re.fullmatch(r"[A-Z]{3}\d[A-Z]{3}", name, re.ASCII) or name in _ABBREVIATIONS:
        message = f"{name} is an abbreviation kept for old times, and may not follow the rules of any place."
        return WrongValue(message, hint=f"Write a place, for example {_ABBREVIATIONS.get(name[:3], 'Europe/Berlin')}.")
    return None


TimeZone = Annotated[str, AfterValidator(check_timezone)]
"""A name of the IANA time zone database."""
