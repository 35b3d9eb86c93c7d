"""python -m tests.sim SEED [-v]     one world, replayed; -v: every event
python -m tests.sim FIRST-LAST    a range of them, until one breaks a promise"""

from __future__ import annotations

import sys
import time
from pprint import pprint

from tests.sim.world import Violation, World


def main(argv: list[str]) -> int:
    seeds, loud = [word for word in argv if not word.startswith("-")], "-v" in argv
    if len(seeds) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    first, _, last = seeds[0].partition("-")
    failed = 0
    for seed in range(int(first), int(last or first) + 1):
        world, began = World(seed, echo=loud), time.monotonic()
        if loud:
            pprint(world.case)
        try:
            told = world.run()
        except Violation as broken:
            print(broken)
            failed += 1
            if "-k" not in argv:
                return 1
            continue
        seconds = time.monotonic() - began
        print(
            f"seed {seed}: {told.verdicts} {told.events} events, {told.hours:.2f} h, {seconds:.2f} s, {told.digest[:12]}"
        )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
