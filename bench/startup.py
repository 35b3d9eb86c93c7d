"""How long a person waits for nothing: programs that only say what they can do.

scripts/bench startup [--rounds 20]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from bench.measure import alternate, measure
from bench.options import options
from bench.peers import MAINSTAY, THERE
from bench.table import COSTS, Part, costs, dump

OURS = "mainstay --help"


def main() -> None:
    chosen = options(__doc__, rounds=20, quick={"rounds": 2})
    commands: dict[str, list[str | Path]] = {
        OURS: [MAINSTAY, "--help"],
        "python -c pass": [sys.executable, "-c", "pass"],
        "ansible --version": [THERE / "ansible", "--version"],
        "pyinfra --version": [THERE / "pyinfra", "--version"],
    }
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as folder:
        cases = {name: (lambda argv=argv: measure(argv, cwd=Path(folder))) for name, argv in commands.items()}
        found = alternate(cases, chosen.rounds)
    part = Part(
        title="Start-up",
        repeat=f"scripts/bench startup --rounds {chosen.rounds}",
        head=COSTS,
        rows=costs(found, OURS),
        notes=(f"Medians of {chosen.rounds} runs. Aim: mainstay --help under 150 ms.",),
    )
    print(dump([part]))


if __name__ == "__main__":
    main()
