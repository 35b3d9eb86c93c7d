"""A rollout of the real pending security updates over eight hosts, against a playbook that does the same.

    scripts/bench rollout [--hosts 8] [--rounds 3]

Before each round the hosts are made new, so that both find the same updates pending. After it the hosts themselves are
asked: nothing may be left to install, the web service has to answer, and whether they were rebooted is counted.
"""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TypeVar

from bench.measure import Cost, Failed, alternate, measure
from bench.options import options
from bench.peers import MAINSTAY, THERE, Target, ansible_folder, mainstay_folder
from bench.spent import WORK, Spent, spent
from bench.table import COSTS, Part, costs, dump
from tests.fleet import Fleet, Host
from tests.fleet.fleet import temporary

PARALLEL = 8
PLAN = f"""\
plans:
  patch:
    kind: patch
    targets: all
    updates: {{select: security}}
    waves: [1, 25%, 100%]
    parallel: {PARALLEL}
    restart: reboot          # dbus and logind run replaced code too, and only a reboot takes that from them
    reboot: when-needed
    health: [{{http: "http://{{address}}:8080/healthz", retries: 10, every: 1s}}]
"""
PLAYBOOK = Path(__file__).with_name("rollout.yml")
R = TypeVar("R")
OURS, THEIRS = "mainstay run", "ansible-playbook"
INSTALL = ["sh", "-c", 'apt-get -q update && apt-get -q -y install "$@"', "sh"]
SIMULATE = ["apt-get", "-s", "-q", "dist-upgrade"]


@dataclass
class Rollouts:
    """Both ways to patch the fleet, and what was found out besides their cost."""

    fleet: Fleet
    hosts: int
    folder: Path
    rebooted: dict[str, list[int]] = field(default_factory=lambda: {OURS: [], THEIRS: []})
    updates: int = 0
    spent: list[Spent] = field(default_factory=list)
    rounds: int = 0

    def mainstay(self) -> Cost:
        return self._patched(OURS, self._mainstay)

    def ansible(self) -> Cost:
        return self._patched(THEIRS, self._ansible)

    def _mainstay(self, targets: Sequence[Target]) -> Cost:
        site = mainstay_folder(self._new(), targets, self.fleet.key, self.fleet.known_hosts, PLAN)
        # degraded (3) is done as well: a note for a human
        cost = measure([MAINSTAY, "run", "patch", "--yes", "--json"], cwd=site, ends=lambda status: status in (0, 3))
        self.spent.append(spent(json.loads((site / "out").read_text()), cost.wall, cost.began))
        print(f"own share {self.spent[-1].own:.1%}, no host in any step {self.spent[-1].idle:.1%}", file=sys.stderr)
        return cost

    def _ansible(self, targets: Sequence[Target]) -> Cost:
        folder = ansible_folder(self._new(), targets, self.fleet.key, self.fleet.known_hosts)
        return measure([THERE / "ansible-playbook", "-f", str(PARALLEL), PLAYBOOK], cwd=folder)

    def _new(self) -> Path:
        self.rounds += 1
        return self.folder / f"round{self.rounds}"

    def _patched(self, name: str, patch: Callable[[Sequence[Target]], Cost]) -> Cost:
        """Hosts made new, patched, and asked themselves. Raises Failed."""
        hosts = self.fleet.pristine(self.hosts)
        self.fleet.repository.fetch("python3-apt")  # what ansible's apt module needs on a host
        each(hosts, lambda host: host.exec([*INSTALL, "demo-web=1.0", "python3-apt"]))
        self.updates = len(pending(hosts[0]))
        if not self.updates:
            raise Failed("no security update is pending on the base: there is nothing to measure")
        before = each(hosts, Host.boot_id)
        cost = patch([Target(host.name, host.address, 22, "ops") for host in hosts])
        self.rebooted[name].append(sum(old != new for old, new in zip(before, each(hosts, Host.boot_id), strict=True)))
        for host, left in zip(hosts, each(hosts, pending), strict=True):
            if left:
                raise Failed(f"{name} left {', '.join(left)} on {host.name}")
            with urllib.request.urlopen(f"http://{host.address}:8080/healthz", timeout=10) as page:
                assert page.status == 200
        return cost


def each(hosts: Sequence[Host], ask: Callable[[Host], R]) -> list[R]:
    with ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(ask, hosts))


def pending(host: Host) -> list[str]:
    return [line.split()[1] for line in host.exec(SIMULATE).splitlines() if line.startswith("Inst ")]


def table(work: Rollouts) -> list[list[str]]:
    """The steps of mainstay's rollouts, the longest first: medians over the rounds."""
    names = sorted(work.spent[0].steps, key=lambda name: -work.spent[0].steps[name][0])
    rows = [["survey and start-up", f"{middle(one.start for one in work.spent):.2f} s", "own"]]
    for name in names:
        union = middle(one.steps.get(name, (0.0, 0.0))[0] for one in work.spent)
        rows.append([name, f"{union:.2f} s", "maintenance" if name in WORK else "own"])
    rows.append(["between steps and waves", f"{middle(one.between for one in work.spent):.2f} s", "own"])
    rows.append(["after the last step (sealing)", f"{middle(one.end for one in work.spent):.2f} s", "own"])
    return rows


def middle(values: Iterable[float]) -> float:
    return median(list(values))


def main() -> None:
    chosen = options(__doc__, hosts=8, rounds=3, quick={"hosts": 2, "rounds": 1})
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as folder, temporary() as fleet:
        work = Rollouts(fleet, chosen.hosts, Path(folder))
        found = alternate({OURS: work.mainstay, THEIRS: work.ansible}, chosen.rounds)
    owns = [one.own for one in work.spent]
    own, idle = middle(owns), middle(one.idle for one in work.spent)
    asked = middle(one.asked / one.wall for one in work.spent)
    again = f"scripts/bench rollout --hosts {chosen.hosts} --rounds {chosen.rounds}"
    rebooted = "; ".join(f"{name} {', '.join(map(str, counts))}" for name, counts in work.rebooted.items())
    parts = [
        Part(
            title=f"{work.updates} pending security updates on {chosen.hosts} hosts, waves 1, 25 %, 100 %",
            repeat=again,
            head=COSTS,
            rows=costs(found, OURS),
            notes=(
                f"Both with {PARALLEL} hosts at once; the playbook is bench/rollout.yml. Only mainstay looks at every "
                "host beforehand, captures what the way back needs, fixes the tested set and seals a record.",
                f"Hosts rebooted in each round: {rebooted}. Afterwards each host was asked itself: nothing pending, well.",
                "The hosts share the controller's cores, so that their work is in the wall clock of both, and all of them are "
                "surveyed at once on them; their disks don't wait for writes.",
            ),
        ),
        Part(
            title="Where mainstay's wall clock goes in that rollout",
            repeat=again,
            head=("step", "at least one host was in it", "whose"),
            rows=table(work),
            notes=(
                f"mainstay's own share: {own:.1%} of the wall ({min(owns):.1%} to {max(owns):.1%}; aim: under 10%), which is all "
                f"time in which no host was in one of the steps {', '.join(sorted(WORK))}.",
                f"Of the wall, {asked:.0%} went by with hosts only being asked (probed, compared, verified), and {idle:.0%} "
                "with no host in any step: start-up and survey, checkpoints, sealing.",
                "Steps of several hosts overlap, so that the column adds up to more than the wall.",
            ),
        ),
    ]
    print(dump(parts))


if __name__ == "__main__":
    main()
