"""`mainstay init`: a site that works, with comments; and what sudo has to allow."""

from __future__ import annotations

from pathlib import Path

import click

from mainstay.console.screen import Screen
from mainstay.console.verb import verb


@verb(
    help=(
        "Make a site in DIR. Overwrites nothing. --sudoers prints the rule that hosts need, --systemd the unit that runs "
        "mainstay serve on this machine for the site in DIR; both write nothing."
    )
)
@click.argument("directory", metavar="DIR", required=False, type=click.Path(path_type=Path))
@click.option("--sudoers", is_flag=True, help="Print what sudo has to allow on the hosts, and no more.")
@click.option("--systemd", is_flag=True, help="Print a unit file for mainstay serve, and what has to be there before.")
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="LOGIN",
    help="With --sudoers: for this login. With --systemd: who serves; mainstay where it is not given.",
)
@click.option("--grace", metavar="DURATION", help="With --systemd: how long steps in hand may take to end; 30s.")
def command(
    screen: Screen, directory: Path | None, sudoers: bool, systemd: bool, users: tuple[str, ...], grace: str | None
) -> int:
    from mainstay.console.render.spans import line
    from mainstay.inventory.errors import UsageError

    if sudoers and systemd:
        raise click.UsageError("--sudoers and --systemd are two different answers: ask for one.")
    if grace is not None and not systemd:
        raise click.UsageError("--grace goes with --systemd.")
    if sudoers:
        return _sudoers(screen, directory, users)
    if systemd:
        return _systemd(screen, directory, users, grace)
    if directory is None:
        raise UsageError("Say where: mainstay init DIR")
    from mainstay.console.templates import write_site

    files = write_site(directory)
    root = directory.expanduser().resolve()
    shown = [str(path.relative_to(root)) for path in files]
    lines = [line(f"  {path}") for path in shown]
    lines += [
        line(),
        line(f"A site in {directory}. Next:"),
        line(f"  write your hosts into {directory}/inventory/hosts.yml"),
        line(f"  mainstay --site {directory} hosts trust all     see their keys, and pin them"),
        line(f"  mainstay --site {directory} preview patch-web   see what would change; touches nothing"),
        line(f"  read {directory}/schedules/backup.yml: their backups begin there; then"),
        line(f"  mainstay --site {directory} repo init nightly   makes the repositories, only when asked"),
    ]
    screen.show(lambda: {"site": str(root), "files": shown}, lambda: lines)
    return 0


def _systemd(screen: Screen, directory: Path | None, users: tuple[str, ...], grace: str | None) -> int:
    from mainstay.console.bootstrap import site_folder
    from mainstay.console.service.unit import GRACE, program, unit
    from mainstay.inventory.amounts import seconds
    from mainstay.inventory.names import check_user
    from mainstay.inventory.site import load_site

    if len(users) > 1:
        raise click.UsageError("--systemd takes one --user: who serves.")
    user = users[0] if users else "mainstay"
    try:
        check_user(user)
        within = round(seconds(grace)) if grace is not None else GRACE
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    text = unit(load_site(site_folder(directory or screen.site_dir)), user=user, command=program(), grace=within)
    screen.show(lambda: {"unit": text}, list)
    if not screen.json:
        screen.raw(text)
    return 0


def _sudoers(screen: Screen, directory: Path | None, users: tuple[str, ...]) -> int:
    from mainstay.console.sudoers import rules
    from mainstay.inventory.names import check_user

    for user in users:
        try:
            check_user(user)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    names = users or _logins(directory or screen.site_dir) or ("mainstay",)
    text = rules(names)
    screen.show(lambda: {"sudoers": text}, list)
    if not screen.json:
        screen.raw(text)
    return 0


def _logins(directory: Path | None) -> tuple[str, ...]:
    """Who changes something on the site's hosts and isn't root; () where there is no site here."""
    from mainstay.console.bootstrap import site_folder
    from mainstay.inventory.errors import UsageError
    from mainstay.inventory.site import load_site

    try:
        folder = site_folder(directory)
    except UsageError:
        if directory is not None:
            raise
        return ()
    return tuple(sorted({host.ssh.user for host in load_site(folder).hosts} - {"root"}))
