"""The controller: its programs, the site, the state, the ledger, secrets and keys."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from mainstay.console.bootstrap import Application
from mainstay.console.doctor import calendars, keeping, notices
from mainstay.console.doctor.finding import Finding, Health
from mainstay.console.render.ledger import lag_in_words
from mainstay.console.render.times import counted, size
from mainstay.inventory.errors import MainstayError
from mainstay.inventory.redaction import MASK, SHORTEST
from mainstay.inventory.stamp import stamp
from mainstay.runner.plans import unavailable

LEAST_FREE, LITTLE_FREE = 200 * 10**6, 2 * 10**9
"""Bytes. A run of a hundred hosts keeps some 100 MB of output and captured packages."""
ON_THE_STATE = ("ledger", "anchors", "runs", "serve", "notices", "calendars")
"""Where it can't be opened they would say the same again, each after the same wait."""


def examine(app: Application) -> Iterator[Finding]:
    """Everything about the controller. A part that can't be looked at is a finding, and the rest goes on."""
    parts: list[tuple[str, Callable[[Application], Iterator[Finding]]]] = [
        ("versions", _versions),
        ("site", _site),
        ("secrets", _secrets),
        ("known hosts", _known_hosts),
        ("state", _state),
        ("ledger", _ledger),
        ("anchors", _anchors),
        ("runs", _runs),
        ("serve", keeping.examine),
        ("notices", notices.examine),
        ("calendars", calendars.examine),
    ]
    unopened = False
    for topic, look in parts:
        if unopened and topic in ON_THE_STATE:
            yield _finding(topic, "unknown", "not looked at: the state can't be opened")
            continue
        try:
            yield from look(app)
        except MainstayError as error:
            unopened = unopened or topic == "state"
            yield _finding(topic, "wrong", error.message, error.hint)
        except OSError as error:
            yield _finding(topic, "unknown", f"{error.filename or topic}: {error.strerror}")


def _finding(topic: str, health: Health, message: str, hint: str | None = None) -> Finding:
    return Finding(subject="controller", topic=topic, health=health, message=message, hint=hint)


def _versions(app: Application) -> Iterator[Finding]:
    from mainstay.runner.engine.adapters.sqlite_place import check_library

    told = f"mainstay {version('mainstay')}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    check_library()
    yield _finding("versions", "well", told)
    if sys.prefix == sys.base_prefix and os.geteuid() == 0:
        yield _finding("versions", "look", "runs as root from the system's Python", "A venv and a user of its own do.")


def _site(app: Application) -> Iterator[Finding]:
    site = app.site
    hosts, plans = counted(len(site.hosts), "host"), counted(len(app.plans), "plan")
    yield _finding("site", "well", f"{site.name} in {site.root}: {hosts}, {plans}, zone {site.timezone}")
    for problem in app.warnings:
        yield _finding("site", "look", str(problem))
    for plan in app.plans.values():
        for problem in unavailable(plan, site):
            yield _finding("site", "wrong", str(problem))
    commit, dirty = stamp(site.root)
    if commit is None:
        hint = "git init, and commit it: records name the commit that they ran with."
        yield _finding("site", "look", "is not in git", hint)
    elif dirty:
        yield _finding("site", "look", f"differs from commit {commit[:12]}", "Commit what is meant to stay.")


def _secrets(app: Application) -> Iterator[Finding]:
    own = {reference for reference, _ in app.site.references}
    for reference in sorted(own):
        yield _secret(app, reference) or _finding("secrets", "well", f"{reference} can be had")
    # A password for each host: what is well with them is one line.
    of_backups = {reference for reference, _ in app.loaded.references} - own
    found = [_secret(app, reference) for reference in sorted(of_backups)]
    yield from (one for one in found if one is not None)
    if well := found.count(None):
        yield _finding("secrets", "well", f"{counted(well, 'secret')} of backups can be had")


def _secret(app: Application, reference: str) -> Finding | None:
    """What is to be said of it; None where all is well."""
    try:
        secret = app.secrets.resolve(reference)
    except MainstayError as error:
        return _finding("secrets", "wrong", error.message, error.hint)
    if len(secret.reveal().strip()) < SHORTEST:
        hint = f"One of {SHORTEST} characters or more is replaced by {MASK} wherever it is printed."
        return _finding("secrets", "look", f"{reference} is too short to be kept out of logs and records", hint)
    return None


def _known_hosts(app: Application) -> Iterator[Finding]:
    path = app.site.known_hosts
    if not path.exists():
        yield _finding("known hosts", "wrong", f"{path} is not there", "Pin keys: mainstay hosts trust all")
        return
    if stat.S_IMODE(path.stat().st_mode) & 0o022:
        yield _finding("known hosts", "wrong", f"{path} can be written by others", f"chmod go-w {path}")
    missing = [host.name for host in app.site.hosts if not app.pins.keys(host)]
    pinned = len(app.site.hosts) - len(missing)
    health: Health = "look" if missing else "well"
    yield _finding("known hosts", health, f"{path}: {pinned} of {counted(len(app.site.hosts), 'host')} pinned")


def _state(app: Application) -> Iterator[Finding]:
    directory = app.stores.directory
    yield _finding("state", "well", f"{directory}, id {app.state.id}")
    yield from _roles(app)
    open_to_others = [path for path in _ours(directory) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_to_others:
        named = ", ".join(path.name or str(path) for path in open_to_others[:3])
        hint = f"chmod -R go-rwx {directory}"
        yield _finding("state", "wrong", f"others can get at {named} in {directory}", hint)
    yield _disk(directory)


def _roles(app: Application) -> Iterator[Finding]:
    """Who may do what to the ledger, where the database knows roles."""
    if app.stores.database.dialect != "postgresql":
        return
    from mainstay.runner.state.adapters.rights import HINT, rights

    weakness = rights(app.stores.database).weakness()
    told = f"{app.stores.database.name}: adds records, and can't change one"
    yield _finding("database", "look", weakness, HINT) if weakness else _finding("database", "well", told)


def _ours(directory: Path) -> list[Path]:
    return [directory, *sorted(path for path in directory.iterdir() if not path.is_symlink())]


def _disk(directory: Path) -> Finding:
    free = shutil.disk_usage(directory).free
    message, hint = f"{size(free)} free for {directory}", "Make room; captured packages and outputs lie in artifacts/."
    if free < LEAST_FREE:
        return _finding("disk", "wrong", message, hint)
    return _finding("disk", "look", message, hint) if free < LITTLE_FREE else _finding("disk", "well", message)


def _ledger(app: Application) -> Iterator[Finding]:
    app.stores.guard()
    findings = app.ledger.verify()
    for found in findings:
        hint = "Find out who wrote to the state. A sound copy comes back with mainstay state restore."
        yield _finding("ledger", "wrong", f"{found.kind}: {found.message}", hint)
    if not findings:
        seq, _ = app.ledger.head()
        yield _finding("ledger", "well", f"{counted(seq, 'record')}, unbroken and at its anchor")


def _anchors(app: Application) -> Iterator[Finding]:
    compared = app.ledger.compare()  # brings what is left as well, so that the lags are those that stay
    lags = {lag.name: lag for lag in app.ledger.courier.lags()}
    for said in compared:
        for found in said.findings:
            hint = "Find out who wrote to the state, or to the anchor. A sound copy comes back with mainstay state restore."
            yield _finding("anchors", "wrong", f"{found.kind}: {found.message}", hint)
        if said.error:
            yield _finding("anchors", "unknown", said.error, said.hint)
        if lags[said.name].behind:
            hint = "It is delivered when the anchor answers again: by the next run, records verify or doctor."
            yield _finding("anchors", "wrong", lag_in_words(lags[said.name], app.zone), hint)
        elif not said.error and not said.findings:
            yield _finding("anchors", "well", f"{said.name}: has seen {counted(said.reached, 'record')}")


def _runs(app: Application) -> Iterator[Finding]:
    rows = app.state.runs(in_flight=True)
    for run in sorted(app.left_behind([row.id for row in rows])):
        hint = f"mainstay runs resume {run}"
        yield _finding("runs", "wrong", f"run {run} is unfinished and no process works on it", hint)
