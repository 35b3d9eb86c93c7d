"""`repositories:` of a site's recovery/*.yml: from YAML to the models of repository.py, with every problem at its place."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from mainstay.inventory.document import Spot
from mainstay.inventory.errors import Problem
from mainstay.inventory.secrets import plaintext_secrets
from mainstay.inventory.site import Site
from mainstay.inventory.validation import check_keys, declared, validate
from mainstay.recovery.repository import HOST, Repository

TOP = ("repositories",)
"""What a file of recovery/ may hold."""
_FILLED_IN = frozenset({"name", "source"})


@dataclass(frozen=True, slots=True)
class Repositories:
    """Those of a site by name. places: where each is written, also of those that are wrong."""

    good: Mapping[str, Repository] = field(default_factory=dict)
    places: Mapping[str, Spot] = field(default_factory=dict)


def read_repositories(site: Site) -> tuple[Repositories, list[Problem]]:
    """Those that are right, and all errors."""
    good: dict[str, Repository] = {}
    places: dict[str, Spot] = {}
    errors: list[Problem] = []
    for document in site.recovery:
        found: list[Problem] = []
        check_keys(document.spot(), TOP, found)
        for name, spot in declared(document.spot("repositories"), "repository", found):
            if name in places:
                message = f"this repository is declared twice, first in {places[name].source}."
                found.append(spot.problem(message, on="key", hint="Keep one of the two."))
                continue
            places[name] = spot
            repository = validate(Repository, spot.value, spot, found, own=_FILLED_IN)
            if repository is not None:
                good[name] = repository.model_copy(update={"name": name, "source": spot.source})
        plain = plaintext_secrets(document.spot())
        flagged = {problem.key for problem in plain}
        errors += [*plain, *(problem for problem in found if problem.key not in flagged)]
    errors += _same_place(good, places)
    errors += _same_secret(good, places)
    return Repositories(good, places), errors


def readable(repository: Repository, hosts: Collection[str]) -> str:
    """Who of the hosts that keep their backups there can read whom, in words; empty where nobody can read another."""
    if len(hosts) < 2 or repository.per_host:
        return ""
    who = named(hosts)
    if HOST not in repository.url:
        return f"{who} keep their backups in one repository, and each can read what the others keep"
    return f"{who} have one password, and each that gets at another's repository can read it"


def named(hosts: Collection[str]) -> str:
    """`web1, web2 and 3 more`."""
    listed = sorted(hosts)
    if len(listed) <= 4:
        return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)
    return f"{', '.join(listed[:3])} and {len(listed) - 3} more"


def references(repository: Repository, spot: Spot, hosts: Collection[str]) -> Iterator[tuple[str, Spot]]:
    """Every secret that these hosts' backups there need, and where it is written."""
    for host in sorted(hosts):
        yield repository.password.replace(HOST, host), spot.at("password")
        for word, login in (("write", repository.write), ("maintain", repository.maintain)):
            if login is not None:
                yield login.password.replace(HOST, host), spot.at(word, "password")
    if repository.key:
        yield f"file:{repository.key}", spot.at("key")


def _same_place(good: Mapping[str, Repository], places: Mapping[str, Spot]) -> Iterator[Problem]:
    """Two names for one place: its limits would hold for neither, and a copy from one to the other would be none."""
    first: dict[str, str] = {}
    for name, repository in good.items():
        other = first.setdefault(repository.url.rstrip("/"), name)
        if other != name:
            hint = "Keep one of the two, or give it a place of its own."
            yield places[name].at("url").problem(f"is the same place as {other}.", hint=hint)


def _same_secret(good: Mapping[str, Repository], places: Mapping[str, Spot]) -> Iterator[Problem]:
    """What hosts hold for one repository must not be what may remove from another."""
    removing = {one.maintain.password: name for name, one in good.items() if one.maintain}
    for name, repository in good.items():
        other = removing.get(repository.write.password) if repository.write else None
        if other is not None and other != name:
            message = f"is what may remove from {other} (its maintain:)."
            hint = "Take another login; hosts hold this one."
            yield places[name].at("write", "password").problem(message, hint=hint)
