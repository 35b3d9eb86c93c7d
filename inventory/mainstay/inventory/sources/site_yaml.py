"""Hosts and groups written in the site itself: inventory/*.yml."""

from __future__ import annotations

from typing import Any

from mainstay.inventory.document import Document, Spot
from mainstay.inventory.errors import Problem
from mainstay.inventory.names import address_of, check_name, check_tag, shown
from mainstay.inventory.secrets import plaintext_secrets
from mainstay.inventory.settings import GroupEntry, HostEntry, InventoryFile, SshSettings
from mainstay.inventory.sources.contract import GroupRecord, HostRecord, Records
from mainstay.inventory.validation import did_you_mean, one_of, validate

LATER = ("ansible", "ssh_config", "ec2")
"""Sources that are planned: known words, so that nobody takes them for a slip of the pen."""


class SiteYaml:
    """One file of the inventory."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._problems: list[Problem] = []

    @property
    def name(self) -> str:
        return self._document.file

    def load(self) -> Records:
        self._problems = plaintext_secrets(self._document.spot())
        flagged = {problem.key for problem in self._problems}
        top = self._document.spot()
        if not isinstance(top.value, dict):
            return Records(problems=(top.problem("has to be a mapping with hosts:, groups: or sources:"),))
        for key in top.value:
            if key not in InventoryFile.model_fields:
                hint = did_you_mean(key, InventoryFile.model_fields) or "Known here: groups, hosts, sources."
                self._problems.append(top.at(key).problem("unknown key.", on="key", hint=hint))
        hosts = {name: self._host(name, spot) for name, spot in self._entries("hosts")}
        groups = {name: self._group(name, spot) for name, spot in self._entries("groups")}
        self._sources(top.at("sources"))
        # a secret in plain text is told once, as that
        first = len(flagged)
        rest = [problem for problem in self._problems[first:] if problem.key not in flagged]
        return Records(
            tuple(host for host in hosts.values() if host),
            tuple(group for group in groups.values() if group),
            (*self._problems[:first], *rest),
            frozenset(name for entries in (hosts, groups) for name, entry in entries.items() if entry is None),
        )

    def _entries(self, word: str) -> list[tuple[str, Spot]]:
        spot = self._document.spot(word)
        if spot.value is None:
            return []
        if not isinstance(spot.value, dict):
            self._problems.append(spot.problem("has to be a mapping: name: {…}"))
            return []
        return [(name, spot.at(name)) for name in spot.value]

    def _host(self, name: str, spot: Spot) -> HostRecord | None:
        if not self._named(name, spot, "host"):
            return None
        entry = validate(HostEntry, self._with_tags(spot), spot, self._problems)
        if entry is None:
            return None
        try:
            address, note = address_of(entry.address or name)
        except ValueError as error:
            hint = "Give it an address: beside its name."
            self._problems.append(spot.problem(str(error), on="key", hint=hint))
            return None
        settings = SshSettings(**_settings(entry))
        said = (entry.groups, entry.tags, entry.controller, entry.timezone, note)
        return HostRecord(name, address, spot, settings, *said)

    def _group(self, name: str, spot: Spot) -> GroupRecord | None:
        if name != "all" and not self._named(name, spot, "group"):
            return None
        entry = validate(GroupEntry, self._with_tags(spot), spot, self._problems)
        if entry is None:
            return None
        if name == "all" and (entry.hosts or entry.groups or entry.selector is not None):
            self._problems.append(
                spot.problem("holds every host anyway: only tags, timezone and ssh settings here", on="key")
            )
            return None
        settings = SshSettings(**_settings(entry))
        members = (entry.hosts, entry.groups, entry.selector)
        return GroupRecord(name, spot, *members, entry.tags, settings, entry.timezone)

    def _named(self, name: str, spot: Spot, what: str) -> bool:
        try:
            check_name(name, what)
        except ValueError as error:
            self._problems.append(spot.problem(str(error), on="key"))
            return False
        return True

    def _with_tags(self, spot: Spot) -> Any:
        """The entry with its tags as the text that was written: `1.10` is not 1.1, `yes` not true."""
        data = spot.value
        tags = data.get("tags") if isinstance(data, dict) else None
        if not isinstance(tags, dict):
            return data
        texts: dict[str, str] = {}
        for key in tags:
            text = spot.at("tags", key).text
            try:
                if text is None:
                    raise ValueError("a tag has one value, a text")
                check_tag(key, text)
            except ValueError as error:
                self._problems.append(spot.at("tags", key).problem(str(error)))
            else:
                texts[key] = text
        return {**data, "tags": texts}

    def _sources(self, spot: Spot) -> None:
        listed = spot.value
        if listed is None:
            return
        if not isinstance(listed, list):
            self._problems.append(spot.problem("has to be a list"))
            return
        for index, entry in enumerate(listed):
            at = spot.at(index)
            if not isinstance(entry, dict) or len(entry) != 1:
                self._problems.append(at.problem(f"has to be one source, for example {LATER[0]}: PATH"))
                continue
            word = next(iter(entry))
            if word in LATER:
                hint = "Write these hosts in inventory/*.yml until then."
                self._problems.append(at.at(word).problem("this source is not available yet.", on="key", hint=hint))
            else:
                message = f"{shown(word)} is no source of hosts."
                hint = did_you_mean(word, LATER) or f"Known here: {one_of(LATER)}."
                self._problems.append(at.at(word).problem(message, on="key", hint=hint))


def _settings(entry: SshSettings) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in SshSettings.model_fields}
