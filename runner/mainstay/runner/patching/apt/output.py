"""What a detached apt-get printed: how it ended, how far it is, what it kept. Pure; the bytes are hostile."""

from __future__ import annotations

import re

from mainstay.inventory.redaction import redact
from mainstay.runner.operation import Outcome
from mainstay.runner.patching.apt import parse

_STEP = re.compile(rb"^(Unpacking|Setting up|Removing|Preparing to unpack) ([a-z0-9][a-z0-9+.-]*)", re.M)
_KEPT = re.compile(
    r"^Configuration file '(/[^'\n]+)'\n(?: .*\n){0,6}?"
    r" ==> (?:Keeping old config file as default|Using current old file as you requested)\.",
    re.M,
)
_FAILED = re.compile(r"^dpkg: error processing (?:package|archive) (\S+) \((\S+)\):\n((?: .*\n?)*)", re.M)
REFUSED_EXITS = {71: "the set could not be installed any more", 72: "the set had changed on the host"}


def text(data: bytes) -> str:
    """Without control characters and secrets, so that it may be shown."""
    decoded = data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
    return redact("".join(c for c in decoded if c in "\n\t" or c.isprintable()))


def outcome(exit: int | None, output: bytes) -> Outcome:
    if exit == 0:
        return Outcome(ok=True)
    if exit is None:
        return Outcome(ok=False, unknown=True, detail="how it ended is not known")
    printed = text(output)
    if exit in REFUSED_EXITS:
        lines = [line for line in printed.splitlines() if line.startswith(("mainstay: not meant", "E: "))]
        return Outcome(ok=False, detail="; ".join([f"nothing was installed: {REFUSED_EXITS[exit]}", *lines])[:600])
    failed = [
        f"{match[1]}: {match[3].strip().replace(chr(10), ' ') or match[2]}" for match in _FAILED.finditer(printed)
    ]
    return Outcome(ok=False, detail=("; ".join(dict.fromkeys(failed)) or parse.error(printed))[:600])


def progress(output: bytes, total: int) -> str:
    """`12 of 20  libssl3`: packages that are set up (or gone), and the one in hand."""
    done: set[bytes] = set()
    last = b""
    for match in _STEP.finditer(output):
        last = match[2]
        if match[1] in (b"Setting up", b"Removing"):
            done.add(match[2])
    if not last:
        return ""
    return f"{min(len(done), total)} of {total}  {last.decode('ascii')}"


def kept(output: bytes) -> tuple[str, ...]:
    """Configuration files of which the old version was kept although the package brings another."""
    return tuple(dict.fromkeys(_KEPT.findall(text(output))))
