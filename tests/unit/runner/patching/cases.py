"""Real outputs of apt and dpkg, kept as files."""

from __future__ import annotations

from pathlib import Path

from mainstay.runner.patching.apt.sections import cut

FOLDER = Path(__file__).parents[3] / "cases" / "apt"
MARK = "0123456789abcdef"


def text(name: str) -> str:
    return (FOLDER / name).read_text("utf-8")


def sections(name: str) -> dict[str, str]:
    return dict(cut(text(name), MARK))
