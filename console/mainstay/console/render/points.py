"""Recovery points: how old, where, proved how; and what is not as it should be, first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo

from mainstay.console.backups import Backups
from mainstay.console.render import nights, opening, times
from mainstay.console.render.missed import looks
from mainstay.console.render.opening import When
from mainstay.console.render.spans import Line, Span, Style, line, span, verdict
from mainstay.console.render.table import Cell, table, wrap
from mainstay.inventory.value import Json
from mainstay.recovery.point import Proof, RecoveryPoint
from mainstay.recovery.standing import WORST_FIRST, Health, Standing, Trouble
from mainstay.recovery.words import sized
from mainstay.recovery.words import span as spell
from mainstay.runner.waves import natural

STYLE: dict[Health, Style] = {"well": "good", "look": "warn", "wrong": "bad", "unknown": "warn"}
NAMED = 5
"""Hosts that are named where many have the same trouble."""
OLDER = 1.25
"""Times the age of its proof from which on the age of the data is of interest."""
ROWS = 20
"""Sources up to which those that are well have a row each too."""
SHORT = 12
"""Characters of a point's id that are shown."""


def in_order(found: Iterable[Standing]) -> list[Standing]:
    """Those without any point first, then the worse first, then by host: web2 before web10."""
    return sorted(
        found,
        key=lambda one: (
            one.exposure.newest is not None,
            WORST_FIRST.index(one.health),
            natural(one.host),
            one.plan,
            one.source,
        ),
    )


def screen(
    found: Backups, columns: int, now: datetime, zone: ZoneInfo, *, missed: Sequence[str] = (), whole: bool = False
) -> list[Line]:
    """What `points` prints: whether the last backup ran and what can be restored, a row for each source of each host, and
    below it what is to be looked at. whole: also those that are well have a row each, however many they are."""
    if not found.plans:
        return [line("No plan backs anything up.")]
    if not found.standings:
        return [line("No backup plan targets these hosts: nothing of them is backed up.")]
    standings = in_order(found.standings)
    several = len({one.plan for one in standings}) > 1
    shown = standings if whole or len(standings) <= ROWS else [one for one in standings if one.health != "well"]
    cut = shown[:] if whole else shown[:ROWS]
    rest = [one for one in standings if one.health == "well"] if len(shown) < len(standings) else []
    rows = [_row(one, several) for one in cut]
    head = ("host", "source", "newest", "verdict", "size", "proved", "in")
    lines = [*nights.answers(found, now, zone, columns), line()]
    lines += table(rows, head=head, right=frozenset({2, 4}), columns=columns)
    lines += (
        [line(f"  {times.counted(len(shown) - len(cut), 'more source')} not well")] if len(cut) < len(shown) else []
    )
    lines += [nights.well(rest)] if rest else []
    troubles = [*(one for one in found.troubles), *(t for s in standings for t in s.troubles)]
    below = [*told(troubles, columns), *looks(missed)]
    lines += [line(), *below] if below else []
    listed = "   (mainstay points all lists each)" if len(cut) < len(standings) else ""
    return [*lines, line(_counts(standings) + listed)]


def _row(one: Standing, several: bool) -> list[Cell]:
    newest, exposure = one.exposure.newest, one.exposure
    host = f"{one.host} ({one.plan})" if several else one.host
    if newest is None:
        return [host, one.source, Span("none", "bad"), None, None, Span("never", "bad"), None]
    late = any(trouble.kind == "older than promised" for trouble in one.troubles)
    age = Span(f"{times.about(exposure.since_newest)} ago", "bad" if late else "")
    return [host, one.source, age, verdict(newest.verdict), sized(newest.bytes), _proved(one), _places(one)]


def _proved(one: Standing) -> Span:
    """`12 d ago, data 13 d old`: when a restore last did it, and how old what it proved is by now."""
    since, age = one.exposure.since_proof, one.exposure.since_proved
    if since is None:
        return Span("never", "warn" if one.prove_every is None else "bad")
    old = any(trouble.kind == "proved too long ago" for trouble in one.troubles)
    older = age is not None and age > since * OLDER
    data = f", data {times.about(age)} old" if older and times.about(age) != times.about(since) else ""
    since_then = ", failed since" if one.failed else ""
    return Span(f"{times.about(since)} ago{data}{since_then}", "warn" if old or one.failed else "")


def _places(one: Standing) -> str:
    return ", ".join(
        f"{place.repository} ({'nothing' if place.point is None else 'behind'})" if place.missing else place.repository
        for place in one.places
        if place.point is not None or place.missing
    )


def _counts(standings: Sequence[Standing]) -> str:
    counts = {word: sum(one.health == word for one in standings) for word in WORST_FIRST}
    said = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
    return f"{times.counted(len(standings), 'source')}: {said}"


def told(troubles: Iterable[Trouble], columns: int) -> list[Line]:
    """Worst first; the same of many hosts together."""
    alike: dict[tuple[Health, str, str, str], list[Trouble]] = {}
    for one in troubles:
        alike.setdefault((one.health, one.plan, one.kind, _for_all(one.hint)), []).append(one)
    rows: list[list[Cell]] = []
    for (health, plan, kind, _), mine in sorted(alike.items(), key=lambda one: WORST_FIRST.index(one[0][0])):
        rows.append([Span(health, STYLE[health]), plan, _together(kind, mine)])
    return table(rows, columns=columns)


def _together(kind: str, mine: Sequence[Trouble]) -> str:
    hosts = list(dict.fromkeys(one.host for one in mine if one.host))
    first = mine[0]
    if len(hosts) > 1:
        named = ", ".join(sorted(hosts, key=natural)[:NAMED])
        more = f" and {len(hosts) - NAMED} more" if len(hosts) > NAMED else ""
        said = f"{kind}: {len(hosts)} hosts ({named}{more})"
    else:
        sources = ", ".join(dict.fromkeys(one.source for one in mine if one.source))
        where = " ".join(part for part in (first.host, sources) if part)
        said = f"{where}: " if where else ""
        said += first.text if len({one.text for one in mine}) == 1 else kind
    hint = first.hint if len({one.hint for one in mine}) == 1 else _for_all(first.hint)
    return f"{said} → {hint}" if hint else said


def _for_all(hint: str) -> str:
    """A command that is meant for one host, for all of them."""
    return re.sub(r" --hosts? \S+", "", hint)


def every(points: Sequence[RecoveryPoint], proofs: Sequence[Proof], zone: tzinfo, columns: int) -> list[Line]:
    """What `points --all` prints below: every point, newest first within each host and source."""
    proved = {(one.repository, one.point): one for one in proofs}  # the newest comes last
    rows: list[list[Cell]] = []
    newest_first = points[::-1]
    for one in sorted(newest_first, key=lambda one: (natural(one.host), one.plan, one.unit)):
        proof = proved.get((one.repository, one.id))
        said = "–" if proof is None else f"{proof.verdict} {times.local(proof.at, zone, short=True)}"
        moment = times.local(one.at, zone, short=True)
        looks = _looks(one)
        id = f"{one.id[:SHORT]}{f': {looks}' if looks else ''}"
        rows.append([one.host, one.unit, moment, verdict(one.verdict), sized(one.bytes), one.repository, said, id])
    head = ("host", "source", "data of", "verdict", "size", "in", "proof", "id")
    return table(rows, head=head, right=frozenset({4}), columns=columns)


def _looks(one: RecoveryPoint) -> str:
    unread = f"{times.counted(one.unreadable, 'file')} unreadable" if one.unreadable else ""
    return "; ".join(part for part in (unread, *one.anomalies) if part)


def to_json(found: Backups) -> list[Json]:
    return [standing_json(one) for one in in_order(found.standings)]


def standing_json(one: Standing) -> Json:
    exposure = one.exposure
    return {
        "host": one.host,
        "plan": one.plan,
        "source": one.source,
        "health": one.health,
        "newest": point_json(exposure.newest),
        "exposure_seconds": exposure.since_newest,
        "promised_seconds": one.promised,
        "proved": point_json(exposure.proved),
        "proved_exposure_seconds": exposure.since_proved,
        "proof": proof_json(one.proof),
        "since_proof_seconds": exposure.since_proof,
        "failed_proof": proof_json(one.failed),
        "places": [
            {
                "repository": place.repository,
                "point": place.point.id if place.point else None,
                "at": place.point.at if place.point else None,
                "age_seconds": place.age,
                "missing": place.missing or None,
            }
            for place in one.places
        ],
        "anomalies": [
            {"point": odd.id, "run": odd.run, "at": odd.at, "anomalies": list(odd.anomalies)} for odd in one.anomalies
        ],
        "troubles": [trouble_json(trouble) for trouble in one.troubles],
    }


def trouble_json(one: Trouble) -> Json:
    return {
        "health": one.health,
        "kind": one.kind,
        "text": one.text,
        "hint": one.hint or None,
        "host": one.host or None,
        "plan": one.plan or None,
        "source": one.source or None,
    }


def point_json(one: RecoveryPoint | None) -> Json | None:
    if one is None:
        return None
    data = one.to_json()
    data["unit"] = one.unit
    return data


def proof_json(one: Proof | None) -> Json | None:
    return None if one is None else one.to_json()


# Of one host, in `why`.


def why(found: Backups, host: str, chances: Mapping[str, When], columns: int) -> list[Line]:
    """Its backups, one by one: how old, proved when and by what, and what keeps each from being well. chances: plan → when it
    may run next."""
    mine = found.of(host)
    if not mine:
        return wrap(f"{host}   backup: no plan backs it up.", indent="", columns=columns) if found.plans else []
    lines: list[Line] = []
    for one in mine:
        head = f"{one.host}   backup of {one.source} by {one.plan}: {_aged(one)}, {_proved_by(one)}"
        lines += _ended(head, one.health, columns)
        for trouble in one.troubles:
            lines += _because(trouble, columns)
    for trouble in found.troubles:
        if trouble.host in ("", host):
            lines += _because(trouble, columns)
    for plan in dict.fromkeys(one.plan for one in mine):
        chance = opening.head(chances[plan]) if plan in chances else "by hand alone, it has no window"
        lines += wrap(f"next chance of {plan}: {chance}", columns=columns)
    return lines


def why_json(found: Backups, host: str, chances: Mapping[str, When]) -> Json:
    """`backups` as in `points --json`, and `next_backups`: plan → when it opens next, null where it does not."""
    opens = {plan: when.coming.opening.starts_at if when.coming else None for plan, when in chances.items()}
    return {
        "backups": [standing_json(one) for one in in_order(found.of(host))],
        "backup_troubles": [trouble_json(one) for one in found.troubles if one.host in ("", host)],
        "next_backups": {plan: times.rfc3339(at) if at else None for plan, at in opens.items()},
    }


def _aged(one: Standing) -> str:
    age = one.exposure.since_newest
    where = [place.repository for place in one.places if place.point is not None and not place.missing]
    return "none yet" if age is None else f"{times.about(age)} old in {' and '.join(where) or 'no place in time'}"


def _proved_by(one: Standing) -> str:
    since = one.exposure.since_proof
    if since is None or one.proof is None:
        return "never proved" + ("" if one.prove_every is not None else " (the plan says prove: null)")
    scope = f": {one.proof.scope}" if one.proof.scope else ""
    left = f"; left out {', '.join(one.proof.left_out)}" if one.proof.left_out else ""
    where = "" if one.proof.machine == "controller" else f" on {one.proof.machine}"
    return f"proved {spell(since)} ago{where} (run {one.proof.run}{scope}{left})"


def _ended(head: str, health: Health, columns: int) -> list[Line]:
    rows = wrap(span(head).text, indent="", columns=columns - 10)
    return [*rows[:-1], (*rows[-1], Span("   "), Span(health, STYLE[health]))]


def _because(trouble: Trouble, columns: int) -> list[Line]:
    where = f"{trouble.source}: " if trouble.source else ""
    hint = f" → {trouble.hint}" if trouble.hint else ""
    rows = wrap(f"{where}{trouble.text}{hint}", indent="        ", columns=columns)
    return [(Span(f"  {trouble.health:<6}", STYLE[trouble.health]), Span(rows[0][0].text[8:])), *rows[1:]]
