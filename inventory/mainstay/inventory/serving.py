"""What mainstay.yml says of `mainstay serve`: `serve: {health: 127.0.0.1:9477}` and `observe: daily`."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer

from mainstay.inventory.amounts import seconds
from mainstay.inventory.document import Spot
from mainstay.inventory.errors import Problem, WrongValue
from mainstay.inventory.names import shown
from mainstay.inventory.value import Value

OFTEN = {"hourly": 3600.0, "daily": 86400.0, "weekly": 7 * 86400.0}
SHORTEST = 600.0
_LISTEN = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<four>[0-9.]+)):(?P<port>[0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Listen:
    """host: an IP address. port 0: a free one."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback


def listen(text: str) -> Listen:
    """`127.0.0.1:9477`, `[::1]:9477`. Raises WrongValue."""
    found = _LISTEN.fullmatch(text)
    hint = "Write for example 127.0.0.1:9477 or [::1]:9477."
    if found is None or int(found["port"]) > 65535:
        raise WrongValue(f"{shown(text)} is no IP address and port.", hint=hint)
    try:
        host = ipaddress.ip_address(found["six"] or found["four"])
    except ValueError:
        raise WrongValue(f"{shown(text)} is no IP address and port.", hint=hint) from None
    if (host.version == 6) != bool(found["six"]):
        raise WrongValue(f"{shown(text)} is no IP address and port.", hint=hint)
    return Listen(str(host), int(found["port"]))


def _listen(text: str) -> str:
    listen(text)
    return text


def _often(value: Any) -> float:
    # What mainstay itself wrote down (mode: json) is seconds already.
    if isinstance(value, float):
        return value
    if isinstance(value, str) and value in OFTEN:
        return OFTEN[value]
    try:
        every = seconds(value)
    except ValueError as error:
        raise WrongValue(f"{error}, or {', '.join(OFTEN)}.", hint="Write observe: daily") from None
    if every < SHORTEST:
        raise WrongValue("is too often: at least 10m between two looks at a host.", hint="Write observe: daily")
    return every


class ServeSettings(Value):
    """Of `mainstay serve`."""

    health: Annotated[str, AfterValidator(_listen)] | None = None
    """Where GET /healthz is answered, `127.0.0.1:9477`; nowhere where it is not given."""


Often = Annotated[
    float, BeforeValidator(_often, json_schema_input_type=int | str), PlainSerializer(float, return_type=float)
]
"""Seconds between two looks at a host: `hourly`, `daily`, `weekly`, or a duration."""


def listening_doubts(spot: Spot, settings: ServeSettings) -> Iterator[Problem]:
    """A warning where others than this machine may ask. spot: of `serve`."""
    if settings.health is not None and not listen(settings.health).loopback:
        message = "the health endpoint answers whoever reaches this machine there, without a password and without TLS."
        yield spot.at("health").problem(message, hint="127.0.0.1:PORT answers this machine alone.")
