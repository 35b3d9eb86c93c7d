"""What may be a name: hosts, groups, tags, addresses. Everything here ends up on command lines and in paths of others.

DNS names: RFC 1123 section 2.1, RFC 5890 for those beyond ASCII.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
_TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_./:-]{0,127}", re.ASCII)
_ZONE = re.compile(r"[A-Za-z0-9_.-]{1,15}", re.ASCII)
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?(?:@[A-Za-z0-9.-]{1,200})?", re.ASCII)

RESERVED = frozenset({"all", "and", "or", "not", "in", "none"})
"""Words of selectors, and `none` for "no jump host"."""
RESERVED_TAGS = frozenset({"name", "address", "group", *RESERVED})


def shown(text: object, limit: int = 60) -> str:
    """Foreign text for a message: quoted, one line, controls and right-to-left marks as escapes, shortened."""
    cleaned = clean(text, limit)
    return f'"{cleaned}"'


def clean(text: object, limit: int = 60) -> str:
    """The same without quotes."""
    cleaned = "".join(c if c.isprintable() and unicodedata.category(c) != "Cf" else _escape(c) for c in str(text))
    return f"{cleaned[:limit]}…" if len(cleaned) > limit else cleaned


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def check_name(name: str, what: str = "host") -> None:
    """A host's, group's, plan's or window's name. Raises ValueError with the reason."""
    if name in RESERVED:
        raise ValueError(f"{shown(name)} is a word with a meaning of its own and can't name a {what}")
    if not name.isascii():
        raise ValueError(f"{shown(name)} is no name of a {what}: {_beyond_ascii(name)}")
    if not _NAME.fullmatch(name) or ".." in name:
        raise ValueError(
            f"{shown(name)} is no name of a {what}: letters, digits, dot, dash and underscore, beginning with a letter or digit"
        )


def check_tag(key: str, value: str) -> None:
    """Raises ValueError with the reason."""
    if key in RESERVED_TAGS:
        raise ValueError(f"{shown(key)} can't be a tag: selectors use the word themselves")
    if not _TAG.fullmatch(key):
        raise ValueError(
            f"{shown(key)} is no name of a tag: letters, digits, _ . / : and dash, beginning with a letter"
        )
    if len(value) > 255 or not value.isprintable():
        raise ValueError("the value of a tag is one line of at most 255 characters")


def check_user(user: str) -> str:
    """A login, also one with a domain (`anna@corp.example`). Raises ValueError."""
    if not _USER.fullmatch(user):
        raise ValueError(f"{shown(user)} is no login name")
    return user


def address_of(text: str) -> tuple[str, str | None]:
    """(address as it is dialled, note for people or None). Raises ValueError.

    An IP address is brought into its one spelling; a DNS name beyond ASCII becomes punycode, and the note says so.
    """
    literal = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    host, percent, zone = literal.partition("%")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _dns_name(text)
    if percent and (address.version == 4 or not _ZONE.fullmatch(zone)):
        raise ValueError(f"{shown(text)} is no address: the zone after % is wrong")
    return str(address) + percent + zone, None


def _dns_name(text: str) -> tuple[str, str | None]:
    name, note = text, None
    if not text.isascii():
        name = _punycode(text)
        note = f"{shown(text)} is dialled as {name}"
    labels = name.removesuffix(".").split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{shown(text)} is no address: neither an IP address nor a DNS name")
    if re.fullmatch(r"\d+|0[xX][0-9a-fA-F]*", labels[-1]):
        # 10.0.0.256, 010.1, 0x7f000001: the system's resolver would read some of them as an IPv4 address
        raise ValueError(f"{shown(text)} is no address: it looks like an IPv4 address and is none")
    return name.lower(), note


def _punycode(text: str) -> str:
    for label in text.split("."):
        scripts = _scripts(label)
        if any(unicodedata.category(c) in ("Cf", "Cc", "Zs", "Zl", "Zp") for c in label):
            raise ValueError(f"{shown(text)} is no address: it holds invisible or direction-changing characters")
        if len(scripts) > 1:
            raise ValueError(f"{shown(text)} is no address: one label mixes {' and '.join(sorted(scripts))} letters")
    try:
        name = text.encode("idna").decode("ascii")
        same = name.encode("ascii").decode("idna") == unicodedata.normalize("NFC", text).lower()
    except UnicodeError:
        same = False
    if not same:
        raise ValueError(f"{shown(text)} is no address: it can't be written as punycode without loss")
    return name


def _scripts(label: str) -> set[str]:
    """Names of the writing systems of the letters; those used together in one language count as one."""
    found = {unicodedata.name(c, "unknown").split()[0] for c in label if c.isalpha()}
    if found & {"HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"}:
        found -= {"HIRAGANA", "KATAKANA", "CJK", "HANGUL", "BOPOMOFO", "KATAKANA-HIRAGANA", "LATIN"}
        found.add("CJK")
    return found


def _beyond_ascii(name: str) -> str:
    try:
        return f"it is not plain ASCII; name it {address_of(name)[0]} and give the address beside it"
    except ValueError:
        return "it is not plain ASCII"
