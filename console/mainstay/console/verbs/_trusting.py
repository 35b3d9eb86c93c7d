"""Pinning host keys: shown first, then pinned; a changed one only on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mainstay.console.interruptible import interruptible
from mainstay.console.render.spans import Span, line, span
from mainstay.console.render.table import Cell, table
from mainstay.console.screen import Screen
from mainstay.inventory.errors import MainstayError
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.runner.shell.parallel import for_each
from mainstay.runner.shell.pins import HostKey, Pins, compare

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application

PARALLEL = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """One host: pinned and offered keys, or why there are none to offer."""

    host: Host
    pinned: tuple[HostKey, ...]
    offered: tuple[HostKey, ...] = ()
    error: MainstayError | None = None

    @property
    def state(self) -> str:
        if self.error is not None:
            return "failed"
        return compare(self.pinned, self.offered)


def trust_hosts(screen: Screen, selector: str, source: Path | None, *, replace: bool) -> int:
    from mainstay.console import bootstrap

    with bootstrap.load(screen.site_dir) as app:
        pins = app.pins
        findings = _find(app, pins, selector, source)
        wanted = [one for one in findings if one.state == "new" or (one.state == "changed" and replace)]
        if not screen.json:
            screen.answer(_lines(findings, screen.columns, replace=replace))
        done: dict[str, str] = {}
        if wanted and screen.confirm(f"Pin {_counted(wanted)}?"):
            for one in wanted:
                pins.pin(one.host, one.offered, replace=replace)
                done[one.host.name] = "replaced" if one.pinned else "pinned"
            screen.say(f"Pinned {_counted(wanted)} in {pins.path}.")
        elif wanted:
            screen.say("Nothing was pinned.")
    if screen.json:
        screen.data([_json(one, done) for one in findings])
    if any(one.state == "changed" for one in findings) and not replace:
        return 4
    return 1 if any(one.state == "failed" for one in findings) or len(done) < len(wanted) else 0


def _find(app: Application, pins: Pins, selector: str, source: Path | None) -> list[Finding]:
    hosts = app.select(selector)
    pinned = {host.name: pins.keys(host) for host in hosts}
    if source is not None:
        known = Pins(source)
        found = {host.name: known.keys(host) for host in hosts}
        missing = MainstayError("its key is not in that file")
        return [
            Finding(host, pinned[host.name], found[host.name], None if found[host.name] else missing) for host in hosts
        ]
    answers = interruptible(lambda: for_each(hosts, app.scan, parallel=PARALLEL))
    findings = []
    for host in hosts:
        answer = answers[host.name]
        if isinstance(answer, MainstayError):
            findings.append(Finding(host, pinned[host.name], error=answer))
        else:
            findings.append(Finding(host, pinned[host.name], answer))
    return findings


def _lines(findings: list[Finding], columns: int, *, replace: bool) -> list[tuple[Span, ...]]:
    rows: list[list[Cell]] = []
    for one in findings:
        if one.error is not None:
            rows.append([one.host.name, Span("failed", "bad"), getattr(one.error, "plain", one.error.message)])
            continue
        word = {"new": Span("new"), "changed": Span("changed", "bad"), "pinned": Span("pinned", "good")}[one.state]
        for key in one.offered:
            rows.append([one.host.name, word, f"{key.type} {key.fingerprint}"])
        if one.state == "changed":
            since = next((key.pinned for key in one.pinned if key.pinned), "")
            was = ", ".join(key.fingerprint for key in one.pinned)
            rows.append(["", span("was"), f"{was}{f' since {since}' if since else ''}"])
    lines = table(rows, columns=columns)
    if any(one.state == "changed" for one in findings) and not replace:
        lines.append(line("A changed key is pinned only with --replace. Was the machine rebuilt? Ask before you do."))
    if any(one.state == "new" for one in findings):
        lines.append(
            line("Compare with what the machine itself says: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
        )
    return lines


def _json(one: Finding, done: dict[str, str]) -> Json:
    return {
        "host": one.host.name,
        "state": done.get(one.host.name, one.state),
        "offered": [{"type": key.type, "fingerprint": key.fingerprint} for key in one.offered],
        "was": [{"type": key.type, "fingerprint": key.fingerprint, "pinned": key.pinned or None} for key in one.pinned],
        "error": one.error.message if one.error else None,
    }


def _counted(findings: list[Finding]) -> str:
    return f"the key of {findings[0].host.name}" if len(findings) == 1 else f"the keys of {len(findings)} hosts"
