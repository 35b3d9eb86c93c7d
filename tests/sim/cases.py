"""What happens in the world of a seed: who is there, what is asked, and all that will go wrong. Pure: from the seed alone."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from mainstay.inventory.limits import Limits
from mainstay.runner.plan import PatchPlan

FOREVER = float("inf")

HOST_FAULTS = (
    "apply-fails",
    "postinst-hangs",
    "red-with-new",
    "red",
    "no-return",
    "drain-fails",
    "undrain-fails",
    "capture-refused",
    "prepare-refused",
    "undo-fails",
)

FROZEN_FOR = (3.0, 20.0, 60.0, 400.0)

AMBUSHES = (
    *2 * ("commanded what='launch",),  # the job is there, and nobody knows
    "commanded what='lock acquire'",
    "commanded what='lock release'",
    "commanded what='hook",
    "kept step=apply.launch",
    "kept step=apply",
    "begin step=record",
    "note-outcome",
    "write-part",
    "add-undo",
    *3 * ("begin step=lock",),  # before a number is drawn: what is frozen here draws it when another one owns the work
    "begin step=apply.launch",
    "seal",
    "kept step=seal",
    "set-run",
    "taken-over",
    "contact-lost",
)
"""The moments that are worth dying in, besides those that chance picks."""


@dataclass(frozen=True, slots=True)
class HostCase:
    """cuts: (since, until, number of a process or 0 for all). reboots: (when, seconds away) that nobody asked for."""

    name: str
    rack: str
    cohort: str
    versions: tuple[tuple[str, str], ...]
    wrong: frozenset[str]
    reboot_wanted: bool
    drops: float
    cuts: tuple[tuple[float, float, int], ...]
    reboots: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class RunCase:
    id: str
    plan: PatchPlan
    packages: tuple[str, ...]
    hosts: tuple[str, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Wish:
    at: float
    run: str
    wish: str
    by: str


@dataclass(frozen=True, slots=True)
class Case:
    """crashes: turns of processes at which the one whose turn it is dies. freezes: (turn, seconds). window: (opens, shuts).
    ambushes: (what an event says, which one of them, seconds): the process in whose turn it happens is frozen then for so
    long, or dies where that is 0."""

    seed: int
    hosts: tuple[HostCase, ...]
    runs: tuple[RunCase, ...]
    wishes: tuple[Wish, ...]
    processes: int
    shared: bool
    crashes: tuple[int, ...]
    freezes: tuple[tuple[int, float], ...]
    ambushes: tuple[tuple[str, int, float], ...]
    window: tuple[float, float] | None
    limits: Limits
    """Of the whole site."""

    def run(self, id: str) -> RunCase:
        return next(run for run in self.runs if run.id == id)


def case(seed: int) -> Case:
    chance = Random(f"case {seed}")
    names = [f"h{number}" for number in range(1, chance.randint(2, 9) + 1)]
    shared = chance.random() < 0.6
    rough = chance.random() < 0.7
    hosts = tuple(_host(chance, name, rough) for name in names)
    runs = tuple(_run(chance, f"R{number}", names) for number in range(1, chance.choice((1, 1, 2)) + 1))
    turns = 110 * sum(len(run.hosts) for run in runs)
    crashes = tuple(sorted(chance.randrange(1, turns) for _ in range(chance.choice((0, 1, 2, 4)))))
    freezes = tuple((chance.randrange(1, turns), chance.choice(FROZEN_FOR)) for _ in range(chance.choice((0, 1, 2))))
    ambushes = tuple(
        (chance.choice(AMBUSHES), chance.choice((1, 1, 2, 3, 5)), chance.choice((0.0, 0.0, *FROZEN_FOR)))
        for _ in range(chance.choice((0, 1, 2, 3, 4)))
    )
    window = (chance.uniform(0, 60), chance.choice((300.0, 3600.0))) if chance.random() < 0.2 else None
    return Case(
        seed=seed,
        hosts=hosts,
        runs=runs,
        wishes=_wishes(chance, runs),
        processes=chance.randint(2, 3) if shared else 1,
        shared=shared,
        crashes=crashes,
        freezes=freezes,
        ambushes=ambushes,
        window=window,
        limits=Limits.model_validate(
            chance.choice(({}, {}, {"parallel": 2}, {"spread": {"rack": 1}}, {"spread": {"rack": 2}}))
        ),
    )


def _host(chance: Random, name: str, rough: bool) -> HostCase:
    wrong = frozenset(fault for fault in HOST_FAULTS if rough and chance.random() < 0.06)
    cuts: list[tuple[float, float, int]] = []
    if rough and chance.random() < 0.3:
        since = chance.choice((0.0, chance.uniform(0, 200), chance.uniform(0, 1500)))
        lasts = chance.choice((5.0, 60.0, 600.0, FOREVER))
        cuts.append((since, since + lasts, chance.choice((0, 0, 1, 2))))
    reboots = ((chance.uniform(0, 600), chance.uniform(5, 120)),) if rough and chance.random() < 0.1 else ()
    return HostCase(
        name=name,
        rack=chance.choice(("r1", "r1", "r2", "")),
        cohort=chance.choice(("12", "12", "12", "13")),
        versions=tuple((package, chance.choice(("1", "1", "1", "1", "2"))) for package in ("openssl", "perl")),
        wrong=wrong,
        reboot_wanted=chance.random() < 0.3,
        drops=chance.choice((0.0, 0.0, 0.0, 0.01)) if rough else 0.0,
        cuts=tuple(cuts),
        reboots=reboots,
    )


def _run(chance: Random, id: str, names: list[str]) -> RunCase:
    careful: dict[str, Any] = {
        "waves": chance.choice(([1, "100%"], ["100%"], [1, 2, "100%"], [2], ["34%"])),
        "parallel": chance.choice((1, 2, 3, 10)),
        "budget": chance.choice((0, 0, 1, 2, "50%")),
        "strict_budget": chance.random() < 0.4,
        "spread": chance.choice(({}, {}, {}, {"rack": 1})),
        "strict": chance.random() < 0.2,
        "unreachable": chance.choice((0, 1, "50%", "100%")),
        "soak": chance.choice((0, 0, "1m", "30m")),
        "before": [{"command": ["drain"]}] if chance.random() < 0.5 else [],
        "after": [{"command": ["undrain"]}] if chance.random() < 0.5 else [],
        "health": [{"service": "demo-web"}] if chance.random() < 0.8 else [],
        "restart": chance.choice(("affected", "none", "reboot")),
        "reboot": chance.choice(("when-needed", "when-needed", "always", "never")),
        "other_updaters": chance.choice(("fence", "report")),
        "on_failure": chance.choice(("halt", "rollback-host", "rollback-all", "rollback-all")),
    }
    plan = PatchPlan.model_validate({"name": f"plan-{id}", "targets": "all", **careful})
    some = chance.sample(names, chance.randint(max(1, len(names) - 2), len(names)))
    packages = chance.choice((("openssl",), ("perl",), ("openssl", "perl")))
    return RunCase(id, plan, packages, tuple(sorted(some)), chance.choice((0.0, 0.0, chance.uniform(0, 300))))


def _wishes(chance: Random, runs: tuple[RunCase, ...]) -> tuple[Wish, ...]:
    wishes: list[Wish] = []
    for run in runs:
        at, lot = run.at + chance.uniform(0, 150), chance.random()
        if lot < 0.25:
            wishes.append(Wish(at, run.id, "pause", "anna"))
            wishes.append(Wish(at + chance.choice((10.0, 300.0, 3600.0)), run.id, "", "ben"))
        if 0.15 < lot < 0.4:
            wishes.append(Wish(at + chance.choice((-1.0, 0.0, 1.0, 60.0)), run.id, "cancel", "carol"))
        if 0.35 < lot < 0.4:
            # At another desk somebody pauses what was just cancelled, and thinks better of it.
            wishes.append(Wish(at + 2.0, run.id, "pause", "anna"))
            wishes.append(Wish(at + 3.0, run.id, "", "anna"))
    return tuple(sorted(wishes, key=lambda wish: (wish.at, wish.run)))
