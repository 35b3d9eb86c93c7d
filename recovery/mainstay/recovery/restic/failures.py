"""Which error a restic process that did not go well stands for. Pure."""

from __future__ import annotations

import re

from mainstay.recovery.repository import Access
from mainstay.recovery.restic.contract import (
    Damaged,
    Locked,
    NoRepository,
    NotRemoved,
    Partial,
    ResticError,
    Stopped,
    Unreachable,
    WrongPassword,
)
from mainstay.recovery.restic.exits import meaning
from mainstay.recovery.restic.messages import Said
from mainstay.recovery.restic.version import Version
from mainstay.runner.shell.printable import printable

_REFUSED = re.compile(r"\b403\b|Forbidden|AccessDenied|Access Denied|blob-removal is not allowed", re.IGNORECASE)
_AWAY = re.compile(
    r"connection refused|connection reset|no route to host|network is unreachable|i/o timeout|no such host|timed out"
    r"|\b401\b|Unauthorized|InvalidAccessKeyId|SignatureDoesNotMatch|Access Key Id you provided|tls: |x509:"
    r"|unable to start the sftp session|Host key verification failed|Permission denied \(|server misbehaving"
    r"|\b50[0234]\b|circuit breaker|EOF$",
    re.IGNORECASE,
)
_DAMAGED = re.compile(
    r"does not match|invalid data returned|ciphertext verification failed|wrong hash|pack .{1,80} contains"
    r"|repository contains errors|not found in index|id .{1,80} not found in repository"
    r"|load\(<.{1,80}\): .*hash mismatch|unexpected EOF",
    re.IGNORECASE,
)


_RETRY = re.compile(
    r"returned error, retrying after (?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)(ms|µs|ns|s))?: (.*)", re.DOTALL
)
_STACK = re.compile(r"\s*(?:[\w./()*]+\.[\w.()*]+|[\w./@-]+\.(?:go|s):\d+(?: \+0x[0-9a-f]+)?)$", re.ASCII)
"""A line of Go's stack, which restic 0.19 ends what it says with: `runtime.main`, `runtime/proc.go:258`."""
_SSH = re.compile(r"subprocess ssh: (?:ssh: )?(.+)")
_UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


def retry(line: str) -> tuple[float, str] | None:
    """(seconds that restic is going to wait, why), of a line that says that it will try something again. It does so for a
    quarter of an hour, whatever the reason, and has no option that says otherwise."""
    found = _RETRY.search(line)
    if not found:
        return None
    hours, minutes, amount, unit, why = found.groups()
    rest = float(amount) * _UNITS[unit] if amount else 0.0
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + rest, printable(why)


def failure(
    access: Access, command: str, status: int, version: Version, said: Said, *, expired: bool = False
) -> ResticError:
    """command: restic's, `backup`. expired: we have stopped it. Everything in the text is fit for a terminal, redacted."""
    words = reason(said)
    text = f"{words}" if words else f"restic {command} ended with {status} and said nothing"
    if expired:
        if tried := next((again[1] for word in reversed(said.words) if (again := retry(word))), None):
            return Unreachable(access, f"no answer: {tried}")
        return Stopped(access, f"restic {command} did not end in its time and was stopped", hint=words or None)
    known = meaning(status, version, command)
    everything = " ".join([said.fatal, *said.words, *(one.message for one in said.unreadable)])
    if known == "no-repository":
        hint = f"Is a disk not mounted, or has it moved? restic says: {words}" if words else None
        return NoRepository(access, f"there is none at its address, {access.url}", hint=hint)
    if known == "wrong-password":
        hint = "Nothing was changed. Put back the one that it was made with: what repo key export wrote holds it."
        return WrongPassword(access, "its password is wrong", hint=hint)
    if known == "locked":
        return Locked(access, holder(said) or text)
    if known == "interrupted":
        return Stopped(access, f"restic {command} was stopped by a signal")
    if command == "init" and "already exists" in everything:
        return ResticError(access, "there is a repository at its address already; it was left as it is")
    if command in ("forget", "prune") and _REFUSED.search(everything):
        return NotRemoved(access, f"it does not let anything be removed: {text}", said.unreadable)
    if known == "partial":
        return Partial(access, text, said.unreadable)
    if _AWAY.search(everything) or _REFUSED.search(everything):
        return Unreachable(access, text)
    if _DAMAGED.search(everything):
        return Damaged(access, text)
    return ResticError(access, text)


def reason(said: Said) -> str:
    """The sentence that says why, without restic's own marks and stack; may be empty."""
    if "unable to start the sftp session" in said.fatal:
        # restic knows only that ssh has ended; ssh itself has said why.
        ssh = [found[1] for word in said.words if (found := _SSH.match(word))]
        if ssh:
            return printable(f"ssh: {ssh[-1]}")
    text = said.fatal or next((one.message for one in reversed(said.unreadable) if one.message), "")
    if not text:
        text = next((word for word in reversed(said.words) if not _STACK.match(word)), "")
    text = re.sub(r"\bFatal: ", "", text)
    text = re.sub(r"\s(?:main\.init|runtime\.|github\.com/).*$", "", text, flags=re.DOTALL)
    return printable(re.sub(r"\s+", " ", text).strip())


def holder(said: Said) -> str:
    """Who holds a locked repository, in restic's words: `repository is already locked exclusively by PID 7 on host by …`."""
    everything = " ".join([said.fatal, *said.words])
    found = re.search(
        r"(?:repository is )?already locked(?: exclusively)? by PID \d+ on .*?(?= the `unlock`|$)", everything
    )
    return printable(found[0]) if found else ""
