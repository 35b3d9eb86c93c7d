"""Which updates are taken, and why each of the others is left. Pure policy, the same for every package manager."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from mainstay.inventory.value import Value
from mainstay.runner.operation import LeftOut
from mainstay.runner.patching.contract import Offer, Upgradable
from mainstay.runner.plan import Updates

Compare = Callable[[str, str], int]
Sightings = Mapping[tuple[str, str], str]


class Choice(Value):
    """One package that is taken. security: what it is taken for closes a security hole."""

    name: str
    version: str
    security: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    choices: tuple[Choice, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class Age:
    """since: RFC 3339 UTC, None where nobody knows. by: who says so."""

    since: str | None
    by: str

    def seconds(self, now: float) -> float | None:
        return None if self.since is None else now - instant(self.since)


def instant(stamp: str) -> float:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a package (its name with or without the architecture) is meant by one of the patterns."""
    return any(fnmatchcase(name, pattern) or fnmatchcase(name.split(":")[0], pattern) for pattern in patterns)


def select(
    upgradable: Sequence[Upgradable], updates: Updates, sightings: Sightings, now: float, compare: Compare
) -> Selection:
    """Every upgradable package ends in exactly one choice, one or more reasons, or both (an older version is taken
    while the newest is too young)."""
    choices: list[Choice] = []
    left: list[LeftOut] = []
    for package in sorted(upgradable, key=lambda one: one.name):
        choice, reasons = _one(package, updates, sightings, now, compare)
        if choice:
            choices.append(choice)
        left += reasons
    return Selection(tuple(choices), tuple(left))


def _one(
    package: Upgradable, updates: Updates, sightings: Sightings, now: float, compare: Compare
) -> tuple[Choice | None, list[LeftOut]]:
    newest = package.offers[0]

    def left(reason: str, detail: str, offer: Offer = newest, until: str | None = None) -> LeftOut:
        return LeftOut(item=package.name, version=offer.version, reason=reason, detail=detail, until=until)

    wanted = updates.packages.get(package.name)
    if package.held:
        return None, [left("held", "held on the host; someone has to decide to let it go")]
    if updates.only and not matches(package.name, updates.only) and wanted is None:
        return None, [left("excluded", "the plan takes other packages only")]
    if matches(package.name, updates.exclude):
        return None, [left("excluded", "the plan excludes it")]
    if wanted is not None:
        return _wanted(package, wanted, compare, left)
    if package.candidate is None or compare(package.candidate, package.installed) <= 0:
        return None, [left("pinned", "the host's own preferences keep it at " + (package.candidate or "nothing newer"))]
    offers = [offer for offer in package.offers if compare(offer.version, package.candidate) <= 0]
    if not offers:
        return None, [left("pinned", f"the host's own preferences allow nothing above {package.candidate}")]
    return _offered(package, offers, updates, sightings, now, compare, left)


def _wanted(
    package: Upgradable, wanted: str, compare: Compare, left: Callable[..., LeftOut]
) -> tuple[Choice | None, list[LeftOut]]:
    order = compare(wanted, package.installed)
    if order < 0:
        return None, [left("newer", f"{package.installed} is installed, newer than the {wanted} that the plan wants")]
    if order == 0:
        return None, [left("excluded", f"the plan wants just the version that is installed, {wanted}")]
    offer = next((offer for offer in package.offers if offer.version == wanted), None)
    return Choice(name=package.name, version=wanted, security=bool(offer and offer.security)), []


def _offered(
    package: Upgradable,
    offers: Sequence[Offer],
    updates: Updates,
    sightings: Sightings,
    now: float,
    compare: Compare,
    left: Callable[..., LeftOut],
) -> tuple[Choice | None, list[LeftOut]]:
    """The newest offer that every rule lets through. With `security`, a fix below a newer version of another pocket is
    still one: the choice is lowered to it."""
    reasons: list[LeftOut] = []
    if updates.select == "security":
        fixes = [offer for offer in offers if offer.security]
        if not fixes:
            return None, [left("not-security", "no security update", offers[0])]
        offers = fixes
    for offer in offers:
        if offer.phased is not None and (reason := _phased(package, offer, updates)):
            reasons.append(left("phased", reason, offer))
            continue
        if young := _young(package, offer, updates, sightings, now, compare):
            reasons.append(left("too-young", young[0], offer, young[1]))
            continue
        back = not package.taken and offer.version == package.candidate and offer.phased is None
        if back and not updates.allow_remove:
            detail = "the package manager keeps it back: it needs something removed or not installable"
            return None, [*reasons, left("kept-back", detail, offer)]
        fix = offer.security or any(one.security and compare(one.version, offer.version) <= 0 for one in package.offers)
        return Choice(name=package.name, version=offer.version, security=fix), reasons
    return None, reasons


def _phased(package: Upgradable, offer: Offer, updates: Updates) -> str:
    if updates.phased == "take":
        return ""
    if updates.phased == "skip":
        return f"phased update, {offer.phased} %; the plan waits until it is for all"
    # Whose turn it is, apt has reckoned from the machine id
    return "" if package.taken else f"phased update, {offer.phased} %, not this host's turn"


def age(package: Upgradable, offer: Offer, sightings: Sightings, compare: Compare, min_age: float) -> Age:
    """When the version was there first: the earlier of our own sighting and what the repository dates.

    A security fix that replaces another within min_age is as old as the oldest fix that is still open: otherwise a busy
    package would never be old enough.
    """
    own = _first(package.name, offer, sightings)
    if not offer.security:
        return own
    stamps = {version: stamp for (name, version), stamp in sightings.items() if name == package.name}
    for other in package.offers:
        first = _first(package.name, other, sightings).since
        if first and other.security:
            stamps[other.version] = first
    between = [(v, s) for v, s in stamps.items() if compare(package.installed, v) < 0 < compare(offer.version, v)]
    for version, stamp in sorted(between, key=lambda pair: instant(pair[1]), reverse=True):
        if own.since is None or 0 <= instant(own.since) - instant(stamp) < min_age:
            own = Age(stamp, f"{version}, which it replaces, first seen by mainstay")
    return own


def _first(name: str, offer: Offer, sightings: Sightings) -> Age:
    seen = sightings.get((name, offer.version))
    if offer.dated and (seen is None or instant(offer.dated) <= instant(seen)):
        return Age(offer.dated, offer.dated_by or "dated by the repository")
    return Age(seen, "first seen by mainstay" if seen else "never seen before")


def _young(
    package: Upgradable, offer: Offer, updates: Updates, sightings: Sightings, now: float, compare: Compare
) -> tuple[str, str | None] | None:
    """(sentence, until when) where the version is too young."""
    if not updates.min_age or matches(package.name, updates.min_age_except):
        return None
    found = age(package, offer, sightings, compare, updates.min_age)
    old = found.seconds(now)
    asks = f"plan asks {span(updates.min_age)}"
    if old is None:
        return f"{found.by}, {asks}", rfc3339(now + updates.min_age)
    if old >= updates.min_age:
        return None
    assert found.since, "an age in seconds has a beginning"
    return f"{span(max(0.0, old))} old ({found.by} {found.since[:10]}), {asks}", rfc3339(
        instant(found.since) + updates.min_age
    )


def span(seconds: float) -> str:
    """The largest unit in which it is at least one: `2 d`, `5 h`, `12 min`."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
