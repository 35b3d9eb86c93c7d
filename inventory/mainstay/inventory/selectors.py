"""Selectors: expressions that pick hosts (`role=web and env!=prod`). One that matches nothing is an error, never "all".

    expression  = conjunction ("or" conjunction)*
    conjunction = negation ("and" negation)*
    negation    = "not" negation | "(" expression ")" | condition
    condition   = word | word ("=" | "!=") word | word ["not"] "in" "(" word ("," word)* ")"

A bare word is the name of a host or a group, or a glob of such names; `all` is everything. What stands left of `=` is
`name`, `address`, `group` or a tag. Values may be globs (`*`, `?`, `[ab]`); quotes take them literally.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, NoReturn, Protocol

from mainstay.inventory.errors import UsageError
from mainstay.inventory.host import Host
from mainstay.inventory.names import shown
from mainstay.inventory.validation import did_you_mean

LONGEST = 4096
LONGEST_VALUE = 255
"""No name and no tag is longer; patterns take time with the square of their length."""
DEEPEST = 50

_TOKEN = re.compile(r"""\s*(?:(?P<op>!=|[=(),])|(?P<quoted>"[^"]*"|'[^']*')|(?P<word>[\w.*?\[\]:/@+%-]+))""", re.ASCII)
_WORDS = ("and", "or", "not", "in")


class SelectorError(UsageError):
    """column: counts from 1, within the selector's text; None where it matches nothing."""

    kind = "selector"

    def __init__(self, text: str, message: str, column: int | None = None, *, hint: str | None = None) -> None:
        self.text, self.fault, self.column = text, message, column
        place = f", column {column}" if column else ""
        super().__init__(f"selector {shown(text, 200)}{place}: {message}", hint=hint)


@dataclass(frozen=True, slots=True)
class Value:
    text: str
    literal: bool = False
    column: int = field(default=0, compare=False)

    @property
    def glob(self) -> bool:
        return not self.literal and any(c in self.text for c in "*?[")

    def accepts(self, value: str) -> bool:
        return _pattern(self.text)(value) is not None if self.glob else value == self.text

    def __str__(self) -> str:
        if self.literal or self.text in _WORDS:
            return f"'{self.text}'" if '"' in self.text else f'"{self.text}"'
        return self.text


class Node(Protocol):
    def matches(self, host: Host) -> bool: ...


@dataclass(frozen=True, slots=True)
class Everything:
    def matches(self, host: Host) -> bool:
        return True

    def __str__(self) -> str:
        return "all"


@dataclass(frozen=True, slots=True)
class Named:
    """A bare word: a host's name or a group's."""

    value: Value

    def matches(self, host: Host) -> bool:
        return self.value.accepts(host.name) or any(self.value.accepts(group) for group in host.groups)

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True)
class Compare:
    attribute: str
    values: tuple[Value, ...]
    negated: bool = False
    column: int = field(default=0, compare=False)
    listed: bool = False

    def matches(self, host: Host) -> bool:
        return self._has(host) is not self.negated

    def _has(self, host: Host) -> bool:
        if self.attribute == "group":
            return any(v.accepts(group) or v.text == "all" for v in self.values for group in (*host.groups, ""))
        held = {"name": host.name, "address": host.address}.get(self.attribute, host.tags.get(self.attribute))
        return held is not None and any(value.accepts(held) for value in self.values)

    def __str__(self) -> str:
        if self.listed:
            word = "not in" if self.negated else "in"
            return f"{self.attribute} {word} ({', '.join(map(str, self.values))})"
        return f"{self.attribute}{'!=' if self.negated else '='}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class Not:
    inner: Node

    def matches(self, host: Host) -> bool:
        return not self.inner.matches(host)

    def __str__(self) -> str:
        return f"not {self.inner}"


@dataclass(frozen=True, slots=True)
class Joined:
    word: Literal["and", "or"]
    parts: tuple[Node, ...]

    def matches(self, host: Host) -> bool:
        if self.word == "and":
            return all(part.matches(host) for part in self.parts)
        return any(part.matches(host) for part in self.parts)

    def __str__(self) -> str:
        return "(" + f" {self.word} ".join(map(str, self.parts)) + ")"


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something in a selector that names nobody. column: in the selector's text."""

    message: str
    column: int
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Selector:
    text: str
    node: Node

    def matches(self, host: Host) -> bool:
        return self.node.matches(host)

    def __str__(self) -> str:
        """The same selector in its one spelling; `parse` reads it back."""
        return str(self.node)

    def doubts(self, hosts: Iterable[Host], groups: Iterable[str] = ()) -> tuple[Doubt, ...]:
        """What in it names no host, group or tag of this inventory: mostly a slip of the pen."""
        known = list(hosts)
        names = {host.name for host in known}
        group_names = {*groups, *(group for host in known for group in host.groups)}
        tags: dict[str, set[str]] = {}
        for host in known:
            for tag, value in host.tags.items():
                tags.setdefault(tag, set()).add(value)
        return tuple(_doubts(self.node, names, group_names, tags, {host.address for host in known}))


def _doubts(
    node: Node, names: set[str], groups: set[str], tags: Mapping[str, set[str]], addresses: set[str]
) -> Iterator[Doubt]:
    if isinstance(node, Joined):
        for part in node.parts:
            yield from _doubts(part, names, groups, tags, addresses)
    elif isinstance(node, Not):
        yield from _doubts(node.inner, names, groups, tags, addresses)
    elif isinstance(node, Named):
        yield from _nobody((node.value,), names | groups, "there is no host or group")
    elif isinstance(node, Compare):
        spaces = {
            "name": (names, "there is no host"),
            "group": (groups | {"all"}, "there is no group"),
            "address": (addresses, "no host has the address"),
        }
        if node.attribute in spaces:
            yield from _nobody(node.values, *spaces[node.attribute])
        elif node.attribute not in tags:
            hint = did_you_mean(node.attribute, {*tags, "name", "group", "address"})
            yield Doubt(f"no host has a tag {shown(node.attribute)}", node.column, hint)
        elif node.negated or not node.listed:
            # env!=prd would pick all of prod: the worst slip of all
            yield from _nobody(node.values, tags[node.attribute], f"no host has the {node.attribute}")


def _nobody(values: tuple[Value, ...], known: set[str], what: str) -> Iterator[Doubt]:
    for value in values:
        if not any(value.accepts(name) for name in known):
            yield Doubt(f"{what} {shown(value.text)}", value.column, did_you_mean(value.text, known))


def parse(text: str) -> Selector:
    """Raises SelectorError with the column and a hint."""
    return Selector(text, _Parser(text).whole())


def pick(text: str, hosts: Iterable[Host], groups: Iterable[str] = ()) -> tuple[Host, ...]:
    """The hosts that `text` selects, in the order given. Raises SelectorError where there are none: never "all"."""
    selector, known = parse(text), tuple(hosts)
    picked = tuple(host for host in known if selector.matches(host))
    if picked:
        return picked
    if not known:
        raise SelectorError(text, "there is no host in the inventory", hint="Add hosts in inventory/hosts.yml.")
    doubts = selector.doubts(known, groups)
    hint = next((doubt.hint for doubt in doubts if doubt.hint), "See what there is: mainstay hosts")
    because = f": {doubts[0].message}" if doubts else ""
    raise SelectorError(text, f"matches no host{because}", doubts[0].column if doubts else None, hint=hint)


@cache
def _pattern(glob: str) -> Callable[[str], re.Match[str] | None]:
    return re.compile(fnmatch.translate(glob)).match


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    column: int


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.depth = 0
        self.position = 0
        if len(text) > LONGEST:
            raise SelectorError(text[:40] + "…", f"longer than {LONGEST} characters")
        self.tokens = list(self._scan())

    def _scan(self) -> Iterator[_Token]:
        position, end = 0, len(self.text.rstrip())
        while position < end:
            found = _TOKEN.match(self.text, position)
            if not found:
                blanks = len(self.text[position:]) - len(self.text[position:].lstrip())
                self._strange(position + blanks)
            kind = found.lastgroup or ""
            word = found[kind]
            if len(word) > LONGEST_VALUE:
                self._fail(f"longer than {LONGEST_VALUE} characters", found.start(kind) + 1)
            yield _Token(word if kind == "op" else kind, word, found.start(kind) + 1)
            position = found.end()
        yield _Token("end", "", end + 1)

    def _strange(self, position: int) -> NoReturn:
        character = self.text[position]
        hints = {
            "&": "Write and.",
            "|": "Write or.",
            "!": "Write not, or != between a tag and its value.",
            "'": "Close the quote.",
            '"': "Close the quote.",
            "<": "There is =, != and in (…).",
            ">": "There is =, != and in (…).",
        }
        message = "a quote that is not closed" if character in "'\"" else f"{shown(character)} can't stand here"
        quote = "Quote a value that holds other than letters, digits and _ . : / @ + % - * ?"
        self._fail(message, position + 1, hints.get(character, quote))

    def _fail(self, message: str, column: int, hint: str | None = None) -> NoReturn:
        raise SelectorError(self.text, message, column, hint=hint)

    @property
    def now(self) -> _Token:
        return self.tokens[self.position]

    def _take(self) -> _Token:
        token = self.now
        self.position += 1
        return token

    def _is_word(self, word: str) -> bool:
        return self.now.kind == "word" and self.now.text == word

    def whole(self) -> Node:
        if self.now.kind == "end":
            self._fail("is empty", 1, "Write all for every host.")
        node = self._expression()
        if self.now.kind != "end":
            self._unexpected()
        return node

    def _unexpected(self) -> NoReturn:
        token = self.now
        hints = {
            ",": "Write or between two conditions.",
            ")": "There is no ( for it.",
            "word": "Write and or or before it.",
        }
        if token.kind == "end":
            self._fail("ends where a condition should stand", token.column, "For example role=web.")
        self._fail(f"{shown(token.text)} can't stand here", token.column, hints.get(token.kind))

    def _expression(self) -> Node:
        return self._joined("or", self._conjunction)

    def _conjunction(self) -> Node:
        return self._joined("and", self._negation)

    def _joined(self, word: Literal["and", "or"], part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self._is_word(word):
            self._take()
            parts.append(part())
        return parts[0] if len(parts) == 1 else Joined(word, tuple(parts))

    def _negation(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            self._fail(f"is nested more than {DEEPEST} deep", self.now.column)
        try:
            if self._is_word("not"):
                self._take()
                return Not(self._negation())
            if self.now.kind == "(":
                opened = self._take()
                node = self._expression()
                if self.now.kind != ")":
                    self._fail(
                        "a ( that is not closed", opened.column
                    ) if self.now.kind == "end" else self._unexpected()
                self._take()
                return node
            return self._condition()
        finally:
            self.depth -= 1

    def _condition(self) -> Node:
        if self.now.kind not in ("word", "quoted") or (self.now.kind == "word" and self.now.text in _WORDS):
            self._unexpected()
        first = self._take()
        if self.now.kind in ("=", "!="):
            negated = self._take().kind == "!="
            return Compare(self._attribute(first), (self._value(),), negated, first.column)
        if self._is_word("in"):
            self._take()
            return Compare(self._attribute(first), self._list(), False, first.column, True)
        if self._is_word("not") and self.tokens[self.position + 1].text == "in":
            self.position += 2
            return Compare(self._attribute(first), self._list(), True, first.column, True)
        if first.kind == "word" and first.text == "all":
            return Everything()
        return Named(_value_of(first))

    def _attribute(self, token: _Token) -> str:
        if token.kind == "quoted" or any(c in token.text for c in "*?["):
            self._fail(
                f"{shown(token.text)} is no name of a tag", token.column, "Globs and quotes belong on the right."
            )
        return token.text

    def _value(self) -> Value:
        if self.now.kind not in ("word", "quoted"):
            if self.now.kind == "=":
                self._fail('"=" can\'t stand here', self.now.column, "Write one =.")
            self._unexpected()
        return _value_of(self._take())

    def _list(self) -> tuple[Value, ...]:
        if self.now.kind != "(":
            self._fail("a list in ( ) has to follow in", self.now.column, "For example env in (test, stage).")
        self._take()
        values = [self._value()]
        while self.now.kind == ",":
            self._take()
            values.append(self._value())
        if self.now.kind != ")":
            self._fail("a list that is not closed", self.now.column, "End it with ).")
        self._take()
        return tuple(values)


def _value_of(token: _Token) -> Value:
    if token.kind == "quoted":
        return Value(token.text[1:-1], True, token.column)
    return Value(token.text, token.text in _WORDS, token.column)  # as it is printed and read back
