"""A patch plan that requires backups: over three hosts in memory, one of which lacks one, from the gate to the record."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from tests.unit.recovery.points import point, proof
from tests.unit.runner.world import World, verdicts

from mainstay.inventory.host import Host
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.point import RecoveryPoint
from mainstay.recovery.points.memory import MemoryPoints
from mainstay.recovery.required import BackupGate, backing, required_of
from mainstay.runner.engine.contract import Unkept
from mainstay.runner.engine.memory import Crash
from mainstay.runner.plan import BackupRequired, Requires
from mainstay.runner.ports import AlwaysOpen, Gate, Permission
from mainstay.runner.record import MaintenanceRecord
from mainstay.runner.request import RunRequest
from mainstay.runner.runs import record as sealed_record
from mainstay.runner.steps import rfc3339
from mainstay.runner.verdict import Verdict

DAY = BackupRequired(newer_than=86400.0)


class Guarded(World):
    """Three hosts, all declared to be backed up by two plans, and a store of their points."""

    def __init__(self, required: BackupRequired | None = DAY, names: str = "web1 web2 web3", **plan: Any) -> None:
        super().__init__(names, requires=Requires(backup=required) if required else None, **plan)
        self.points = MemoryPoints()
        self.plans: list[BackupPlan] = [backup("nightly", etc={"paths": "/etc"})]

    def request(self, **more: Any) -> RunRequest:
        request = super().request(**more)
        self.gate = self.gate_of(request)
        return request

    def gate_of(self, request: RunRequest) -> Gate:
        required = required_of(request)
        if required is None:
            return AlwaysOpen()
        return BackupGate(
            AlwaysOpen(),
            request,
            required,
            points=lambda: self.points,
            plans=lambda: self.plans,
            clock=self.clock,
        )

    def ago(self, hours: float) -> str:
        return rfc3339(self.clock.now() - timedelta(hours=hours))

    def has(self, host: str, hours: float, run: str, **more: Any) -> RecoveryPoint:
        made = point(self.ago(hours), host=host, run=run, **more)
        self.points.add_point(made)
        return made


def backup(name: str, targets: str = "all", /, **sources: Any) -> BackupPlan:
    return BackupPlan.model_validate({"name": name, "targets": targets, "repository": "main", "sources": sources})


def why(record: MaintenanceRecord, host: str) -> str:
    return next(part.reason for part in record.hosts if part.host == host)


def test_a_host_without_its_backup_is_left_alone_and_the_others_name_what_they_rely_on() -> None:
    world = Guarded()
    world.has("web1", 5, "01A")
    world.has("web2", 23, "01B")
    world.has("web3", 31, "01C")
    record = world.run()
    assert verdicts(record) == {"web1": "succeeded", "web2": "succeeded", "web3": "refused"}
    assert why(record, "web3") == (
        "etc: the newest point that succeeded is 31 h old, newer than 24 h is required; mainstay run nightly --hosts web3"
    )
    assert not world["web3"].log
    assert world["web3"].installed == {"openssl": "1", "perl": "1"}
    assert record.summary.links.relies_on == ("01A", "01B")
    assert {part.host: part.measures.get("relies_on") for part in record.hosts} == {
        "web1": ["01A"],
        "web2": ["01B"],
        "web3": None,
    }
    assert record.summary.verdict == "degraded"


def test_hosts_without_their_backup_come_last_and_are_no_first_wave() -> None:
    """As the first of all, web1 would stop the run: a first wave of which all are refused proves nothing."""
    world = Guarded(names="web1 web2 web3 web10")
    for host in ("web2", "web3", "web10"):
        world.has(host, 5, "01A")
    record = world.run()
    assert [line for line in world.told if line.startswith("wave")] == ["wave 1: web2", "wave 2: web3 web10 web1"]
    assert verdicts(record) == {"web1": "refused", "web2": "succeeded", "web3": "succeeded", "web10": "succeeded"}


def test_a_backup_made_after_the_order_was_laid_out_counts() -> None:
    world = Guarded(waves=[1, 1, 1], soak="2h")
    world.has("web2", 1, "01A")
    world.has("web3", 1, "01A")
    start = world.clock.now()

    def later() -> None:
        if world.clock.now() - start > timedelta(hours=3):
            world.has("web1", 0, "01D")

    world.while_asleep = later
    record = world.run()
    assert [line for line in world.told if line.startswith("wave")] == ["wave 1: web2", "wave 2: web3", "wave 3: web1"]
    assert set(verdicts(record).values()) == {"succeeded"}


def test_what_is_asked_is_asked_when_the_host_is_begun_and_not_when_the_run_is() -> None:
    """web2's turn comes after a soak: its backup has grown too old meanwhile, and web3's was made meanwhile."""
    world = Guarded(waves=[1, 1, 1], soak="2h")
    world.has("web1", 1, "01A")
    world.has("web2", 23, "01B")
    slept: list[float] = []

    def later() -> None:
        slept.append(1)
        if world.clock.now() - start > timedelta(hours=3):
            world.has("web3", 0, "01D")

    start = world.clock.now()
    world.while_asleep = later
    record = world.run()
    assert slept
    assert verdicts(record) == {"web1": "succeeded", "web2": "refused", "web3": "succeeded"}
    assert record.summary.links.relies_on == ("01A", "01D")


def test_a_skipped_gate_passes_it_and_stands_in_the_record() -> None:
    world = Guarded()
    record = world.run(skip_gates={"backup": "there is no time"})
    assert set(verdicts(record).values()) == {"succeeded"}
    assert record.summary.measures["skipped_gates"] == {"backup": "there is no time"}
    assert record.summary.links.relies_on == ()


def test_break_glass_does_not_pass_it() -> None:
    world = Guarded()
    world.has("web1", 1, "01A")
    record = world.run(break_glass="the site is on fire")
    assert verdicts(record) == {"web1": "succeeded", "web2": "refused", "web3": "refused"}


def test_a_rollback_asks_for_no_backup() -> None:
    world = Guarded()
    for host in world.hosts:
        world.has(host, 1, "01A")
    first = world.run()
    request = world.request(kind="rollback")
    assert set(verdicts(first).values()) == {"succeeded"}
    assert required_of(request) is None


def test_a_state_that_can_not_be_read_refuses() -> None:
    world = Guarded()

    def broken(**asked: Any) -> list[RecoveryPoint]:
        raise Unkept("the state can't be read")

    world.points.proved = broken  # type: ignore[method-assign]  # a database that is away
    record = world.run()
    assert set(verdicts(record).values()) == {"refused"}
    assert why(record, "web1") == "its backups can't be looked up: the state can't be read"


def test_a_gate_that_waits_or_refuses_is_heard_first() -> None:
    world = Guarded()
    request = world.request()
    waiting = Permission(answer="wait", reason="night", gate="window")

    class Closed:
        def permit(self, run: str, host: str | None, step: str, estimate: float | None) -> Permission:
            return waiting

    gate = BackupGate(
        Closed(), request, DAY, points=lambda: pytest.fail("asked too early"), plans=list, clock=world.clock
    )
    assert gate.permit("r", "web1", "host", None) is waiting
    # and of the run, of a wave and of a host in hand nothing more is asked
    open_gate = BackupGate(
        AlwaysOpen(), request, DAY, points=lambda: pytest.fail("asked"), plans=list, clock=world.clock
    )
    for host, step in ((None, "run"), (None, "wave"), ("web1", "apply"), ("web1", "reboot")):
        assert open_gate.permit("r", host, step, None).answer == "start"


def test_what_was_relied_on_is_kept_wherever_the_controller_dies() -> None:
    def made() -> Guarded:
        world = Guarded(waves=["100%"])
        world.has("web1", 5, "01A")
        world.has("web2", 5, "01B")
        return world

    whole = made()
    whole.run()
    for number in range(1, whole.store.checkpoints + 1):
        world = made()
        request = world.request()
        runs = world.runs(crash=(number, "after"))
        runs.submit(request)
        with pytest.raises(Crash):
            runs.start(request.id)
        runs.engine.close()
        after = world.runs()
        after.resume()
        after.start(request.id).result()
        sealed = sealed_record(after.tools, request.id)
        where = f"crash after checkpoint {number}"
        assert sealed.summary.links.relies_on == ("01A", "01B"), where
        assert verdicts(sealed) == {"web1": "succeeded", "web2": "succeeded", "web3": "refused"}, where


def asked(world: Guarded, required: BackupRequired, host: str = "web1") -> tuple[str, tuple[str, ...]]:
    found = backing(required, world.hosts[host], world.points, world.plans, world.clock.now())
    return found.reason, found.runs


def test_every_source_has_to_hold() -> None:
    world = Guarded()
    world.plans = [backup("nightly", etc={"paths": "/etc"}, shop={"postgresql": {}})]
    world.has("web1", 1, "01A")
    said, _ = asked(world, DAY)
    assert said == "shop: there is no point; mainstay run nightly --hosts web1"
    world.has("web1", 1, "01A", source="shop", item="orders")
    world.has("web1", 30, "01B", source="shop", item="customers")
    said, _ = asked(world, DAY)
    assert said.startswith("shop/customers: the newest point that succeeded is 30 h old")
    world.has("web1", 2, "01C", source="shop", item="customers")
    assert asked(world, DAY) == ("", ("01A", "01C"))


def test_of_many_faults_the_first_are_told() -> None:
    world = Guarded()
    world.plans = [backup("nightly", **{f"s{number}": {"paths": f"/{number}"} for number in range(5)})]
    said, _ = asked(world, DAY)
    assert said == (
        "s0: there is no point; s1: there is no point; s2: there is no point; and 2 more; mainstay run nightly --hosts web1"
    )


def test_all_plans_of_the_host_count_or_the_one_that_is_named() -> None:
    world = Guarded()
    world.plans = [backup("nightly", etc={"paths": "/etc"}), backup("weekly", "web1", srv={"paths": "/srv"})]
    world.has("web1", 1, "01A")
    world.has("web2", 1, "01A")
    assert asked(world, DAY)[0] == "srv: there is no point; mainstay run weekly --hosts web1"
    assert asked(world, DAY, "web2") == ("", ("01A",))
    named = BackupRequired(newer_than=86400.0, plan="nightly")
    assert asked(world, named) == ("", ("01A",))
    assert (
        asked(world, BackupRequired(newer_than=86400.0, plan="weekly"), "web2")[0] == "web2 is not backed up by weekly"
    )
    world.plans = []
    assert asked(world, DAY)[0] == "web1 is not backed up"


def test_points_of_what_is_no_longer_declared_do_not_count() -> None:
    world = Guarded()
    world.has("web1", 1, "01A", source="old")
    assert asked(world, DAY)[0].startswith("etc: there is no point")
    world.has("web1", 1, "01B")
    assert asked(world, DAY) == ("", ("01B",))


def test_a_degraded_point_counts_where_it_is_accepted() -> None:
    world = Guarded()
    world.has("web1", 30, "01A")
    world.has("web1", 1, "01B", verdict=Verdict.DEGRADED)
    assert "a degraded one is newer" in asked(world, DAY)[0]
    assert asked(world, BackupRequired(newer_than=86400.0, accept_degraded=True)) == ("", ("01B",))


def test_a_proof_that_is_required_and_what_is_relied_on_then() -> None:
    world = Guarded()
    month = BackupRequired(newer_than=86400.0, proved_within=30 * 86400.0)
    old = world.has("web1", 100, "01A")
    world.has("web1", 1, "01B")
    # no backup mends it
    said = "etc: no restore has proved a point, within 30 d is required"
    assert asked(world, month)[0] == f"{said}; mainstay prove nightly --hosts web1"
    world.points.add_proof(proof(old, world.ago(90)))
    assert asked(world, month) == ("", ("01A", "01B"))
    assert asked(world, DAY) == ("", ("01B",))
    world.clock.advance(40 * 86400.0)
    said, _ = asked(world, month)
    assert "a restore last proved a point" in said
    assert said.endswith("; mainstay run nightly --hosts web1 && mainstay prove nightly --hosts web1")


def test_a_copy_is_relied_on_as_what_it_is_a_copy_of() -> None:
    world = Guarded()
    made = world.has("web1", 1, "01A", id="0" * 64)
    world.points.add_point(  # of two of the same moment the greater id counts as the newer
        made.model_copy(update={"id": "f" * 64, "repository": "offsite", "copy_of": made.id, "run": "01COPY"})
    )
    assert asked(world, DAY) == ("", ("01A",))


def test_a_point_dated_in_the_future_is_none() -> None:
    world = Guarded()
    world.has("web1", -48, "01A")
    assert asked(world, DAY)[0].startswith("etc: there is no point")


def test_a_host_is_known_by_what_the_plan_picks() -> None:
    world = Guarded()
    world.plans = [backup("nightly", "role=db", etc={"paths": "/etc"})]
    tagged = Host(name="web1", address="10.0.0.1", tags={"role": "db"})
    assert backing(DAY, tagged, world.points, world.plans, world.clock.now()).unmet == ("etc: there is no point",)
    assert asked(world, DAY)[0] == "web1 is not backed up"
