"""All facts of a site's hosts, as every look at many hosts gets them; prints `name cohort` for each.

python bench/probe_all.py SITE PARALLEL [COMMAND…]     COMMAND: asked for instead of the facts
"""

from __future__ import annotations

import sys
from pathlib import Path

from mainstay.console import bootstrap
from mainstay.inventory.errors import MainstayError
from mainstay.inventory.host import Host
from mainstay.runner.probing import gather
from mainstay.runner.shell.contract import Command
from mainstay.runner.shell.parallel import for_each


def main(site: str, parallel: str, *command: str) -> int:
    with bootstrap.load(Path(site)) as app:

        def look(host: Host) -> str:
            shell = app.shells.open(host, write=False)
            try:
                return shell.run(Command(command)).text if command else gather(shell).cohort
            finally:
                shell.close()

        answers = for_each(app.select(None), look, parallel=int(parallel))
    for name, answer in answers.items():
        print(name, answer)
    return int(any(isinstance(answer, MainstayError) for answer in answers.values()))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
