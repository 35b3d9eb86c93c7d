"""A dump that was restored already, as an order says."""

from __future__ import annotations

import json
import math
import stat
import time
from dataclasses import MISSING, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from mainstay.inventory.errors import UsageError
from mainstay.recovery.proving.asserting import Check
from mainstay.recovery.proving.attempt import Attempt, Brought, NotProved
from mainstay.recovery.proving.scratch import LOCK, Place, held
from mainstay.recovery.proving.trying import DUMPS
from mainstay.recovery.words import sized


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """As the documentation of `tool` says."""

    kind: str
    unit: str
    item: str
    at: str
    file: str
    size: int
    place: str
    seconds: float
    made_at: str = ""
    checks: tuple[Check, ...] = ()
    roles: tuple[str, ...] = ()
    superuser: str = "postgres"
    machine: str = "this machine"

    @classmethod
    def read(cls, path: Path) -> Order:
        """Raises UsageError: what is wrong with it."""
        try:
            data = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} is no order: {error}") from None
        try:
            return cls._of(data)
        except ValueError as error:
            raise UsageError(f"{path} is no order: {error}") from None

    @classmethod
    def _of(cls, data: Any) -> Order:
        given = _closed(cls, data, "")
        for name in ("kind", "unit", "item", "at", "made_at", "file", "place", "superuser", "machine"):
            if not isinstance(given.get(name, ""), str) or "\0" in given.get(name, ""):
                raise ValueError(f"{name}: it is no text")
        if given["kind"] not in DUMPS:
            raise ValueError(f"kind: {given['kind']} is none of {', '.join(DUMPS)}")
        _aware("at", given["at"])
        if given.get("made_at"):
            _aware("made_at", given["made_at"])
        for name in ("file", "place"):
            if not Path(given[name]).is_absolute():
                raise ValueError(f"{name}: it is no absolute path")
        if not isinstance(given["size"], int) or isinstance(given["size"], bool) or given["size"] < 0:
            raise ValueError("size: it is no number of bytes")
        if not _number(given["seconds"]):
            raise ValueError("seconds: it is no number")
        roles = given.get("roles", [])
        if not isinstance(roles, list) or not all(isinstance(one, str) and "\0" not in one for one in roles):
            raise ValueError("roles: it is no list of names")
        checks = given.get("checks", [])
        if not isinstance(checks, list):
            raise ValueError("checks: it is no list")
        return cls(**{**given, "roles": tuple(roles), "checks": tuple(_check(one) for one in checks)})


@dataclass(slots=True, kw_only=True)
class HandedAttempt(Attempt):
    """A dump that lies here already. size: what it must have."""

    file: Path
    size: int

    @classmethod
    def of(cls, order: Order) -> HandedAttempt:
        """Its time begins now. Raises UsageError where nobody holds the place."""
        folder = Path(order.place)
        if not (folder / LOCK).is_file() or not held(folder):
            raise UsageError(f"nobody holds the place {folder}: call it under `hold`")
        return cls(
            kind=order.kind,
            unit=order.unit,
            item=order.item,
            at=order.at,
            made_at=order.made_at,
            place=Place(folder),
            until=time.monotonic() + order.seconds,
            checks=order.checks,
            roles=order.roles,
            superuser=order.superuser,
            machine=order.machine,
            file=Path(order.file),
            size=order.size,
        )

    def dump(self) -> Brought:
        self.left()
        try:
            found = self.file.lstat()
        except OSError as error:
            raise NotProved(f"the restored dump can't be read: {error.strerror}") from None
        if not stat.S_ISREG(found.st_mode):
            raise NotProved("what was restored is no file")
        if found.st_size != self.size:
            raise NotProved(f"{sized(found.st_size)} were restored, and the point says {sized(self.size)}")
        if not self.size:
            raise NotProved("the dump is empty")
        self.measures |= {"files": 1, "bytes": self.size}
        return Brought(self.file, self.size)


def _closed(kind: Any, data: Any, where: str) -> dict[str, Any]:
    """The keys of that dataclass: all that it needs, and no other."""
    if not isinstance(data, dict):
        raise ValueError(f"{where}it is no object")
    known = {field.name: field.default is MISSING for field in fields(kind)}
    if missing := sorted(name for name, needed in known.items() if needed and name not in data):
        raise ValueError(f"{where}{missing[0]}: it is missing")
    if unknown := sorted(set(data) - set(known)):
        raise ValueError(f"{where}{unknown[0]}: there is no such key")
    return data


def _check(data: Any) -> Check:
    given = _closed(Check, data, "checks: ")
    texts = {name: given.get(name) for name in ("source", "database", "query", "equals")}
    wrong = [name for name, value in texts.items() if not isinstance(value, str) or "\0" in value]
    wrong = [name for name in wrong if name != "equals" or texts[name] is not None]
    numbers = {name: given.get(name) for name in ("at_least", "newer_than")}
    wrong += [name for name, value in numbers.items() if value is not None and not _number(value)]
    if wrong:
        raise ValueError(f"checks: {wrong[0]}: it is not what it should be")
    if sum(value is not None for value in (texts["equals"], *numbers.values())) != 1:
        raise ValueError("checks: it is exactly one of equals, at_least, newer_than")
    return Check(**given)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _aware(name: str, text: str) -> None:
    try:
        zone = datetime.fromisoformat(text).tzinfo
    except ValueError:
        zone = None
    if zone is None:
        raise ValueError(f"{name}: {text!r} is no time with a zone")
