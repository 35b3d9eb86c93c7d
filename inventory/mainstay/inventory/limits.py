"""How many hosts may be in flight together: in the whole site, and with the same value of a tag (a failure domain)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from mainstay.inventory.host import Host
from mainstay.inventory.names import RESERVED_TAGS, check_tag, shown
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
