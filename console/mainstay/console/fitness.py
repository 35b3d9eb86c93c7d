"""Whether this machine can do its part of a run that was asked for elsewhere: secrets, keys and pins are its own."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from mainstay.console.render.times import counted
from mainstay.inventory.document import Key, Spot
from mainstay.inventory.errors import ConfigError, MainstayError, Problem, Refused
from mainstay.inventory.host import Host
from mainstay.inventory.site import check_files
from mainstay.runner.request import RunRequest

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application


def check(app: Application) -> list[Host]:
    """Before a worker takes anything. Raises ConfigError where a secret that the site names can't be had here: a host
    that is half done is not to fall to a machine that can't go on with it. Raises Refused where the state is another
    site's. Returns the hosts whose key is not pinned here: they will be refused."""
    of_backups = list(_worth_a_try(app.loaded.references))
    problems: list[Problem] = check_files(app.site, of_backups)
    told = {(problem.file, problem.line, problem.column) for problem in problems}
    for reference, spot in (*app.site.references, *of_backups):
        try:
            app.secrets.resolve(reference)
        except MainstayError as error:
            problem = spot.problem(error.message, hint=error.hint)
            if (problem.file, problem.line, problem.column) not in told:
                problems.append(problem)
    if problems:
        raise ConfigError(problems)
    for row in app.state.runs(in_flight=True):
        name = row.request.get("site_name")
        if name and name != app.site.name:
            message = (
                f"the state holds a run of the site {name} ({row.id}), and this folder is the site {app.site.name}"
            )
            raise Refused(message, hint="One state belongs to one site: see state: and site: in mainstay.yml.")
    return [host for host in app.site.hosts if not app.pins.keys(host)]


def _worth_a_try(references: Iterable[tuple[str, Spot]]) -> Iterator[tuple[str, Spot]]:
    """Of each place in the site all files, but one command: a thousand hosts would be a thousand commands."""
    tried: set[tuple[str, Key]] = set()
    for reference, spot in references:
        place = (spot.document.file, spot.path)
        if place not in tried or not reference.startswith("command:"):
            tried.add(place)
            yield reference, spot


def why_not(app: Application, request: RunRequest, host: Host) -> str:
    """Why this machine must not begin with the host; empty where it may. Contacts nobody."""
    try:
        against = _against(app, request, host)
    except MainstayError as error:
        against = error.message
    return f"this worker ({platform.node()}) can't: {against}" if against else ""


def _against(app: Application, request: RunRequest, host: Host) -> str:
    if request.site_name and request.site_name != app.site.name:
        return f"it works from the site {app.site.name}, and the run is of {request.site_name}"
    for reference in (host.ssh.key, host.ssh.passphrase, host.ssh.become.password):
        if reference:
            app.secrets.resolve(reference)
    seen: list[str] = []
    on_the_way: Host | None = host
    while on_the_way is not None and on_the_way.name not in seen:
        seen.append(on_the_way.name)
        if not app.pins.keys(on_the_way):
            return f"no key of {on_the_way.name} is pinned here"
        name = on_the_way.ssh.jump
        on_the_way = app.site.inventory.host(name) if name else None
        if name and on_the_way is None:
            return f"its folder knows no host {name}, the jump host to {seen[-1]}"
    return ""


def folderless(app: Application) -> str:
    """`2 repositories are folders that this machine does not have: /srv/restic/web1 …`; empty where it has all that there are."""
    from mainstay.console.vaults import absent

    if not (missing := absent(app)):
        return ""
    said = "repository is a folder" if len(missing) == 1 else "repositories are folders"
    names = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
    return f"{len(missing):,} {said} that this machine does not have: {names}"


def unpinned(hosts: list[Host]) -> str:
    """`3 hosts have no pinned key here: web1, web2 …`"""
    names = ", ".join(host.name for host in hosts[:5]) + (" …" if len(hosts) > 5 else "")
    return f"{counted(len(hosts), 'host')} without a pinned key here: {names}"
