"""Services that were up before and are not after. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase

from mainstay.inventory.facts import Facts

NOT_MISSED: tuple[tuple[str, str], ...] = (
    ("user@*.service", "belongs to somebody's login, and goes with it"),
    ("user-runtime-dir@*.service", "belongs to somebody's login, and goes with it"),
    ("session-*", "belongs to somebody's login, and goes with it"),
    ("getty@*.service", "a login prompt; it comes and goes with the terminal"),
    ("serial-getty@*.service", "a login prompt; it comes and goes with the terminal"),
    ("autovt@*.service", "a login prompt; it comes and goes with the terminal"),
    ("container-getty@*.service", "a login prompt; it comes and goes with the terminal"),
    ("console-getty.service", "a login prompt; it comes and goes with the terminal"),
    ("run-*.service", "started by systemd-run for one command; it ends with it"),
    ("mainstay-*.service", "our own jobs"),
    ("systemd-ask-password-*.service", "runs only while a password is asked for"),
    ("systemd-fsckd.service", "runs at boot, and ends when nothing is left to check"),
    ("systemd-hostnamed.service", "started when asked, ends when idle"),
    ("systemd-localed.service", "started when asked, ends when idle"),
    ("systemd-timedated.service", "started when asked, ends when idle"),
    ("packagekit.service", "started when asked, ends when idle"),
    ("polkit.service", "started when asked; some versions end when idle"),
    ("fwupd.service", "started when asked, ends when idle"),
    ("udisks2.service", "started when asked where no desktop runs"),
    ("apt-daily*.service", "a task that runs and ends"),
    ("unattended-upgrades.service", "fenced while we work"),
    ("dnf-*.service", "a task that runs and ends"),
    ("fstrim.service", "a task that runs and ends"),
    ("logrotate.service", "a task that runs and ends"),
    ("man-db.service", "a task that runs and ends"),
    ("dpkg-db-backup.service", "a task that runs and ends"),
    ("systemd-tmpfiles-clean.service", "a task that runs and ends"),
    ("e2scrub*.service", "a task that runs and ends"),
    ("*@*-*-*:*.service", "one connection of a socket that starts a service for each (sshd@, inetd's way)"),
)
"""Patterns of services whose end says nothing, each with why."""


def services_baseline(facts: Facts) -> tuple[str, ...]:
    """Services that run and have to be there afterwards. One-shot ones that did their work are not among the facts'."""
    return tuple(unit for unit in facts.active_services if not _not_missed(unit))


def services_lost(before: Facts, after: Facts) -> list[str]:
    """Services that ran before and don't after. Where `after` could not list them, nothing is known: see Facts.unknown."""
    if "units" in after.unknown or "units" in before.unknown:
        return []
    return sorted(set(services_baseline(before)) - set(after.active_services))


def newly_failed(before: Facts, after: Facts) -> list[str]:
    """Units of any kind that failed since."""
    return sorted(set(after.failed_units) - set(before.failed_units))


def _not_missed(unit: str) -> bool:
    return any(fnmatchcase(unit, pattern) for pattern, _ in NOT_MISSED)
