"""From the words of `mainstay restore` to an order."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING

from mainstay.inventory.errors import Refused, UsageError
from mainstay.inventory.host import Host
from mainstay.inventory.names import check_user
from mainstay.inventory.validation import did_you_mean
from mainstay.recovery.plan import BackupPlan, Source
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.repositories import read_repositories
from mainstay.recovery.repository import Repository
from mainstay.recovery.restore.choosing import SHOWN, Choice, Elsewhere, Wanted, choose
from mainstay.recovery.restore.order import CONTROLLER, RestoreOrder

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application


@dataclass(frozen=True, slots=True)
class Asked:
    """As it was typed. Raises UsageError for what does not go together."""

    host: str
    paths: tuple[str, ...]
    source: str
    database: str
    at: str | None
    point: str
    repository: str
    plan: str
    to: str | None
    into: str
    on: str
    confirm: str
    account: str = ""

    def __post_init__(self) -> None:
        if self.into and (self.paths or self.to):
            raise UsageError("--into makes a database; --path and --to bring files. Give one of the two.")
        if self.into and not self.database:
            raise UsageError("--into needs --database NAME: which dump is it made from?")
        if self.into and self.on == CONTROLLER:
            brings = self.command(into="", to="/root/dump", account="")
            raise UsageError(
                "--into makes a database on a host of the inventory, and the controller is none.",
                hint=f"{brings} brings the dump as a file, for pg_restore or mariadb. Or give the controller itself a host "
                "entry: then --on its name makes the database.",
            )
        if self.account and not self.into:
            raise UsageError("--as names the account that a database's dump is read by; it needs --into.")
        if self.account:
            try:
                check_user(self.account)
            except ValueError as error:
                raise UsageError(f"--as: {error}") from None
        if not self.into and not (self.paths or self.source or self.database or self.point):
            hint = (
                f"Files: mainstay restore {self.host} --path /etc/nginx --to /root/back; a database: mainstay restore "
                f"{self.host} --database NAME --into NEWNAME. What there is: mainstay points {self.host} --all"
            )
            raise UsageError("What is to be brought back?", hint=hint)
        if not self.into and not self.to:
            new = f"; --into NEWNAME makes a new database of {self.database}" if self.database else ""
            raise UsageError(
                f"--to DIR is missing: where are the files to go? (an empty folder, as --to /root/back{new})",
                hint="--to / is over what is there now.",
            )
        for path in (*self.paths, *([self.to] if self.to else [])):
            if not path.startswith("/") or any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
                raise UsageError(f"{path!r} is no absolute path", hint="Write it as it was on the host, from / on.")
            if ".." in path.split("/"):
                raise UsageError(f"{path!r} goes back by ..; write where it leads")

    def command(self, **other: object) -> str:
        """As it would be typed, with these words instead."""
        asked, words = replace(self, **other), ["mainstay", "restore", self.host]  # type: ignore[arg-type]  # our own fields
        for field in fields(asked):
            value, option = getattr(asked, field.name), {"paths": "path", "account": "as"}.get(field.name, field.name)
            given = value if isinstance(value, tuple) else (value,)
            words += [word for one in given if one and field.name != "host" for word in (f"--{option}", one)]
        return shlex.join(words)

    def without_host(self) -> str:
        """What brings it to the controller as files, when the host that was meant is away."""
        return self.command(on=CONTROLLER, confirm="", into="", account="", to="/root/back")

    @property
    def place(self) -> str:
        return self.on or self.host

    def where(self, app: Application) -> Host:
        """The host that is written to; on the controller the one whose data it is, also where the inventory has lost it."""
        found = app.site.inventory.host(self.host if self.place == CONTROLLER else self.place)
        if found is not None:
            return found
        if self.place == CONTROLLER:
            return Host(name=self.host, address="")
        names = [host.name for host in app.site.inventory.hosts]
        hint = did_you_mean(self.place, names) or "See mainstay hosts."
        if not self.on and app.points.points(hosts=[self.host]):
            hint = "Its points are still there: --on controller, or --on OTHERHOST."
        raise UsageError(f'There is no host "{self.place}".', hint=hint)


def place(app: Application, asked: Asked) -> tuple[Choice, RestoreOrder]:
    """Ask the repositories what holds it. Raises UsageError, Refused, ResticError."""
    asked.where(app)
    asked = replace(asked, database=_as_points_name_it(app, asked))
    wanted = Wanted(
        host=asked.host,
        paths=tuple(_plain(path) for path in asked.paths),
        source=asked.source or _only_source(app, asked),
        database=asked.database,
        at=moment(asked.at, app.zone, app.clock.now()) if asked.at else None,
        point=asked.point,
        repository=asked.repository,
        plan=asked.plan,
    )
    declared = repositories(app)
    try:
        choice = choose(wanted, app.depot, declared)
    except Elsewhere as error:
        raise Refused(error.message, hint=_instead(asked, error.instead)) from error
    if asked.place != CONTROLLER and len({piece.point.repository for piece in choice.pieces}) > 1:
        raise UsageError(
            "It comes from several repositories, and a host is let into one at a time.",
            hint=f"One after the other: {'; '.join(_each(asked, choice))}",
        )
    order = RestoreOrder(
        host=asked.host,
        on=asked.place,
        to=_plain(asked.to) if asked.to else "",
        pieces=choice.pieces,
        repositories={piece.point.repository: declared[piece.point.repository] for piece in choice.pieces},
        into=asked.into,
        source=source_of(app, choice) if asked.into else None,
        account=asked.account,
    )
    if asked.account and order.source and order.source.mysql:
        raise UsageError(
            "--as is there for PostgreSQL alone.",
            hint="--to DIR brings the dump as a file: mariadb --user reads it by whom you choose.",
        )
    if asked.confirm and asked.confirm != order.name_to_confirm:
        raise UsageError(
            f"--confirm={asked.confirm} is not the name that is meant",
            hint=f"What would be overwritten is told by --confirm={order.name_to_confirm}; -n shows it.",
        )
    return choice, order.model_copy(update={"confirmed": bool(asked.confirm)})


def _as_points_name_it(app: Application, asked: Asked) -> str:
    """The database. A SQLite file may be named by its path, as its plan does: points have that without its first stroke."""
    there = {point.item for point in app.points.points(hosts=[asked.host])}
    path = asked.database.removeprefix("/")
    return path if asked.database not in there and path in there else asked.database


def _only_source(app: Application, asked: Asked) -> str:
    """Of the database that was named; empty where none was. Raises UsageError where several sources have one of this name."""
    if not asked.database:
        return ""
    found = {point.source for point in app.points.points(hosts=[asked.host]) if point.item == asked.database}
    if len(found) > 1:
        hint = f"Name its source: {'; '.join(asked.command(source=one) for one in sorted(found))}"
        raise UsageError(f"{asked.host} has a {asked.database} in several sources.", hint=hint)
    return next(iter(found), "")


def _instead(asked: Asked, points: Sequence[RecoveryPoint]) -> str:
    told = []
    for point in points:
        # A point that was named is another one there.
        of = {"point": point.id[:SHOWN], "repository": ""} if asked.point else {"repository": point.repository}
        word = "a copy" if point.copy_of else "it"
        told.append(f"{point.repository} has {word} of {point.at}: {asked.command(**of)}")
    return "; ".join(told)


def _each(asked: Asked, choice: Choice) -> list[str]:
    found: dict[str, list[str]] = {}
    for piece in choice.pieces:
        found.setdefault(piece.point.repository, []).extend(piece.paths)
    return [asked.command(paths=tuple(paths), repository=name) for name, paths in found.items()]


def _plain(path: str) -> str:
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def plans(app: Application) -> list[BackupPlan]:
    return [plan for plan in app.plans.values() if isinstance(plan, BackupPlan)]


def repositories(app: Application) -> Mapping[str, Repository]:
    """Those that the plans use, and all others that the site declares."""
    found = dict(read_repositories(app.site)[0].good)
    for plan in plans(app):
        found |= plan.repositories
    return found


def source_of(app: Application, choice: Choice) -> Source:
    """How the server of the database is reached, as the plan says it now."""
    point = choice.pieces[0].point
    found = next((plan.sources.get(point.source) for plan in plans(app) if plan.name == point.plan), None)
    if found is None or not (found.postgresql or found.mysql):
        raise UsageError(
            f"{point.source} of plan {point.plan} is no source of databases now",
            hint="--to DIR brings its dump as a file.",
        )
    return found


def moment(text: str, zone: tzinfo, now: datetime) -> datetime:
    """A time as people write it; a date alone is its end, a time alone the last one that has been. Raises UsageError."""
    words = text.strip()
    with suppress(ValueError):
        alone = time.fromisoformat(words)
        if ":" in words and alone.tzinfo is None:
            here = now.astimezone(zone)
            found = datetime.combine(here.date(), alone, zone)
            found = found if found <= here else datetime.combine(here.date() - timedelta(days=1), alone, zone)
            return found.astimezone(UTC)
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        raise UsageError(
            f"--at {text!r} is no time.", hint="Write 02:10, 2026-11-20, 2026-11-20T04:00 or 2026-11-20T04:00Z."
        ) from None
    if len(words) == 10:
        found = found.replace(hour=23, minute=59, second=59, microsecond=999999)
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)
