"""`notify:` of mainstay.yml, who is told what; and `ping:` of a plan, the dead man's switch that hears of its runs."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from mainstay.inventory.addresses import forbidden
from mainstay.inventory.amounts import Duration
from mainstay.inventory.document import Spot
from mainstay.inventory.errors import Problem, WrongValue
from mainstay.inventory.names import check_name, shown
from mainstay.inventory.references import Reference
from mainstay.inventory.secrets import check_reference, is_reference
from mainstay.inventory.validation import did_you_mean
from mainstay.inventory.value import Value

Event = Literal[
    "succeeded", "degraded", "failed", "rolled-back", "refused", "missed", "cancelled", "unknown", "approval"
]
"""How a run ended, or that somebody is to approve one. `failed` holds `rolled-back` too: what was meant was not reached."""
USUAL: tuple[Event, ...] = ("failed", "degraded", "refused", "missed", "unknown", "approval")


def _split(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return shlex.split(value)
    except ValueError:
        raise ValueError("command: a quote that is not closed") from None


def _command(argv: tuple[str, ...]) -> tuple[str, ...]:
    if not argv or not argv[0].strip():
        raise WrongValue("is empty.", hint="Write a program and its arguments: [/usr/local/bin/tell, ops]")
    if any("\0" in part for part in argv):
        raise ValueError("a NUL can't be part of a command")
    return argv


Command = Annotated[
    tuple[str, ...],
    BeforeValidator(_split),
    AfterValidator(_command),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name, re.ASCII):
        raise ValueError("a variable's name is letters, digits and _, beginning with a letter")
    if name.startswith(("LD_", "MAINSTAY_")) or name == "PATH":
        raise ValueError(f"{name} is not to be given here")
    return name


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, (str, int)) else value


def _some(events: tuple[Event, ...]) -> tuple[Event, ...]:
    if not events:
        raise WrongValue(
            "is empty: it would never tell anything.", hint="Leave it out for what somebody should look at."
        )
    return tuple(dict.fromkeys(events))


def _name(text: str) -> str:
    check_name(text, "channel")
    return text


class Notify(Value):
    """A channel: a command that is given what happened as JSON on its stdin. Run without a shell, in the site's folder."""

    name: Annotated[str, AfterValidator(_name)] | None = None
    """How it is called in `status`; the command's own name where it is not given."""
    on: Annotated[
        tuple[Event, ...],
        BeforeValidator(_one_or_more, json_schema_input_type=Event | list[Event]),
        AfterValidator(_some),
    ] = USUAL
    command: Command
    plans: Annotated[tuple[str, ...], BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])] = ()
    """Only of these; of all where none is named."""
    timeout: Annotated[Duration, Field(gt=0, le=600)] = 30.0
    """Seconds; after them it is killed, with everything it has started."""
    remind: Annotated[
        tuple[Duration, ...], BeforeValidator(_one_or_more, json_schema_input_type=int | str | list[int | str])
    ] = (86400.0, 7200.0)
    """So long before its window opens, an approval that is still lacking is told again."""
    env: dict[Annotated[str, AfterValidator(_variable)], Reference] = {}
    """Secrets that the command needs, by reference: they reach it as variables of its environment, and by no other way."""

    @property
    def label(self) -> str:
        return self.name or re.sub(r"[^A-Za-z0-9_.-]", "-", self.command[0].rpartition("/")[2]).strip("-.") or "command"

    def wants(self, event: str, plan: str) -> bool:
        if self.plans and plan not in self.plans:
            return False
        return event in self.on or (event == "rolled-back" and "failed" in self.on)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, dict) else value


Channels = Annotated[tuple[Notify, ...], BeforeValidator(_listed, json_schema_input_type=Notify | list[Notify])]
"""One mapping, or a list of them."""


def notify_problems(channels: Sequence[Notify], spot: Spot) -> Iterable[Problem]:
    seen: set[str] = set()
    for number, channel in enumerate(channels):
        at = spot.at(number) if isinstance(spot.value, list) else spot
        if channel.label in seen:
            hint = "Give each a name: of its own; what was delivered is remembered by it."
            yield at.problem(f'there are two channels "{channel.label}".', hint=hint)
        seen.add(channel.label)


def unknown_plans(channels: Sequence[Notify], spot: Spot, plans: Collection[str]) -> Iterable[Problem]:
    """Channels that wait for a plan which there is not. plans: all that are declared."""
    for number, channel in enumerate(channels):
        at = (spot.at(number) if isinstance(spot.value, list) else spot).at("plans")
        for index, name in enumerate(channel.plans):
            if name not in plans:
                hint = did_you_mean(name, plans) or "Declare it in schedules/*.yml."
                where = at.at(index) if isinstance(at.value, list) else at
                yield where.problem(f"there is no plan {shown(name)}.", hint=hint)


def notify_references(channels: Sequence[Notify], spot: Spot) -> Iterable[tuple[str, Spot]]:
    for number, channel in enumerate(channels):
        at = spot.at(number) if isinstance(spot.value, list) else spot
        for name, reference in channel.env.items():
            yield reference, at.at("env", name)


def _ping(text: str) -> str:
    # Who knows the address can keep the switch quiet: no message holds it.
    if is_reference(text):
        return check_reference(text)
    hint = "Write https://HOST/PATH or, better, where it is to be found: file:PATH or env:NAME."
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise WrongValue("is no URL.", hint=hint) from None
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\x00-\x20\x7f-\uffff\\]", text):
        raise WrongValue("is no http or https URL.", hint=hint)
    if parts.username or parts.password or parts.fragment:
        raise WrongValue("takes no login and no fragment in the URL.", hint=hint)
    if re.fullmatch(r"[0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.%a-z]*", host) and (why := forbidden(host)):
        raise WrongValue(f"can't be sent there: {why}.", hint=hint)
    return text


def check_ping(text: str) -> str:
    """A URL that is to be pinged, given or found behind a reference. Raises WrongValue, whose message never holds it."""
    return _ping(text)


Ping = Annotated[str, AfterValidator(_ping)]
"""An http or https URL as healthchecks takes it, or the reference of one."""
