"""The front: command line, output, screens. Concrete classes are chosen in `bootstrap`, and nowhere else."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """The `mainstay` program."""
    import sys

    from mainstay.console.cli import run

    sys.exit(run(sys.argv[1:]))
