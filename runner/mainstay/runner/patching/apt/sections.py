"""What a script printed, cut at its marks. A mark holds a random word, so that no package and no host can forge one."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from functools import cache
from importlib import resources

from mainstay.inventory.errors import MainstayError
from mainstay.runner.shell.contract import Output


class Truncated(MainstayError):
    """A script did not come to its end."""

    kind = "apt"


@cache
def script(name: str, *, common: bool = True) -> str:
    """The text of `scripts/<name>.sh`, with what is common to all in front."""
    folder = resources.files(__package__) / "scripts"
    text = (folder / f"{name}.sh").read_text("utf-8")
    return (folder / "common.sh").read_text("utf-8") + text if common else text


def new_mark() -> str:
    return secrets.token_hex(8)


def cut(text: str, mark: str) -> Iterator[tuple[str, str]]:
    """(section, its text) in the order printed. Text before the first mark is left away."""
    name, lines = "", []  # type: ignore[var-annotated]  # list[str]
    for line in text.split("\n"):
        if line.startswith(f"#{mark} "):
            if name:
                yield name, _body(lines)
            name, lines = line.removeprefix(f"#{mark} ").strip(), []
        else:
            lines.append(line)
    if name:
        yield name, _body(lines)


def _body(lines: list[str]) -> str:
    # The mark is printed after a line end of its own.
    return "\n".join(lines[:-1] if lines and not lines[-1] else lines)


def sections(output: Output, mark: str, *, ends: str = "end") -> dict[str, str]:
    """Sections by name; the last of a name counts. Raises Truncated where the script did not reach its end."""
    found = dict(cut(output.text, mark))
    if ends not in found:
        tail = (output.error_text.strip() or output.text.strip())[-400:]
        raise Truncated(f"the host's answer ends in the middle (status {output.status}): {tail or 'nothing was said'}")
    return found
