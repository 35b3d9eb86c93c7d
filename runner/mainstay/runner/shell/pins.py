"""Pinned host keys: the site's known_hosts, in OpenSSH's format (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT)."""

from __future__ import annotations

import base64
import binascii
import fcntl
import fnmatch
import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from mainstay.inventory.errors import ConfigError, Problem, Refused
from mainstay.inventory.host import Host

_PINNED = re.compile(r"pinned (\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True, slots=True)
class HostKey:
    """A public host key: its type (`ssh-ed25519`) and its blob as it goes over the wire."""

    type: str
    blob: bytes
    pinned: str = ""
    """Day on which it was pinned, where the file says so: 2026-11-22."""

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen -l prints it: `SHA256:…`."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HostKey) and (self.type, self.blob) == (other.type, other.blob)

    def __hash__(self) -> int:
        return hash((self.type, self.blob))


class KeyChanged(Refused):
    """The host offers another key than the pinned one, and nobody said that it may be replaced."""

    kind = "host-key"


def label(host: Host) -> str:
    """The name under which OpenSSH keeps this host's keys: its address, with the port where that isn't 22."""
    return host.address if host.ssh.port == 22 else f"[{host.address}]:{host.ssh.port}"


class Pins:
    """A known_hosts file. Reading sees a whole file; writing is atomic, one writer at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._index: tuple[tuple[int, int, int], _Index] | None = None

    def keys(self, host: Host) -> tuple[HostKey, ...]:
        """What is pinned for this host; revoked keys and certificate authorities are not among them.

        Raises ConfigError for a line that is none.
        """
        entries = self._read().of(label(host))
        revoked = {entry.key for entry in entries if entry.marker == "@revoked"}
        return tuple(entry.key for entry in entries if not entry.marker and entry.key not in revoked)

    def pin(self, host: Host, keys: Iterable[HostKey], *, replace: bool = False) -> bool:
        """Pin these keys for the host. False: they were pinned already.

        Keys of further types are added to those that the host still has. Raises KeyChanged where it has another one than
        the pinned and `replace` is not set; with it, the host's old ones go.
        """
        wanted = tuple(keys)
        if not wanted:
            raise ValueError("there is no key to pin")
        with self._alone():
            present = self.keys(host)
            new = [key for key in wanted if key not in present]
            if compare(present, wanted) == "changed":
                if not replace:
                    raise changed(host, present, wanted)
                new = list(wanted)
            if not new:
                return False
            name, lines = label(host), self._lines()
            if len(new) == len(wanted):
                lines = [line for line in (_without(line, name) for line in lines) if line is not None]
            today = datetime.now(UTC).date().isoformat()
            for key in new:
                blob = base64.b64encode(key.blob).decode()
                lines.append(f"{name} {key.type} {blob} {host.name} pinned {today}")
            self._write("".join(f"{line}\n" for line in lines))
        return True

    def _read(self) -> _Index:
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return _Index(())
        version = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        if self._index is None or self._index[0] != version:
            self._index = (version, _Index(_entries(self.path, self._lines())))
        return self._index[1]

    def _lines(self) -> list[str]:
        try:
            return self.path.read_text("utf-8", "surrogateescape").splitlines()
        except FileNotFoundError:
            return []

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f".{self.path.name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, text: str) -> None:
        part = self.path.with_name(f".{self.path.name}.new")
        with part.open("w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)


def compare(pinned: Iterable[HostKey], offered: Iterable[HostKey]) -> Literal["new", "pinned", "changed"]:
    """`new`: nothing is pinned. `pinned`: the host still has what is pinned (it may have keys of further types).
    `changed`: it has another key of a pinned type, or none of the pinned ones."""
    old, now = set(pinned), set(offered)
    if not old:
        return "new"
    types = {key.type for key in now - old}
    return "changed" if not old & now or any(key.type in types for key in old) else "pinned"


def changed(host: Host, pinned: Iterable[HostKey], offered: Iterable[HostKey]) -> KeyChanged:
    return KeyChanged(
        f"{host.name}: {change_in_words(pinned, offered)}",
        hint=f"If the host was rebuilt on purpose: mainstay hosts trust {host.name} --replace",
    )


def change_in_words(pinned: Iterable[HostKey], offered: Iterable[HostKey]) -> str:
    old = ", ".join(
        f"{key.type} {key.fingerprint}" + (f" (since {key.pinned})" if key.pinned else "") for key in pinned
    )
    new = ", ".join(f"{key.type} {key.fingerprint}" for key in offered) or "no key of a pinned type"
    return f"its host key has changed: pinned is {old}, offered is {new}"


@dataclass(frozen=True, slots=True)
class _Entry:
    marker: str
    names: str
    key: HostKey

    def matches(self, name: str) -> bool:
        if self.names.startswith("|1|"):
            return _hash_matches(self.names, name)
        return _list_matches(self.names.split(","), name)


class _Index:
    """Entries by exact name; those with patterns or hashed names have to be tried one by one."""

    def __init__(self, entries: Iterable[_Entry]) -> None:
        self._exact: dict[str, list[_Entry]] = {}
        self._odd: list[_Entry] = []
        for entry in entries:
            if any(mark in entry.names for mark in "*?!|"):
                self._odd.append(entry)
            else:
                for name in entry.names.lower().split(","):
                    self._exact.setdefault(name, []).append(entry)

    def of(self, name: str) -> list[_Entry]:
        return self._exact.get(name.lower(), []) + [entry for entry in self._odd if entry.matches(name)]


def _entries(path: Path, lines: Iterable[str]) -> Iterator[_Entry]:
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        marker = words.pop(0) if words[0].startswith("@") else ""
        if marker and marker not in ("@revoked", "@cert-authority"):
            raise ConfigError([Problem(f'"{marker}" is no marker of known_hosts', str(path), number)])
        try:
            names, kind, encoded = words[:3]
            blob = base64.b64decode(encoded, validate=True)
        except (ValueError, binascii.Error):
            raise ConfigError([Problem("no line of known_hosts: names, key type, key", str(path), number)]) from None
        if blob[4 : 4 + len(kind)] != kind.encode():
            raise ConfigError([Problem(f'the key is not of the type "{kind}" that the line says', str(path), number)])
        since = _PINNED.search(" ".join(words[3:]))
        yield _Entry(marker, names, HostKey(kind, blob, since[1] if since else ""))


def _hash_matches(hashed: str, name: str) -> bool:
    try:
        _, _, salt, digest = hashed.split("|")
        made = hmac.new(base64.b64decode(salt), name.encode(), hashlib.sha1).digest()
        return hmac.compare_digest(made, base64.b64decode(digest))
    except (ValueError, binascii.Error):
        return False


def _list_matches(patterns: list[str], name: str) -> bool:
    hit = False
    for pattern in patterns:
        # [ is literal here (it opens an address with a port), but a class for fnmatch
        if fnmatch.fnmatchcase(name.lower(), pattern.lstrip("!").lower().replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            hit = True
    return hit


def _without(line: str, name: str) -> str | None:
    """The line with the name taken out of it; None where nothing is left. Revocations and patterns stay."""
    words = line.split()
    if not words or words[0].startswith(("#", "@")):
        return line
    if words[0].startswith("|1|"):
        return None if _hash_matches(words[0], name) else line
    names = words[0].split(",")
    if name not in names:
        return line
    rest = [other for other in names if other != name]
    return " ".join([",".join(rest), *words[1:]]) if rest else None
