"""Groups: who is in them, which stand in which, and what they give to their hosts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from mainstay.inventory.errors import Problem
from mainstay.inventory.host import Host
from mainstay.inventory.names import shown
from mainstay.inventory.selectors import Compare, Joined, Named, Node, Not, Selector, SelectorError, parse
from mainstay.inventory.sources.contract import GroupRecord, HostRecord
from mainstay.inventory.validation import did_you_mean
from mainstay.inventory.value import Json


class Groups:
    """Adds what is wrong to `errors` and goes on with what is right."""

    def __init__(
        self,
        groups: list[GroupRecord],
        hosts: Mapping[str, HostRecord],
        errors: list[Problem],
        warnings: list[Problem],
        unread: frozenset[str] = frozenset(),
    ) -> None:
        self._errors, self._warnings, self._unread = errors, warnings, unread
        self._records = self._unique(groups, hosts)
        self._children = self._trees()
        depths = self._depths()
        self._order = sorted(self._records, key=lambda name: (depths[name], name))
        self._direct = self._named_members(hosts)
        self._selected(hosts)
        self._of: dict[str, tuple[str, ...]] = self._closed(hosts)
        self._said = {name: record.settings.said() for name, record in self._records.items()}

    def of(self, host: str) -> tuple[str, ...]:
        """Names of the groups that a host is in, parents included, sorted."""
        return tuple(sorted(self._of.get(host, ())))

    def members(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {name: [] for name in self._order if name != "all"}
        for host, groups in sorted(self._of.items()):
            for group in groups:
                found[group].append(host)
        return {name: tuple(hosts) for name, hosts in sorted(found.items())}

    def settings_of(self, host: str) -> list[Json]:
        """Layers, the weakest first."""
        return [self._said[name] for name in self._layers(host)]

    def tags_of(self, host: str) -> dict[str, str]:
        tags: dict[str, str] = {}
        for name in self._layers(host):
            tags.update(self._records[name].tags)
        return tags

    def timezone_of(self, host: str) -> str | None:
        """What the strongest of its groups says that says anything."""
        said = (self._records[name].timezone for name in reversed(self._layers(host)))
        return next((zone for zone in said if zone is not None), None)

    def _layers(self, host: str) -> list[str]:
        first = ["all"] if "all" in self._records else []
        return first + list(self._of.get(host, ()))

    def _unique(self, groups: list[GroupRecord], hosts: Mapping[str, HostRecord]) -> dict[str, GroupRecord]:
        records: dict[str, GroupRecord] = {}
        for record in groups:
            if record.name in hosts:
                place = hosts[record.name].spot.source
                message = f"a host has the same name ({place}): a selector could not tell them apart"
                self._errors.append(record.spot.problem(message, on="key"))
            elif record.name in records:
                message = f"this group is declared twice, first in {records[record.name].spot.source}."
                self._errors.append(record.spot.problem(message, on="key", hint="Keep one of the two."))
            else:
                records[record.name] = record
        return records

    def _trees(self) -> dict[str, tuple[str, ...]]:
        """Group → groups in it, without unknown ones and without cycles."""
        children: dict[str, tuple[str, ...]] = {}
        for record in self._records.values():
            known = []
            for index, child in enumerate(record.groups):
                if child in self._records and child != "all":
                    known.append(child)
                elif child not in self._unread:
                    spot = record.spot.at("groups", index)
                    spot = spot if spot.text is not None else record.spot.at("groups")
                    self._errors.append(spot.problem(f"there is no group {shown(child)}.", hint=self._near(child)))
            children[record.name] = tuple(known)
        for name in sorted(children):
            way = self._cycle(name, children)
            if way:
                message = f"groups can't hold themselves: {' → '.join(way)}"
                self._errors.append(self._records[name].spot.at("groups").problem(message, on="key"))
                children[name] = ()
        return children

    def _near(self, name: str) -> str:
        return did_you_mean(name, self._records) or "Declare it under groups:."

    @staticmethod
    def _cycle(start: str, children: Mapping[str, tuple[str, ...]]) -> list[str] | None:
        way, seen = [(start, iter(children[start]))], set()
        while way:
            child = next(way[-1][1], None)
            if child == start:
                return [name for name, _ in way] + [start]
            if child is None:
                way.pop()
            elif child not in seen:
                seen.add(child)
                way.append((child, iter(children[child])))
        return None

    def _depths(self) -> dict[str, int]:
        """Length of the longest way down to each group from one that is in no other."""
        depths = dict.fromkeys(self._records, 0)
        for _ in self._records:
            before = dict(depths)
            for parent, below in self._children.items():
                for child in below:
                    depths[child] = max(depths[child], depths[parent] + 1)
            if depths == before:
                break
        return depths

    def _named_members(self, hosts: Mapping[str, HostRecord]) -> dict[str, set[str]]:
        direct: dict[str, set[str]] = defaultdict(set)
        for host in hosts.values():
            for index, name in enumerate(host.groups):
                if name in self._records and name != "all":
                    direct[host.name].add(name)
                elif name != "all" and name not in self._unread:
                    spot = host.spot.at("groups", index)
                    spot = spot if spot.text is not None else host.spot.at("groups")
                    self._errors.append(spot.problem(f"there is no group {shown(name)}.", hint=self._near(name)))
        for group in self._records.values():
            for index, name in enumerate(group.hosts):
                if name in hosts:
                    direct[name].add(group.name)
                elif name not in self._unread:
                    spot = group.spot.at("hosts", index)
                    spot = spot if spot.text is not None else group.spot.at("hosts")
                    self._errors.append(
                        spot.problem(f"there is no host {shown(name)}.", hint=did_you_mean(name, hosts))
                    )
        return direct

    def _selected(self, hosts: Mapping[str, HostRecord]) -> None:
        """A group's selector sees names, addresses, hosts' own tags and the groups that name their hosts."""
        closed = self._closed(hosts)
        plain = [
            Host(name=host.name, address=host.address, tags=host.tags, groups=closed.get(host.name, ()))
            for host in hosts.values()
        ]
        for record in self._records.values():
            if record.selector is None:
                continue
            selector = self._selector(record)
            if selector is None:
                continue
            picked = [host.name for host in plain if selector.matches(host)]
            if not picked:
                self._warnings.append(record.spot.at("selector").problem("picks no host", on="key"))
            for name in picked:
                self._direct[name].add(record.name)

    def _selector(self, record: GroupRecord) -> Selector | None:
        spot = record.spot.at("selector")
        try:
            selector = parse(record.selector or "")
        except SelectorError as error:
            offset = (error.column or 1) - 1
            self._errors.append(spot.problem(error.fault, hint=error.hint, offset=offset))
            return None
        made = {name for name, other in self._records.items() if other.selector is not None}
        for name in _groups_named(selector.node):
            if name in made:
                message = f'names the group "{name}", which is made by a selector itself'
                self._errors.append(spot.problem(message, hint="Write that group's condition here."))
                return None
        return selector

    def _closed(self, hosts: Mapping[str, HostRecord]) -> dict[str, tuple[str, ...]]:
        """Host → all its groups with their parents, the weakest first."""
        parents: dict[str, set[str]] = defaultdict(set)
        for name in self._order:
            for child in self._children[name]:
                parents[child] |= {name} | parents[name]
        rank = {name: index for index, name in enumerate(self._order)}
        return {
            host: tuple(sorted({up for name in groups for up in (name, *parents[name])}, key=rank.__getitem__))
            for host, groups in self._direct.items()
            if host in hosts
        }


def _groups_named(node: Node) -> Iterator[str]:
    if isinstance(node, Joined):
        for part in node.parts:
            yield from _groups_named(part)
    elif isinstance(node, Not):
        yield from _groups_named(node.inner)
    elif isinstance(node, Named):
        yield node.value.text
    elif isinstance(node, Compare) and node.attribute == "group":
        yield from (value.text for value in node.values)
