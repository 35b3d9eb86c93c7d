"""The front: command line, output, screens. Concrete classes are chosen in `bootstrap`, and nowhere else."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """The `mainstay` program."""
    import os
    import sys

    from mainstay.console.cli import run

    code = run(sys.argv[1:])
    if code == 130:
        # At once: an orderly end would wait for the threads that are still talking to hosts.
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
