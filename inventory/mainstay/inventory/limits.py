"""How many hosts may be in flight together: in the whole site, and with the same value of a tag (a failure domain)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, Field

from mainstay.inventory.document import Spot
from mainstay.inventory.errors import Problem
from mainstay.inventory.host import Host
from mainstay.inventory.names import RESERVED_TAGS, check_tag, shown
from mainstay.inventory.validation import did_you_mean
from mainstay.inventory.value import Value


def _tag(name: str) -> str:
    if name in RESERVED_TAGS:
        raise ValueError(f"{shown(name)} is no tag: hosts are spread over the values of one (rack, zone)")
    check_tag(name, "")
    return name


Most = Annotated[int, Field(ge=1, le=100_000)]
Spread = dict[Annotated[str, AfterValidator(_tag)], Most]
"""tag → how many hosts with the same value of it may be in flight together. A host without the tag is in no such domain."""


class Limits(Value):
    """Of a whole site, over all its runs."""

    parallel: Most | None = None
    spread: Spread = {}


def reach(hosts: Iterable[Host], spreads: Iterable[Mapping[str, int]]) -> int:
    """How many of these hosts can be in flight together at the most under these spreads, each taken by itself."""
    hosts = list(hosts)
    most = len(hosts)
    for spread in spreads:
        for tag, each in spread.items():
            sizes: dict[str | None, int] = {}
            for host in hosts:
                value = host.tags.get(tag)
                sizes[value] = sizes.get(value, 0) + 1
            most = min(most, sum(size if value is None else min(size, each) for value, size in sizes.items()))
    return most


def doubts(spot: Spot, spread: Mapping[str, int], hosts: Sequence[Host], plan: bool) -> Iterator[Problem]:
    """Warnings for tags that nobody has; in a plan also for those that not all of its hosts have (in a whole site they
    need not). spot: where the spread stands."""
    whose = "the plan" if plan else "the site"
    known = {tag for host in hosts for tag in host.tags}
    for tag in spread:
        without = [host.name for host in hosts if tag not in host.tags]
        if not hosts or not without:
            continue
        at = spot.at(tag)
        if tag not in known:
            hint = did_you_mean(tag, known) or "Hosts get their tags in inventory/*.yml."
            yield at.problem(f"no host of {whose} has the tag {tag}: nothing is limited by it.", on="key", hint=hint)
            continue
        if not plan:
            continue
        who = without[0] if len(without) == 1 else f"{without[0]} and {len(without) - 1} more"
        they = "has no tag {0}, and is" if len(without) == 1 else "have no tag {0}, and are"
        yield at.problem(f"{who} of {whose} {they.format(tag)} not limited by it.", on="key")
