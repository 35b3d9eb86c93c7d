"""The reference says every verb and every option, and nothing that is not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mainstay.console.cli import VERBS, root, run
from mainstay.console.verb import COMMON

PAGE = (Path(__file__).parents[3] / "docs/reference/cli.md").read_text()


def commands(group: click.Group = root, way: str = "mainstay") -> Iterator[tuple[str, click.Command]]:
    with click.Context(group) as ctx:
        for name in group.list_commands(ctx):
            command = group.get_command(ctx, name)
            assert command is not None
            yield f"{way} {name}", command
            if isinstance(command, click.Group):
                yield from commands(command, f"{way} {name}")


def sections() -> dict[str, str]:
    """Heading without what stands after the verbs → its text, up to the next heading."""
    found = {}
    for piece in re.split(r"^##+ ", PAGE, flags=re.M)[1:]:
        head, _, text = piece.partition("\n")
        words = [word for word in head.split() if not word.startswith("[") and not word.isupper()]
        found[" ".join(words)] = text
    return found


SECTIONS = sections()


def own_options(command: click.Command) -> set[str]:
    names = {name for option in command.params if isinstance(option, click.Option) for name in option.opts}
    return names - set(COMMON) - {"-y", "--help", "--version"}


def test_every_verb_has_a_section() -> None:
    told = {name for name in SECTIONS if name.startswith("mainstay ")}
    there = {way for way, command in commands()}
    # The verb that is meant where none is named is told with its group.
    spoken = {"mainstay hosts list", "mainstay runs list", "mainstay state show"}
    assert told == there - spoken


def test_every_option_is_told_in_the_section_of_its_verb() -> None:
    for way, command in commands():
        text = SECTIONS.get(way, "")
        missing = {name for name in own_options(command) if f"`{name}" not in text}
        assert not missing, f"{way}: {sorted(missing)} missing from docs/reference/cli.md"


def test_the_page_tells_no_option_that_is_not_there() -> None:
    for way, command in commands():
        if way not in SECTIONS:
            continue
        rows = re.findall(r"^\| `(--?[a-z-]+)", SECTIONS[way], flags=re.M)
        assert set(rows) <= own_options(command), way


def test_common_options_and_arguments_are_told() -> None:
    for name in COMMON:
        assert f"`{name}" in PAGE
    for way, command in commands():
        arguments = [param.human_readable_name for param in command.params if isinstance(param, click.Argument)]
        head = next((row for row in PAGE.splitlines() if re.match(rf"##+ {way}( |$)", row)), "")
        for argument in arguments:
            assert not head or argument.upper() in head.upper(), f"{way} {argument}"


def test_every_verb_takes_the_common_options() -> None:
    for way, command in commands():
        names = {name for option in command.params for name in option.opts}
        assert set(COMMON) <= names, way


def test_every_verb_has_a_line_of_help() -> None:
    assert all(VERBS.values())
    assert all(command.help for _, command in commands())


def test_the_help_begins_with_what_one_wants(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    places = [
        out.index(word) for word in ("Is all well?", "  points ", "Bring something back", "  restore ", "Options:")
    ]
    assert places == sorted(places)
    assert run(["rollbak", "web1"]) == 2
    assert capsys.readouterr().err == 'There is no verb "rollbak". Did you mean "rollback"? See mainstay --help.\n'
    assert run(["--nope"]) == 2
