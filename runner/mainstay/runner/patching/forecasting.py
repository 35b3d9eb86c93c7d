"""The forecast of a patch on one host: reads only, without root, without a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from mainstay.inventory.facts import Facts
from mainstay.runner.operation import Forecast, LeftOut, Look
from mainstay.runner.patching.change import Change, PackageChange
from mainstay.runner.patching.contract import Captured, PackageManager, Planned, Survey
from mainstay.runner.patching.selection import Choice, matches, select
from mainstay.runner.patching.settling import Bounds, Settled, settle
from mainstay.runner.plan import Updates

REBOOT = (
    *("linux-image-*", "linux-modules-*", "libc6", "systemd", "libsystemd0", "dbus", "dbus-daemon", "udev"),
    *("*-microcode", "linux-firmware", "firmware-*"),
)
"""Packages after which a running system goes on with old code until it boots."""


def forecast(
    look: Look, updates: Updates, manager: PackageManager, captured: Captured, fingerprint: Callable[[Change], str]
) -> Forecast:
    try:
        return _forecast(look, updates, manager, captured, fingerprint)
    finally:
        manager.done(look.shell)


def _forecast(
    look: Look, updates: Updates, manager: PackageManager, captured: Captured, fingerprint: Callable[[Change], str]
) -> Forecast:
    survey = manager.survey(
        look.shell, phased=updates.phased, allow_new=updates.allow_new, dates=bool(updates.min_age), keep=True
    )
    if survey.problem:
        return refused(f"{survey.problem}" + (f" ({survey.hint})" if survey.hint else ""), manager)
    chosen = select(survey.upgradable, updates, look.sightings, look.now, manager.compare)
    settled = settle(
        chosen.choices,
        Bounds.of(updates, chosen.left_out, manager.compare),
        lambda wants, rights: manager.simulate(look.shell, wants, rights, real=False),
        lambda wants, rights: manager.simulate_each(look.shell, wants, rights, real=False),
    )
    left = tuple(sorted((*chosen.left_out, *settled.left_out), key=lambda one: (one.item, one.version or "")))
    items = items_of(settled.planned, chosen.choices)
    change = Change(manager=manager.name, items=items, left_out=left)
    irreversible = _irreversible(items, survey, captured)
    blocked = look.blocked(fingerprint(change)) if items else None
    return Forecast(
        change=change.to_json(),
        count=len(items),
        reversible=len(items) - len(irreversible),
        items=tuple((item.name, item.before or "", item.after or "") for item in items),
        irreversible=irreversible,
        left_out=_with_blocked(left, items, blocked),
        reboot=_reboot(items, look.facts),
        download_bytes=_bytes(items),
        seen=tuple((one.name, offer.version) for one in survey.upgradable for offer in one.offers),
        notes=(*survey.notes, *_absent(updates, survey)),
        refused=_refusal(settled, blocked),
    )


def refused(why: str, manager: PackageManager) -> Forecast:
    return Forecast(change=Change(manager=manager.name).to_json(), count=0, reversible=0, refused=why)


def items_of(planned: Sequence[Planned], choices: Sequence[Choice]) -> tuple[PackageChange, ...]:
    """The closure as changes, sorted by name."""
    chosen: Mapping[str, Choice] = {choice.name: choice for choice in choices}
    items = [
        PackageChange(
            name=one.name,
            arch=one.arch,
            before=one.before,
            after=one.after,
            sha256=one.sha256,
            size=one.size,
            security=one.security or (one.name in chosen and chosen[one.name].security),
            dependency=one.name not in chosen,
            # what came because another needed it may go when nothing needs it any more
            auto=True if one.before is None else None,
            origin=one.origin,
        )
        for one in planned
    ]
    return tuple(sorted(items, key=lambda item: item.name))


def _irreversible(items: Sequence[PackageChange], survey: Survey, captured: Captured) -> tuple[tuple[str, str], ...]:
    where = {one.name: one.obtainable for one in survey.upgradable}
    arch = {one.name: one.arch for one in survey.installed}
    found = []
    for item in items:
        if item.before is None or where.get(item.name, "missing") != "missing":
            continue
        if captured(item.name, item.before, arch.get(item.name, item.arch)) is None:
            why = (
                f"{item.before} is in no repository and not captured yet; it would be rebuilt from its installed files"
            )
            found.append((item.name, why))
    return tuple(found)


def _reboot(items: Sequence[PackageChange], facts: Facts) -> Literal["no", "likely", "unknown"]:
    return "likely" if facts.reboot_required or any(matches(item.name, REBOOT) for item in items) else "no"


def _bytes(items: Sequence[PackageChange]) -> int | None:
    sizes = [item.size for item in items if item.after]
    return None if any(size is None for size in sizes) else sum(size or 0 for size in sizes)


def _absent(updates: Updates, survey: Survey) -> list[str]:
    here = {one.name for one in survey.installed}
    return [f"{name} is not installed here, so it is not taken" for name in updates.packages if name not in here]


def _with_blocked(left: tuple[LeftOut, ...], items: Sequence[PackageChange], run: str | None) -> tuple[LeftOut, ...]:
    if run is None:
        return left
    detail = f"run {run} was rolled back with just this set here; --retry tries it again"
    barred = (LeftOut(item=one.name, version=one.after, reason="blocked", detail=detail) for one in items)
    return (*left, *barred)


def _refusal(settled: Settled, blocked: str | None) -> str:
    if settled.refused:
        return f"no set of updates is possible: {settled.refused}"
    return f"run {blocked} was rolled back with just this set here (--retry tries it again)" if blocked else ""
