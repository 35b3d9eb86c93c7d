"""The unit file of `mainstay serve` (systemd.service(5), systemd.exec(5)), for one site and one installation."""

from __future__ import annotations

import pwd
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from mainstay.inventory.errors import UsageError
from mainstay.inventory.names import check_user, shown
from mainstay.inventory.postgres import is_postgres
from mainstay.inventory.secrets import check_reference, is_reference, reference_path
from mainstay.inventory.site import Site
from mainstay.recovery.loading import backup_references
from mainstay.recovery.repositories import read_repositories
from mainstay.recovery.repository import HOST
from mainstay.runner.plans import read_plans
from mainstay.schedules.kinds import kinds

HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""What ProtectHome= hides."""
LIBRARY = Path("/var/lib")
CREDENTIALS = Path("/etc/credstore")
ENVIRONMENT = Path("/etc/mainstay/environment")
GRACE = 30
PARTING = 60
"""Seconds beside the grace that an end may take: notices and seals on their way are given 40 and 10."""
_PLAIN = re.compile(r"[A-Za-z0-9_./:@,+=-]+", re.ASCII)


def word(text: str) -> str:
    """One word of a setting that takes words, whatever is in it: quotes, blanks, backslashes and `%` are escaped by the
    rules of systemd.syntax(7) and systemd.unit(5). In ExecStart= it takes a `:` before the command, or `$` is expanded.

    Raises UsageError for what no unit file can hold: a line break, another control character, what is not UTF-8.
    """
    _check(text)
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return escaped if _PLAIN.fullmatch(text) else f'"{escaped}"'


def rest(text: str) -> str:
    """What stands unquoted up to the end of the line, as the path of LoadCredential= does. Raises UsageError, see `word`;
    also for a blank at either end and a backslash at the end, which can't be kept there."""
    _check(text)
    if text != text.strip() or text.endswith("\\"):
        raise UsageError(f"{shown(text)} can't stand in a unit file", hint="Give it a name without blanks at its ends.")
    return text.replace("%", "%%")


def _check(text: str) -> None:
    if not text.isprintable() or not text:
        raise UsageError(f"{shown(text)} can't stand in a unit file", hint="Give it a name without control characters.")


def program() -> tuple[str, ...]:
    """How this very installation is started."""
    beside = Path(sys.executable).parent / "mainstay"
    code = "from mainstay.console import main; main()"
    return (str(beside),) if beside.is_file() else (sys.executable, "-c", code)


def unit(site: Site, *, user: str, command: Sequence[str], grace: int = GRACE) -> str:
    """The text of the unit. user: who it runs as. command: the program, absolute, as `program` gives it.

    Raises UsageError where a path can't stand in a unit file.
    """
    check_user(user)
    argv = [*command, "serve", "--site", str(site.root), "--grace", f"{grace}s", "--when-lost", "exit"]
    template = (files("mainstay.console.templates") / "systemd" / "mainstay.service").read_text(encoding="utf-8")
    return template.format(
        before="\n".join(f"# {line}" for line in ["Before its first start, as root:", *preparations(site, user)]),
        site=rest(site.name),
        user=user,
        command=" ".join(word(one) for one in argv),
        grace=grace,
        stop=grace + PARTING,
        more="\n".join(_places(site)),
        home=_home(site, command[0]),
    )


def _places(site: Site) -> Iterator[str]:
    """Where it may write, and what it is given."""
    state = state_folder(site)
    if state.parent == LIBRARY:
        yield f"StateDirectory={word(state.name)}"
        yield "StateDirectoryMode=0700"
    written = [] if state.parent == LIBRARY else [state]
    for folder in dict.fromkeys([*written, *_beside(site)]):
        yield f"ReadWritePaths={word(str(folder))}"
    for name in _named(site, "systemd"):
        yield f"LoadCredential={name}:{rest(str(CREDENTIALS / name))}"
    if any(_named(site, "env")):
        yield f"EnvironmentFile={word(str(ENVIRONMENT))}"


def _beside(site: Site) -> Iterator[Path]:
    """Folders that it writes to beside its state."""
    yield from ((site.root / Path(place.file).expanduser()).parent for place in site.anchors if place.file)
    if site.feed:
        yield site.feed.parent
    for repository in read_repositories(site)[0].good.values():
        if repository.kind == "path":
            before, host, _ = repository.url.partition(HOST)
            yield Path(before) if not host or before.endswith("/") else Path(before).parent


def preparations(site: Site, user: str) -> list[str]:
    """What has to be there before it can start, as commands for a shell, for what is not there yet."""
    found = []
    account = _account(user)
    if account is None:
        found.append(f"useradd --system --user-group --home-dir / --shell /usr/sbin/nologin {shlex.quote(user)}")
    owned = shlex.quote(user)
    state = state_folder(site)
    if state.parent != LIBRARY and (account is None or _owner(state) != account.pw_uid):
        quoted = shlex.quote(str(state))
        found.append(f"install -d -m 0700 {quoted} && chown -R {owned}: {quoted}")
    for folder in dict.fromkeys(_beside(site)):
        if not folder.is_dir():  # systemd starts nothing whose writable folders are not there
            quoted = shlex.quote(str(folder))
            found.append(f"install -d {quoted} && chown {owned}: {quoted}")
    for path in _files(site):
        if account is None or _owner(path) != account.pw_uid:
            found.append(f"chown {owned} {shlex.quote(str(path))} && chmod 0600 {shlex.quote(str(path))}")
    for name in _named(site, "systemd"):
        if not (CREDENTIALS / name).exists():
            found.append(f"install -D -m 0600 /dev/stdin {shlex.quote(str(CREDENTIALS / name))}   # the secret itself")
    names = list(_named(site, "env"))
    if names:
        lines = " ".join(f"{name}=…" for name in names)
        found.append(f"install -D -m 0600 /dev/stdin {ENVIRONMENT}   # a line each: {lines}")
    for line in found:
        _check(line)
    return found or ["nothing: all that it needs is there"]


def state_folder(site: Site) -> Path:
    """What of the state lies on this machine."""
    if is_postgres(site.state_url):
        return site.state_dir
    return Path(site.state_url.removeprefix("sqlite:///")).parent


def _named(site: Site, kind: str) -> Iterator[str]:
    """The names behind `kind:` of all that the site refers to, each once."""
    wanted = (reference.partition(":") for reference in _references(site))
    yield from dict.fromkeys(name for found, _, name in wanted if found == kind)


def _files(site: Site) -> list[Path]:
    """Keys and secrets in files, each once."""
    paths = [reference_path(reference, site.root) for reference in _references(site)]
    return list(dict.fromkeys(path for path in paths if path is not None))


def _references(site: Site) -> Iterator[str]:
    """Of the settings, of plans, windows and freezes (a plan's `ping`, a calendar's password), and of repositories: whatever is
    written as one there; where it is none after all, what is handed over or asked for in vain is only a name."""
    yield from (reference for reference, _ in site.references)
    for document in site.documents:
        yield from _written(document.data)
    repositories, _ = read_repositories(site)
    plans, _, _ = read_plans(site, kinds(repositories))
    yield from (reference for reference, _ in backup_references(site, plans, repositories))


def _written(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for one in value.values():
            yield from _written(one)
    elif isinstance(value, list):
        for one in value:
            yield from _written(one)
    elif isinstance(value, str) and is_reference(value):
        with suppress(ValueError):
            yield check_reference(value)


def _home(site: Site, program: str) -> str:
    """Homes are hidden where nothing in them is needed, and otherwise only read."""
    needed = [site.root, state_folder(site), Path(program), Path(program).resolve(), site.known_hosts, *_files(site)]
    needed += _beside(site)  # of a home that is hidden nothing can be written either
    in_homes = any(path.is_relative_to(home) for path in needed for home in HOMES)
    return "read-only" if in_homes else "yes"


def _account(user: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        return None


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None
