"""Puts a run of a plan down for the daemon that is up, as its clock does, waits until its record is sealed, and prints that
as `mainstay run --json` does. What that takes to start comes before the run is asked for.

    python put_down.py SITE PLAN
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from mainstay.console import bootstrap
from mainstay.runner.request import plan_request
from mainstay.schedules.occurrences import timing


def main(site: str, name: str) -> int:
    with bootstrap.load(Path(site)) as app:
        if not app.works().served:
            print("no daemon is up", file=sys.stderr)
            return 1
        plan = app.runnable(name)
        bound = {"timing": timing(plan, app.loaded).to_json()}
        runs = app.runs
        request = plan_request(plan, app.targets(plan), app.asking()).model_copy(update=bound)
        run = runs.submit(request)
        app.hand_over(run)
        while (row := app.state.run(run)) is None or row.state != "ended":
            time.sleep(0.2)  # this is a measurement by the real clock, and reads it from the record
        print(json.dumps(app.record(run).to_json()))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
