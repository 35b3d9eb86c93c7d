"""What a health check may say, so that a slip is an error of the site and not a red host at night. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,255}")
"""Characters of a unit's name, systemd.unit(5)."""

USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
"""A login's name as useradd(8) takes it, and dots."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_KNOWN = ("address", "name")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")


@dataclass(frozen=True, slots=True)
class Url:
    scheme: str
    host: str
    """Without brackets."""
    port: int
    target: str
    """Path and query, as the request line takes it."""
    authority: str
    """For the Host header."""


def fill(text: str, *, address: str, name: str, brackets: bool = True) -> str:
    """`{address}` and `{name}` filled in; an IPv6 address in brackets, as URLs want it. Raises ValueError for others."""
    for place in _PLACE.findall(text):
        if place not in _KNOWN:
            raise ValueError(f"{{{place}}} is not known; {{address}} and {{name}} are")
    if "{" in _PLACE.sub("", text) or "}" in _PLACE.sub("", text):
        raise ValueError(f"{text!r} has a brace without its partner")
    shown = f"[{address}]" if brackets and _is_ipv6(address) else address
    return text.replace("{address}", shown).replace("{name}", name)


def service(name: str) -> str:
    """The unit's full name. Raises ValueError."""
    if not UNIT.fullmatch(name) or name.startswith(("-", ".")):
        raise ValueError(f"service: {name!r} is no name of a unit")
    if "." not in name:
        return f"{name}.service"
    kind = name.rpartition(".")[2]
    if kind in (
        "service",
        "socket",
        "timer",
        "path",
        "mount",
        "automount",
        "swap",
        "target",
        "scope",
        "slice",
        "device",
    ):
        return name
    return f"{name}.service"


def tcp(text: str, *, address: str, name: str) -> tuple[str, int]:
    """`5432`, `{address}:5432`, `db.example:5432` or `[2001:db8::1]:5432` → (host, port). Raises ValueError."""
    filled = fill(text, address=address, name=name)
    if filled.isascii() and filled.isdigit():
        return address, _port(filled, text)
    host, colon, port = filled.rpartition(":")
    if not colon:
        raise ValueError(f"tcp: {text!r} has no port; write 5432 or {{address}}:5432")
    if host.startswith("[") and host.endswith("]") and _is_ipv6(host[1:-1]):
        return host[1:-1], _port(port, text)
    if ":" in host:
        raise ValueError(f"tcp: {text!r}: an IPv6 address stands in brackets")
    if not _HOST.fullmatch(host):
        raise ValueError(f"tcp: {text!r} names no host")
    return host, _port(port, text)


def http(text: str, *, address: str, name: str) -> Url:
    """An http or https URL, filled in. Raises ValueError."""
    url = fill(text, address=address, name=name)
    if not url.isascii() or re.search(r"[\x00-\x20\x7f\\]", url):
        raise ValueError(f"http: {text!r} has blanks, control or non-ASCII characters; percent-encode them")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"http: {text!r} begins with neither http:// nor https://")
    if "@" in parts.netloc:
        raise ValueError(f"http: {text!r} holds a login; it would be in the record")
    host = parts.hostname or ""
    if not (_is_ipv6(host) or _HOST.fullmatch(host)):
        raise ValueError(f"http: {text!r} names no host")
    if parts.netloc.endswith(":"):
        raise ValueError(f"http: {text!r} has a colon and no port")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"http: {text!r}: the port is none from 1 to 65535") from error
    if port == 0:
        raise ValueError(f"http: {text!r}: the port is none from 1 to 65535")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Url(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), target, parts.netloc)


def validate(
    *,
    service_name: str | None = None,
    tcp_text: str | None = None,
    http_text: str | None = None,
    command: tuple[str, ...] | None = None,
    user: str | None = None,
    expect: int | None = None,
    contains: str | None = None,
) -> None:
    """Raises ValueError for what could never pass, whatever the host."""
    if service_name is not None:
        service(service_name)
    if tcp_text is not None:
        tcp(tcp_text, address="192.0.2.1", name="host")
    if http_text is not None:
        http(http_text, address="192.0.2.1", name="host")
    elif expect is not None or contains is not None:
        raise ValueError("expect and contains belong to an http check")
    if command is not None and (not command or not command[0]):
        raise ValueError("command: there is none")
    if user is not None:
        if command is None:
            raise ValueError("user belongs to a command check")
        if not USER.fullmatch(user):
            raise ValueError(f"user: {user!r} is no name of a login")
    if expect is not None and not 100 <= expect <= 599:
        raise ValueError(f"expect: {expect} is no HTTP status; they go from 100 to 599")
    if contains == "":
        raise ValueError("contains: an empty text is in every answer")


def hook(
    *, command: tuple[str, ...] | None, controller: tuple[str, ...] | None, user: str | None, timeout: float
) -> None:
    """Raises ValueError for a hook that could never run."""
    for word, argv in (("command", command), ("controller", controller)):
        if argv is not None and (not argv or not argv[0]):
            raise ValueError(f"{word}: there is none")
    if user is not None:
        if command is None:
            raise ValueError("user belongs to a hook that runs on the host")
        if not USER.fullmatch(user):
            raise ValueError(f"user: {user!r} is no name of a login")
    if timeout <= 0:
        raise ValueError("timeout: a hook without time can't end well")


def _port(text: str, whole: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= 65535 and len(text) <= 5):
        raise ValueError(f"tcp: {whole!r}: the port is none from 1 to 65535")
    return int(text)


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False
