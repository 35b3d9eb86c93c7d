"""Plans of a site's schedules/*.yml: from YAML to the models of plan.py, with every problem at its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mainstay.inventory.document import Spot
from mainstay.inventory.errors import ConfigError, Problem
from mainstay.inventory.host import Host
from mainstay.inventory.limits import Limits, doubts, reach
from mainstay.inventory.names import shown
from mainstay.inventory.secrets import plaintext_secrets
from mainstay.inventory.selectors import SelectorError, parse
from mainstay.inventory.site import Site
from mainstay.inventory.validation import check_keys, declared, did_you_mean, one_of, validate
from mainstay.runner.plan import Carefulness, Hook, PatchPlan, Plan

TOP = ("windows", "freezes", "calendars", "plans")
"""What a file of schedules/ may hold."""
LATER = ("restore", "drill", "playbook", "command")
_FILLED_IN = frozenset({"name", "source", "prove_first"})


def _as_written(data: Any, spot: Spot) -> Any:
    return data


def _as_read(plan: Any, spot: Spot, site: Site, errors: list[Problem], warnings: list[Problem]) -> Any:
    return plan


@dataclass(frozen=True, slots=True)
class PlanKind:
    """What the loader has to know of a kind of plan.

    written: what was written and where → what the model is made from. filled: keys of the model that no site writes.
    complete: the plan that is right by itself, its place, the site, errors and warnings to add to → the plan as it is used.
    """

    model: type[Plan]
    written: Callable[[Any, Spot], Any] = _as_written
    complete: Callable[[Any, Spot, Site, list[Problem], list[Problem]], Any] = _as_read
    filled: frozenset[str] = frozenset()


Kinds = Mapping[str, PlanKind]


def load_plans(site: Site, kinds: Kinds | None = None) -> dict[str, Plan]:
    """name → plan, in the order of the files. kinds: all that may be there; patch alone where not given. Raises ConfigError
    with all problems.

    What a plan asks for and mainstay can't do yet is not raised here: ask `unavailable`.
    """
    plans, errors, _ = read_plans(site, kinds or PATCH)
    if errors:
        raise ConfigError(errors)
    return plans


def read_plans(site: Site, kinds: Kinds, *, match: bool = True) -> tuple[dict[str, Plan], list[Problem], list[Problem]]:
    """The plans that are right, errors and warnings. match: whether targets have to match hosts (not, where the
    inventory itself could not be read whole)."""
    plans: dict[str, Plan] = {}
    errors: list[Problem] = []
    warnings: list[Problem] = []
    places: dict[str, Spot] = {}
    for document in site.documents:
        found: list[Problem] = []
        check_keys(document.spot(), TOP, found)
        for name, spot in declared(document.spot("plans"), "plan", found):
            if name in places:
                message = f"this plan is declared twice, first in {places[name].source}."
                found.append(spot.problem(message, on="key", hint="Keep one of the two."))
                continue
            places[name] = spot
            plan = _plan(name, spot, kinds, found)
            _check_selectors(spot, site, match, found, warnings)
            if plan is not None and match:
                warnings += _check_limits(spot, plan, site)
            if plan is not None:
                plans[name] = kinds[plan.kind].complete(plan, spot, site, found, warnings)
        plain = plaintext_secrets(document.spot())
        flagged = {problem.key for problem in plain}
        errors += [*plain, *(problem for problem in found if problem.key not in flagged)]
    return plans, errors, warnings


def declared_plans(site: Site) -> set[str]:
    """Names of all plans, also of those that are wrong."""
    found = (document.spot("plans").value for document in site.documents)
    return {str(name) for plans in found if isinstance(plans, dict) for name in plans}


def plan_spot(site: Site, name: str) -> Spot | None:
    """Where a plan is written."""
    for document in site.documents:
        spot = document.spot("plans", name)
        if spot.path in document.nodes:
            return spot
    return None


def unavailable(plan: Plan, site: Site | None = None) -> list[Problem]:
    """What the plan asks for and mainstay can't do yet. Nobody may run it while there is something: it is never ignored.

    With the site, the problems name the line of the key, otherwise that of the plan.
    """
    spot = plan_spot(site, plan.name) if site else None
    wanted: list[tuple[tuple[str | int, ...], str]] = []
    if plan.stage is not None and not isinstance(plan, PatchPlan):
        wanted.append((("stage",), "a download ahead of the window"))
    for word in ("before", "after"):
        hooks: tuple[Hook, ...] = getattr(plan, word)
        wanted += [((word,), "a playbook as hook") for hook in hooks if hook.playbook is not None]
    return [_not_yet(plan, spot, path, what) for path, what in wanted]


def _not_yet(plan: Plan, spot: Spot | None, path: tuple[str | int, ...], what: str) -> Problem:
    message = f"{what} is not available yet, and it is never ignored: the plan does not run."
    hint = "Use a command as hook." if "playbook" in what else f"Take {path[0]}: out of the plan to run it without."
    if spot is not None:
        return spot.at(*path).problem(message, on="key", hint=hint)
    file, _, line = plan.source.rpartition(":")
    key = ".".join(map(str, ("plans", plan.name, *path)))
    return Problem(message, file=file or None, line=int(line) if line.isdigit() else None, key=key, hint=hint)


def _plan(name: str, spot: Spot, kinds: Kinds, problems: list[Problem]) -> Plan | None:
    data = spot.value
    word = data.get("kind", "patch") if isinstance(data, dict) else "patch"
    kind = kinds.get(word) if isinstance(word, str) else None
    if kind is None:
        problems.append(_wrong_kind(word, spot.at("kind"), kinds))
        return None
    plan: Plan | None = validate(kind.model, kind.written(data, spot), spot, problems, own=_FILLED_IN | kind.filled)
    return plan.model_copy(update={"name": name, "source": spot.source}) if plan else None


def _wrong_kind(kind: Any, spot: Spot, kinds: Kinds) -> Problem:
    if kind in LATER:
        message = f"plans of the kind {kind} are not available yet, and none is ever ignored."
        return spot.problem(message, hint="Take the plan out, or keep it in a file outside schedules/ until then.")
    if kind == "rollback":
        return spot.problem("a rollback is no plan.", hint="It is asked for by hand: mainstay rollback RUN")
    hint = did_you_mean(str(kind), (*kinds, *LATER)) or f"Known here: {one_of((*kinds, *LATER))}."
    return spot.problem(f"{shown(kind)} is no kind of plan.", hint=hint)


def _with_versions(data: Any, spot: Spot) -> Any:
    """The plan with versions as the text that was written: `1.10` is not 1.1."""
    updates = data.get("updates") if isinstance(data, dict) else None
    packages = updates.get("packages") if isinstance(updates, dict) else None
    if not isinstance(data, dict) or not isinstance(updates, dict) or not isinstance(packages, dict):
        return data
    texts = {name: spot.at("updates", "packages", name).text or value for name, value in packages.items()}
    return {**data, "updates": {**updates, "packages": texts}}


PATCH: Kinds = {"patch": PlanKind(PatchPlan, written=_with_versions)}


def _check_limits(spot: Spot, plan: Plan, site: Site) -> Iterator[Problem]:
    try:
        targets = parse(plan.targets)
    except SelectorError:
        return  # told elsewhere
    hosts = [host for host in site.hosts if targets.matches(host)]
    yield from doubts(spot.at("spread"), plan.spread, hosts, plan=True)
    yield from _unreached(spot, plan, site.limits, hosts)


def _unreached(spot: Spot, plan: Carefulness, limits: Limits, hosts: Sequence[Host]) -> Iterator[Problem]:
    """A `parallel` that was written down and can't be reached. spot: of the plan. hosts: its targets."""
    at = spot.at("parallel")
    if at.value is None or not hosts:
        return
    wanted = min(plan.parallel, len(hosts))
    reasons = [("limits.parallel of the site", limits.parallel or wanted)]
    for words, spread in (("limits.spread of the site", limits.spread), ("spread", plan.spread)):
        reasons += [(f"{words}: {tag}: {most}", reach(hosts, [{tag: most}])) for tag, most in spread.items()]
    why, most = min(reasons, key=lambda reason: reason[1])
    if most < wanted:
        yield at.problem(f"can't be reached: at most {most} of its {len(hosts)} hosts at once, because of {why}.")


def _check_selectors(spot: Spot, site: Site, match: bool, errors: list[Problem], warnings: list[Problem]) -> None:
    """Also of a plan that is wrong elsewhere, so that it is mended in one go."""
    waves = spot.at("waves").value
    listed = [spot.at("waves", number, "select") for number in range(len(waves) if isinstance(waves, list) else 0)]
    for at, needed in ((spot.at("targets"), True), *((select, False) for select in listed)):
        text = at.value
        if not isinstance(text, str):
            continue
        try:
            selector = parse(text)
        except SelectorError as error:
            errors.append(at.problem(error.fault, hint=error.hint, offset=(error.column or 1) - 1))
            continue
        if not match:
            continue
        doubts = selector.doubts(site.hosts, site.groups)
        if any(selector.matches(host) for host in site.hosts):
            warnings += [at.problem(d.message, hint=d.hint, offset=d.column - 1) for d in doubts]
            continue
        because = f": {doubts[0].message}" if doubts else ""
        hint = next((doubt.hint for doubt in doubts if doubt.hint), "See what there is: mainstay hosts")
        problem = at.problem(f"matches no host{because}.", hint=hint, offset=doubts[0].column - 1 if doubts else None)
        (errors if needed else warnings).append(problem)
