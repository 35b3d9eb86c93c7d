"""One YAML file of a site as plain data that knows the line and column of every key and value.

YAML 1.2 by ruamel.yaml, composed and never constructed: `22:30`, `no` and dates stay text, a tag can't make an object,
a key given twice is an error. https://yaml.org/spec/1.2.2/
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from mainstay.inventory.errors import ConfigError, Problem
from mainstay.inventory.names import clean, shown

LARGEST_FILE = 8 * 1024 * 1024
LARGEST_EXPANSION = 10_000
"""Values that aliases may add to a file over what is written in it."""

Key = tuple[str | int, ...]
"""The way to a value: keys and list indexes from the top."""

_TAG = "tag:yaml.org,2002:"
_TRUE = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


@dataclass(frozen=True, slots=True)
class Document:
    """data: None, bool, int, float, str, list and dict with text keys. file: relative to the site."""

    file: str
    data: Any
    nodes: Mapping[Key, tuple[Node | None, Node]]
    problems: tuple[Problem, ...] = ()
    """Faults that leave the rest readable: a key given twice, a tag. Whoever loads it has to tell them."""

    def spot(self, *path: str | int) -> Spot:
        return Spot(self, path)


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a document, for problems and for `Host.source`."""

    document: Document
    path: Key = ()

    def at(self, *more: str | int) -> Spot:
        return Spot(self.document, self.path + more)

    @property
    def value(self) -> Any:
        """The plain data here; None where there is none."""
        data = self.document.data
        for part in self.path:
            try:
                data = data[part]
            except (KeyError, IndexError, TypeError):
                return None
        return data

    @property
    def text(self) -> str | None:
        """A scalar as it is written: `1.10` stays `1.10`. None for lists, mappings and nothing."""
        node = self.document.nodes.get(self.path, (None, None))[1]
        return node.value if isinstance(node, ScalarNode) and not str(node.tag).endswith(":null") else None

    @property
    def source(self) -> str:
        return f"{self.document.file}:{self._mark('key')[0]}"

    def problem(
        self, message: str, *, hint: str | None = None, on: Literal["key", "value"] = "value", offset: int | None = None
    ) -> Problem:
        """on: whether the key or its value is to blame. offset: characters into a text written on one line."""
        line, column = self._mark(on, offset)
        key = _dotted(self.path)
        return Problem(_ended(message, hint), file=self.document.file, line=line, column=column, key=key, hint=hint)

    def _mark(self, on: str, offset: int | None = None) -> tuple[int, int]:
        path = self.path
        while path and path not in self.document.nodes:
            path, on = path[:-1], "key"
        if path not in self.document.nodes:
            return 1, 1
        key, value = self.document.nodes[path]
        node = value if key is None or (on == "value" and isinstance(value, ScalarNode)) else key
        mark, column = node.start_mark, node.start_mark.column + 1
        if offset and isinstance(node, ScalarNode) and node is value and value.start_mark.line == value.end_mark.line:
            column += offset + (1 if node.style in ("'", '"') else 0)
        return mark.line + 1, column


def load_document(path: Path, root: Path) -> Document:
    """Read one file. Raises ConfigError where it can't be read as YAML at all; see also `Document.problems`."""
    file = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    return parse_document(_read(path, file), file)


def _read(path: Path, file: str) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError([Problem("is not a plain file", file=file)])
        if found.st_size > LARGEST_FILE:
            hint = "Split it into several files of the same folder."
            raise ConfigError([Problem(f"is larger than {LARGEST_FILE // 2**20} MB", file=file, hint=hint)])
        return path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(f"can't be read: {error.strerror}", file=file)]) from error


def parse_document(content: bytes, file: str) -> Document:
    """Parse bytes that came from `file`. An empty file is an empty mapping. Raises ConfigError as `load_document`."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        hint = "Save it as UTF-8."
        raise ConfigError([Problem("is not UTF-8 text", file=file, line=line, hint=hint)]) from error
    return _Composer(text, file).document()


class _Composer:
    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.nodes: dict[Key, tuple[Node | None, Node]] = {}
        self.problems: list[Problem] = []

    def document(self) -> Document:
        try:
            top = self._compose()
            if top is None:
                return Document(self.file, {}, {})
            self._check_aliases(top)
            data = self._plain(top, (), None)
        except RecursionError:
            raise ConfigError([Problem("is nested too deeply", file=self.file)]) from None
        return Document(self.file, {} if data is None else data, self.nodes, tuple(self.problems))

    def _compose(self) -> Node | None:
        for number, row in enumerate(self.text.splitlines(), 1):
            if row.startswith("%"):
                # %YAML 1.1 would turn 22:30 into 1350 and no into false again.
                raise ConfigError([self._at("YAML directives are not taken", number, 1, "Remove this line.")])
            if row.strip() and not row.lstrip().startswith("#"):
                break
        try:
            return YAML(typ="safe", pure=True).compose(self.text)  # type: ignore[no-any-return]
        except ReaderError as error:
            line = self.text.count("\n", 0, error.position) + 1
            column = error.position - (self.text.rfind("\n", 0, error.position) + 1) + 1
            message = f"a character that text files don't hold (U+{_code(error.character):04X})"
            raise ConfigError([self._at(message, line, column, "Remove it.")]) from error
        except MarkedYAMLError as error:
            # what is not closed is looked for where it was opened
            opened = any(word in (error.context or "") for word in ("flow", "quoted"))
            mark = (error.context_mark if opened else None) or error.problem_mark or error.context_mark
            said = " ".join(part for part in (error.context, error.problem) if part)
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            raise ConfigError(
                [self._at(f"is not YAML: {_plain_words(said)}", line, column, _yaml_hint(said))]
            ) from error
        except (YAMLError, ValueError) as error:
            raise ConfigError([Problem("is not YAML", file=self.file)]) from error

    def _at(self, message: str, line: int, column: int, hint: str | None = None) -> Problem:
        return Problem(_ended(message, hint), file=self.file, line=line, column=column, hint=hint)

    def _fault(self, node: Node, message: str, path: Key, hint: str | None = None) -> None:
        mark = node.start_mark
        key = _dotted(path)
        self.problems.append(Problem(_ended(message, hint), self.file, mark.line + 1, mark.column + 1, key, hint))

    def _check_aliases(self, top: Node) -> None:
        """A short file can mean billions of values (aliases of aliases), or one that holds itself."""
        sizes: dict[int, int] = {}
        open_nodes: set[int] = set()

        def size(node: Node) -> int:
            known = sizes.get(id(node))
            if known is not None:
                return known
            if id(node) in open_nodes:
                raise ConfigError([self._at("holds itself", node.start_mark.line + 1, node.start_mark.column + 1)])
            open_nodes.add(id(node))
            total = 1 + sum(size(child) for child in _children(node))
            open_nodes.discard(id(node))
            sizes[id(node)] = total
            if total - len(sizes) > LARGEST_EXPANSION:
                mark = node.start_mark
                message = f"aliases make more than {LARGEST_EXPANSION} values out of this file"
                raise ConfigError([self._at(message, mark.line + 1, mark.column + 1, "Write the values out.")])
            return total

        size(top)

    def _plain(self, node: Node, path: Key, key: Node | None) -> Any:
        self.nodes[path] = (key, node)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, SequenceNode):
            if node.tag != _TAG + "seq":
                self._fault(node, _no_tag(node), path)
            return [self._plain(child, (*path, index), None) for index, child in enumerate(node.value)]
        assert isinstance(node, MappingNode)
        if node.tag != _TAG + "map":
            self._fault(node, _no_tag(node), path)
        return self._mapping(node, path)

    def _mapping(self, node: MappingNode, path: Key) -> dict[str, Any]:
        data: dict[str, Any] = {}
        lines: dict[str, int] = {}
        merged: list[Node] = []
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._fault(key, "a key has to be a plain word", path)
                continue
            if key.tag == _TAG + "merge":
                merged += value.value if isinstance(value, SequenceNode) else [value]
                continue
            name = str(key.value)
            if name in lines:
                hint = "Keep one of the two."
                self._fault(key, f"given twice, first in line {lines[name]}", (*path, name), hint)
                continue
            lines[name] = key.start_mark.line + 1
            data[name] = self._plain(value, (*path, name), key)
        for other in merged:
            if not isinstance(other, MappingNode):
                self._fault(other, '"<<" takes a mapping', path)
                continue
            for key, value in other.value:
                if isinstance(key, ScalarNode) and str(key.value) not in data:
                    data[str(key.value)] = self._plain(value, (*path, str(key.value)), key)
        return data

    def _scalar(self, node: ScalarNode, path: Key) -> Any:
        kind, text = str(node.tag).removeprefix(_TAG), str(node.value)
        if kind in ("str", "timestamp", "value", "merge"):
            return text
        if kind == "null":
            return None
        if kind == "bool" and text in _TRUE:
            return _TRUE[text]
        try:
            if kind == "int":
                return int(text, 0) if text[:2] in ("0x", "0o") else int(text)
            if kind == "float":
                return float(
                    text.replace(".nan", "nan").replace(".NaN", "nan").replace(".NAN", "nan").replace(".inf", "inf")
                )
        except ValueError:
            return text
        self._fault(node, _no_tag(node), path)
        return None


def _ended(message: str, hint: str | None) -> str:
    """A hint is a sentence of its own after the message. Whoever wrote the message: it is one printable line."""
    message = clean(message, 500)
    return message + "." if hint and message[-1:] not in ".:?!" else message


def _dotted(path: Key) -> str | None:
    return ".".join(clean(part) for part in path) or None


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, SequenceNode):
        yield from node.value
    elif isinstance(node, MappingNode):
        for _, value in node.value:
            yield value


def _no_tag(node: Node) -> str:
    return f"the tag {shown(str(node.tag).replace(_TAG, '!!'))} is not taken: a site is plain data"


def _code(character: Any) -> int:
    return character if isinstance(character, int) else ord(character)


_SAID = {
    "mapping values are not allowed here": 'a second ": " in one line',
    "cannot start any token": "a tab or a character that has to be quoted",
    "found undefined alias": "an alias (*name) without its anchor (&name)",
    "found duplicate anchor": "an anchor (&name) given twice",
    "expected a single document": "more than one document (---) in one file",
    "expected the node content": "a list or mapping that is not closed",
    "expected ',' or ": "a list or mapping that is not closed",
    "while scanning a quoted scalar": "a quote that is not closed",
    "could not find expected ':'": 'a key without ":"',
    "expected <block end>": "a line that is indented unlike its neighbours",
}


def _plain_words(said: str) -> str:
    return next((words for part, words in _SAID.items() if part in said), said)


def _yaml_hint(said: str) -> str | None:
    if "mapping values" in said:
        return "Quote the text, or indent the line under its key."
    if "cannot start any token" in said:
        return "Indent with blanks, and quote texts that begin with @, ` or %."
    return None
