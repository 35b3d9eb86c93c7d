"""Every command that the documentation tells people to type is one that the command line takes. Nothing is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mainstay.console.cli import root

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
BLOCK = re.compile(r"^[ ]*```\w*\n(.*?)^[ ]*```", re.MULTILINE | re.DOTALL)


def written(page: str) -> Iterator[str]:
    """In blocks, where a line begins with it (after a prompt, or cron's times), and between single backticks."""
    for block in BLOCK.findall(page):
        for row in block.splitlines():
            if found := re.match(r"\s*(?:\$ |[\d*/, ]+)?(mainstay .*)", row):
                yield re.split(r"\s+#", found[1])[0]
    yield from re.findall(r"`(mainstay (?!VERB )[^`]+)`", BLOCK.sub("", page))


def takes(command: click.Command, words: list[str]) -> None:
    """Raises click.ClickException."""
    with click.Context(command) as ctx:
        if isinstance(command, click.Group) and words:
            # The site may be named first.
            words = words[2:] if words[0] == "--site" else words
            if (usual := getattr(command, "default", "")) and words[0] not in command.commands:
                words = [usual, *words]
            _, inner, rest = command.resolve_command(ctx, words)
            if inner is not None:
                takes(inner, rest)
                return
        elif not words:
            return  # it is spoken of
    command.make_context("mainstay", words)


def typed(text: str) -> list[str]:
    """Without what other programs do with it, and without what is left open."""
    words = shlex.split(re.split(r" (?:\|\||[|>]|&&)", text)[0].rstrip(":"))[1:]
    return [word for word in words if word != "…"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_to_be_typed_can_be_typed(page: Path) -> None:
    wrong = []
    for text in written(page.read_text(encoding="utf-8")):
        try:
            takes(root, typed(text))
        except click.exceptions.Exit:
            pass  # --help
        except click.ClickException as error:
            needs = re.search(r"Option '--\w+' requires an argument", error.message)
            if not needs or not re.search(r" --\w+(?: …)?$", text):  # its value is left open
                wrong.append(f"{text}: {error.message}")
    assert wrong == []


def test_a_command_that_is_not_there_is_found() -> None:
    page = "```\nmainstay restor web1\n$ mainstay --site /x points --al\n0 7 * * * mainstay pints\n```\n`mainstay why`"
    assert list(written(page)) == [
        "mainstay restor web1",
        "mainstay --site /x points --al",
        "mainstay pints",
        "mainstay why",
    ]
    for text in list(written(page))[:3]:
        with pytest.raises(click.ClickException):
            takes(root, typed(text))
    assert sum(len(list(written(one.read_text(encoding="utf-8")))) for one in PAGES) > 100
