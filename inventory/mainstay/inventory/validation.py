"""Plain data against a model: every fault as a Problem with its place, in plain words, with "did you mean"."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from mainstay.inventory.document import Spot
from mainstay.inventory.errors import Problem, WrongValue
from mainstay.inventory.names import check_name, shown

M = TypeVar("M", bound=BaseModel)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """`Did you mean "reboot"?`, or None where nothing is near."""
    candidates = {name.lower(): name for name in sorted(known, reverse=True)}
    near = difflib.get_close_matches(word.lower(), candidates, n=1, cutoff=0.6)
    near = near or [name for name in sorted(candidates) if len(word) > 2 and name.startswith(word.lower())][:1]
    return f'Did you mean "{candidates[near[0]]}"?' if near else None


def one_of(words: Iterable[str]) -> str:
    """`a, b or c`."""
    listed = list(words)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} or {listed[-1]}"


def check_keys(top: Spot, known: Sequence[str], problems: list[Problem]) -> None:
    """Of a whole file: it has to be a mapping, and to hold none but the known keys."""
    if not isinstance(top.value, dict):
        problems.append(top.problem(f"has to be a mapping with {one_of(f'{word}:' for word in known)}"))
        return
    for key in top.value:
        if key not in known:
            hint = did_you_mean(key, known) or f"Known here: {', '.join(sorted(known))}."
            problems.append(top.at(key).problem("unknown key.", on="key", hint=hint))


def declared(spot: Spot, what: str, problems: list[Problem]) -> Iterator[tuple[str, Spot]]:
    """Of `name: {…}` each name that may be one, and its place. what: they are names of."""
    if spot.value is None:
        return
    if not isinstance(spot.value, dict):
        problems.append(spot.problem("has to be a mapping: name: {…}"))
        return
    for name in spot.value:
        try:
            check_name(name, what)
        except ValueError as error:
            problems.append(spot.at(name).problem(str(error), on="key"))
        else:
            yield name, spot.at(name)


def validate(
    model: type[M], data: Any, spot: Spot, problems: list[Problem], *, own: frozenset[str] = frozenset()
) -> M | None:
    """An instance, or None after adding to `problems`. `spot`: where `data` stands.

    own: fields of the model that are not the writer's to give; they count as unknown keys and are never proposed.
    """
    if data is None:
        data = {}
    if not isinstance(data, dict):
        problems.append(spot.problem(f"has to be a mapping (key: value), not {_kind(data)}"))
        return None
    written = [key for key in data if key in own]
    if written:
        problems += [_unknown(model, spot.at(key), own) for key in written]
        return None
    try:
        return model.model_validate(data)
    except ValidationError as error:
        seen: set[tuple[object, ...]] = set()
        for fault in error.errors(include_url=False):
            problem = _problem(model, fault, spot, own)
            mark = (problem.line, problem.column, problem.key)
            # one wrong value is told once, not once for each form that it could have had
            if mark not in seen:
                seen.add(mark)
                problems.append(problem)
        return None


def _problem(model: type[BaseModel], fault: Any, spot: Spot, own: frozenset[str]) -> Problem:
    path = _real_path(spot, fault["loc"])
    at = spot.at(*path)
    kind, context = fault["type"], fault.get("ctx") or {}
    if kind == "extra_forbidden":
        owner = _model_at(model, path[:-1]) or model
        return _unknown(owner, at, own if owner is model else frozenset())
    if kind == "missing":
        return at.problem("is missing", on="key")
    if kind == "value_error":
        error = context.get("error")
        if isinstance(error, WrongValue):
            return at.problem(error.message, hint=error.hint)
        return at.problem(_sentence(str(context.get("error", fault["msg"]))))
    if kind in ("literal_error", "enum"):
        allowed = [word.strip().strip("'") for word in context["expected"].replace(" or ", ", ").split(",")]
        hint = did_you_mean(str(fault["input"]), allowed) if isinstance(fault["input"], str) else None
        return at.problem(f"{_input(fault)} is none of {one_of(allowed)}", hint=hint)
    return at.problem(_words(kind, context, fault))


def _words(kind: str, context: dict[str, Any], fault: Any) -> str:
    given = _input(fault)
    limits = {
        "greater_than": f"{given} is too small: it has to be more than {context.get('gt')}",
        "greater_than_equal": f"{given} is too small: at least {context.get('ge')}",
        "less_than": f"{given} is too large: it has to be less than {context.get('lt')}",
        "less_than_equal": f"{given} is too large: at most {context.get('le')}",
        "too_short": "is empty: at least one is needed",
        "string_too_short": "is empty",
        "string_too_long": f"is longer than {context.get('max_length')} characters",
        "string_pattern_mismatch": f"{given} is not written as it has to be",
    }
    if kind in limits:
        return limits[kind]
    family = kind.split("_")[0]
    wanted = {
        "string": "a text",
        "int": "a whole number",
        "float": "a number",
        "finite": "a number",
        "bool": "true or false",
        "tuple": "a list",
        "list": "a list",
        "dict": "a mapping (key: value)",
        "model": "a mapping (key: value)",
        "mapping": "a mapping (key: value)",
    }.get(family)
    return f"has to be {wanted}, not {given}" if wanted else f"{given} is not right here"


def _unknown(model: type[BaseModel], at: Spot, own: frozenset[str]) -> Problem:
    word = str(at.path[-1])
    known = [field.alias or name for name, field in model.model_fields.items() if name not in own]
    hint = did_you_mean(word, known) or f"Known here: {', '.join(sorted(known))}."
    if at.value is None and not word.replace("_", "").isalnum():
        hint = "In { } a text with a comma has to be quoted."
    return at.problem("unknown key.", on="key", hint=hint)


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")


def _input(fault: Any) -> str:
    value = fault["input"]
    return shown(value) if isinstance(value, str) else _kind(value)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    return {"str": "a text", "list": "a list", "dict": "a mapping"}.get(type(value).__name__, "this")


def _real_path(spot: Spot, location: tuple[Any, ...]) -> tuple[str | int, ...]:
    """pydantic's location without the names of union members and validators that it puts in between."""
    path: list[str | int] = []
    data = spot.value
    for index, part in enumerate(location):
        if part == "[key]":
            continue
        inside = part in data if isinstance(data, dict) else isinstance(data, list) and part in range(len(data))
        if inside:
            data = data[part]
        elif isinstance(data, dict) and index == len(location) - 1 and isinstance(part, str):
            pass  # a key that is missing
        else:
            continue
        path.append(part)
    return tuple(path)


def _model_at(model: type[BaseModel], path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The model that describes the value at `path` below `model`."""
    models = [model]
    annotations: list[Any] = [model]
    for part in path:
        if isinstance(part, int):
            annotations = [inner for annotation in annotations for inner in _arguments(annotation)]
        else:
            fields = [m.model_fields[part].annotation for m in models if part in m.model_fields]
            annotations = fields or [inner for annotation in annotations for inner in _arguments(annotation)]
        models = [m for annotation in annotations for m in _models(annotation)]
    return models[0] if models else None


def _arguments(annotation: Any) -> Iterator[Any]:
    yield from typing.get_args(annotation)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for inner in typing.get_args(annotation):
        yield from _models(inner)
