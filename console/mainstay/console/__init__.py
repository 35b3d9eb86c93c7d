"""The front: command line, output, screens. Concrete classes are chosen in `bootstrap`, and nowhere else."""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """The `mainstay` program."""
    import gc
    import os
    import sys

    # What imports make stays: looking through it again and again for garbage, and once more at the end, was a third of a
    # second of each command that opens the state.
    gc.set_threshold(100_000, 20, 20)

    from mainstay.console.cli import run

    code = run(sys.argv[1:])
    gc.freeze()
    if code == 130:
        # At once: an orderly end would wait for the threads that are still talking to hosts.
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
