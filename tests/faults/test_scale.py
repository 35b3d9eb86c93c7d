"""What a run costs grows as its hosts do, no faster: counted where a rule can be counted, measured as processor time
against DBOS alone in the same minute where not. Never in seconds: the machine that tests is slow and busy."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from bench.scale import alone, two_workers
from pydantic import BaseModel
from tests.contract.engine_suite import database
from tests.servers.postgres import Postgres
from tests.unit.runner.world import World

from mainstay.runner.request import RunRequest
from mainstay.runner.runs import record
from mainstay.runner.verdict import Verdict

pytestmark = pytest.mark.no_cover

MEMORY = 500.0
"""MB, of one process with 10,000 hosts."""


class Counted:
    """A store that counts how much is read from it and written to it: items of what goes in and comes out, by method."""

    def __init__(self, store: Any, volume: Counter[str]) -> None:
        self._store = store
        self._volume = volume

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def call(*args: Any, **more: Any) -> Any:
            result = found(*args, **more)
            self._volume[name] += 1 + items(result) + sum(items(argument) for argument in args)
            return result

        return call


def items(value: Any) -> int:
    """How many values a JSON value, or what holds some, consists of."""
    if isinstance(value, BaseModel):
        return items(value.model_dump())
    if isinstance(value, dict):
        return sum(1 + items(one) for one in value.values())
    if isinstance(value, (list, tuple)):
        return sum(1 + items(one) for one in value)
    return 0


def volume_of(hosts: int, **plan: Any) -> Counter[str]:
    """What a run over so many hosts reads and writes, by method of state and artifacts. Every tenth host fails."""
    names = " ".join(f"h{number}" for number in range(hosts))
    world = World(names, **{"waves": [1, "100%"], "parallel": 5, "budget": "100%", **plan})
    for number in range(5, hosts, 10):
        world[f"h{number}"].wrong = {"verify"}
    found: Counter[str] = Counter()
    runs = world.runs()
    runs.tools.state = Counted(world.state, found)
    runs.tools.artifacts = Counted(world.artifacts, found)
    request = world.request()
    runs.submit(request)
    runs.execute(request.id)
    sealed = record(runs.tools, request.id)
    assert sealed.summary.counts[Verdict.FAILED] == hosts // 10
    return found


def test_twice_as_many_hosts_read_and_write_twice_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """What each host reads must not be as much as there are hosts."""
    parsed: Counter[str] = Counter()
    real = RunRequest.from_json

    def from_json(data: Any) -> RunRequest:
        parsed["request"] += 1
        return real(data)

    monkeypatch.setattr(RunRequest, "from_json", from_json)
    small, large = volume_of(40), volume_of(80)
    grown = {name: (small[name], large[name]) for name in large if large[name] > 2.3 * small[name] + 10}
    # Only hosts that failed are read by the others, for the budget: that is as many as the budget lets through.
    grown.pop("outcomes", None)
    assert grown == {}
    assert parsed["request"] <= 2 * 3, "a request is as long as the run has hosts: it is read once per process"


def test_without_failures_no_host_reads_how_the_others_ended() -> None:
    world = World(" ".join(f"h{number}" for number in range(60)), waves=["100%"], parallel=5)
    found: Counter[str] = Counter()
    runs = world.runs()
    runs.tools.state = Counted(world.state, found)
    request = world.request()
    runs.submit(request)
    runs.execute(request.id)
    assert found["outcomes"] <= 3 * 60, "asked at its start and its end, and answered with nobody"


def exponent(small: tuple[int, float], large: tuple[int, float]) -> float:
    """p, where cost grows as hosts ** p."""
    return math.log(large[1] / small[1]) / math.log(large[0] / small[0])


def check(costs: dict[int, dict[str, float]], limit: float) -> None:
    (few, one), (many, other) = sorted(costs.items())
    told = f"{few} hosts {one}, {many} hosts {other}"
    assert exponent((few, one["cpu"]), (many, other["cpu"])) <= limit, told
    assert other["peak"] < MEMORY, told


@pytest.mark.timeout(1200)
def test_the_engine_costs_about_what_dbos_alone_does_and_grows_as_the_hosts_do(tmp_path: Path) -> None:
    sizes = (125, 500)
    costs = {hosts: alone("engine", hosts, tmp_path / f"engine-{hosts}") for hosts in sizes}
    peer = alone("peer", 125, tmp_path / "peer")
    check(costs, 1.2)
    assert costs[125]["cpu"] < 1.5 * peer["cpu"], f"{costs[125]}, DBOS alone: {peer}"


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_whole_rollout_grows_as_its_hosts_do(tmp_path: Path) -> None:
    check({hosts: alone("rollout", hosts, tmp_path / f"rollout-{hosts}") for hosts in (60, 240)}, 1.2)


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("level", ["engine", "rollout"])
def test_ten_thousand_hosts(level: str, tmp_path: Path) -> None:
    check({hosts: alone(level, hosts, tmp_path / str(hosts)) for hosts in (1000, 10_000)}, 1.1)


# That they share the hosts is also in tests/fleet/test_workers.py; what this adds are the many, and their memory.
@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_workers_on_postgresql_share_the_hosts(postgres: Postgres, tmp_path: Path) -> None:
    first, second = two_workers("engine", 200, database(postgres), tmp_path / "two")
    assert second["children"] + first["children"] == 200
    assert min(first["children"], second["children"]) > 20, "both work"
    assert max(first["peak"], second["peak"]) < MEMORY
