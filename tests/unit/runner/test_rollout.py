"""The rollout's promises, on machines in memory."""

import pytest
from tests.unit.runner.world import World, steps, verdicts

from mainstay.runner.record import HostPart

WAVES = {"waves": [1, "25%", "100%"], "parallel": 2}


def reason(record: object, host: str) -> str:
    return part(record, host).reason


def part(record: object, host: str) -> HostPart:
    return next(part for part in record.hosts if part.host == host)  # type: ignore[attr-defined, no-any-return]  # a MaintenanceRecord


def test_every_host_is_patched_in_waves_and_the_record_is_sealed() -> None:
    world = World("web1 web2 web3 web4 web5", **WAVES)
    record = world.run()
    assert record.summary.verdict == "succeeded" and record.seq == 1
    assert [line for line in world.told if line.startswith("wave")] == [
        "wave 1: web1",
        "wave 2: web2 web3",
        "wave 3: web4 web5",
    ]
    assert all(machine.installed == {"openssl": "2", "perl": "2"} for machine in world.machines.values())
    assert record.summary.measures["packages_changed"] == 10
    assert part(record, "web1").before["packages"] == {"openssl": "1", "perl": "1"}
    assert part(record, "web1").after["packages"] == {"openssl": "2", "perl": "2"}
    assert world.ledger.verify() == []


def test_the_order_of_one_hosts_steps_and_the_lock_given_back() -> None:
    world = World("web1", before={"command": "drain"}, after={"command": "undrain"}, other_updaters="fence")
    record = world.run()
    assert steps(record, "web1") == [
        "admit", "lock", "probe", "preflight", "fence-updaters", "resolve", "stage", "capture", "before",
        "apply.launch", "apply", "verify", "restart", "reboot.need", "health", "after", "release-updaters", "release",
    ]  # fmt: skip
    assert world["web1"].log == ["stage keep", "drain", "apply", "health", "undrain"]
    assert world["web1"].there.lock.run == "" and not world["web1"].fenced
    assert world["web1"].there.lock.last_run == record.summary.id


def test_a_failure_in_the_first_wave_stops_everything_whatever_the_budget() -> None:
    world = World("web1 web2 web3", on_failure="rollback-host", budget=5, **WAVES)
    world["web1"].wrong = {"health"}
    record = world.run()
    assert verdicts(record) == {"web1": "rolled-back", "web2": "cancelled", "web3": "cancelled"}
    assert record.summary.verdict == "rolled-back"
    assert record.summary.reason == "stopped in wave 1, which has to be green"
    assert world["web1"].installed == {"openssl": "1", "perl": "1"}
    assert world["web2"].there.contacts == 1, "asked once in the survey, never touched"
    assert "demo-web did not come up" in reason(record, "web1") and "put back" in reason(record, "web1")


def test_budget_is_counted_over_the_rollout_and_the_next_failure_stops_it() -> None:
    world = World("w1 w2 w3 w4 w5 w6", waves=[1, 1], parallel=1, budget=1)
    world["w2"].wrong = world["w4"].wrong = {"verify"}
    record = world.run()
    assert verdicts(record) == {
        "w1": "succeeded", "w2": "failed", "w3": "succeeded", "w4": "failed", "w5": "cancelled", "w6": "cancelled",
    }  # fmt: skip
    assert record.summary.reason == "stopped in wave 4: 2 failed, 1 tolerated"


def test_within_a_wave_nothing_new_starts_once_the_budget_is_used_up() -> None:
    world = World("w1 w2 w3 w4", waves=[1, "100%"], parallel=1)
    world["w2"].wrong = {"apply"}
    record = world.run()
    assert verdicts(record) == {"w1": "succeeded", "w2": "failed", "w3": "cancelled", "w4": "cancelled"}
    assert "apply" not in world["w3"].log


def test_halt_leaves_a_failed_host_as_it_is_and_out_of_service() -> None:
    world = World("web1", before={"command": "drain"}, after={"command": "undrain"})
    world["web1"].wrong = {"health"}
    record = world.run()
    assert verdicts(record) == {"web1": "failed"}
    assert world["web1"].installed["openssl"] == "2"
    assert "undrain" not in world["web1"].log
    assert part(record, "web1").measures["drained"] is True


def test_a_host_that_was_put_back_goes_into_service_again() -> None:
    world = World("web1", before={"command": "drain"}, after={"command": "undrain"}, on_failure="rollback-host")
    world["web1"].wrong = {"health"}
    record = world.run()
    assert verdicts(record) == {"web1": "rolled-back"}
    assert world["web1"].log == ["stage keep", "drain", "apply", "health", "stage", "back", "health", "undrain"]


def test_what_must_not_go_back_by_itself_stays_and_says_so() -> None:
    world = World("web1", on_failure="rollback-host")
    world["web1"].wrong, world["web1"].never = {"health"}, ("openssl",)
    record = world.run()
    assert verdicts(record) == {"web1": "failed"}
    assert "without a human: openssl" in reason(record, "web1")
    assert world["web1"].installed["openssl"] == "2"


def test_a_way_back_that_fails_is_a_failure_not_a_rollback() -> None:
    world = World("web1", on_failure="rollback-host")
    world["web1"].wrong = {"health", "undo.apply"}
    record = world.run()
    assert verdicts(record) == {"web1": "failed"} and "could not be put back" in reason(record, "web1")


def test_rollback_all_takes_back_the_hosts_that_were_well_the_last_first() -> None:
    world = World("w1 w2 w3", waves=[1, 1], on_failure="rollback-all", parallel=1)
    world["w3"].wrong = {"health"}
    record = world.run()
    assert verdicts(record) == {"w1": "rolled-back", "w2": "rolled-back", "w3": "rolled-back"}
    assert all(machine.installed == {"openssl": "1", "perl": "1"} for machine in world.machines.values())
    assert all(machine.there.lock.run == "" for machine in world.machines.values())
    taken_back = [line for line in world.told if line.endswith("rolled-back")]
    assert taken_back[:3] == ["w3 rolled-back", "w2 rolled-back", "w1 rolled-back"]


def test_the_same_change_is_not_tried_again_after_a_rollback_until_retry() -> None:
    world = World("web1", on_failure="rollback-host")
    world["web1"].wrong = {"health"}
    world.run()
    world["web1"].wrong = set()
    second = world.run()
    assert verdicts(second) == {"web1": "refused"} and "rolled back" in reason(second, "web1")
    assert verdicts(world.run(retry=True)) == {"web1": "succeeded"}


@pytest.mark.parametrize("wrong", ["prepare", "baseline", "capture"])
def test_a_host_refused_in_preflight_is_untouched_and_not_counted(wrong: str) -> None:
    world = World("w1 w2 w3", waves=[1, 1, "100%"], health={"http": "http://{address}/"})
    world["w2"].wrong = {wrong}
    record = world.run()
    assert verdicts(record) == {"w1": "succeeded", "w2": "refused", "w3": "succeeded"}
    assert record.summary.verdict == "degraded"
    assert world["w2"].there.lock.run == "" and "apply" not in world["w2"].log


def test_a_host_that_is_away_at_the_start_is_refused_as_far_as_the_plan_tolerates() -> None:
    world = World("w1 w2 w3", unreachable=1)
    world["w2"].there.unreachable = "no route to host"
    record = world.run()
    assert verdicts(record) == {"w1": "succeeded", "w2": "refused", "w3": "succeeded"}
    assert "unreachable: no route to host" in reason(record, "w2")


def test_too_many_away_and_nothing_is_touched() -> None:
    world = World("w1 w2 w3")
    world["w2"].there.unreachable = "no route to host"
    record = world.run()
    assert record.summary.verdict == "refused" and "1 of 3 hosts unreachable, 0 tolerated" in record.summary.reason
    assert world["w1"].installed["openssl"] == "1"


def test_hosts_away_at_the_start_and_later_are_counted_together() -> None:
    world = World("w1 w2 w3 w4", waves=[1, 1], unreachable=1)
    world["w4"].there.unreachable = "no route to host"

    def gone() -> None:
        world["w2"].there.unreachable = "no route to host"

    world["w1"].meanwhile = gone
    record = world.run()
    assert verdicts(record) == {"w1": "succeeded", "w2": "refused", "w3": "cancelled", "w4": "refused"}
    assert "2 unreachable, 1 tolerated" in record.summary.reason


def test_a_host_whose_key_is_not_pinned_is_refused_not_away() -> None:
    world = World("w1 w2")
    world["w1"].there.key = "changed"
    record = world.run()
    assert verdicts(record) == {"w1": "refused", "w2": "succeeded"}
    assert "hosts trust w1 --replace" in reason(record, "w1")


def test_nothing_to_do_is_well_and_takes_no_place_in_a_wave() -> None:
    world = World("w1 w2")
    world["w1"].offers = {}
    record = world.run()
    assert verdicts(record) == {"w1": "succeeded", "w2": "succeeded"}
    assert reason(record, "w1") == "nothing to do"
    assert [line for line in world.told if line.startswith("wave")] == ["wave 1: w2"]


def test_lost_in_the_middle_is_unknown_counts_and_keeps_its_lock() -> None:
    world = World("w1 w2", waves=[1, 1])
    world["w1"].takes = 60
    polls = 0

    def vanish() -> None:
        nonlocal polls
        polls += 1
        if polls == 3:
            world["w1"].there.unreachable = "timed out"

    world.while_asleep = vanish
    record = world.run()
    assert verdicts(record) == {"w1": "unknown", "w2": "cancelled"}
    assert world["w1"].there.lock.run == record.summary.id
    assert "no contact for" in reason(record, "w1")


def test_contact_that_comes_back_in_time_is_no_matter() -> None:
    world = World("w1")
    naps = 0

    def blink() -> None:
        nonlocal naps
        naps += 1
        world["w1"].there.unreachable = "timed out" if 3 <= naps < 20 else ""
        world["w1"].there.time.advance(5)

    world["w1"].takes = 60
    world.while_asleep = blink
    assert verdicts(world.run()) == {"w1": "succeeded"}


def test_a_reboot_is_proved_by_another_boot_id() -> None:
    world = World("w1", reboot="when-needed")
    world["w1"].reboot = True
    record = world.run()
    assert part(record, "w1").before["boot_id"] == "boot-1" and part(record, "w1").after["boot_id"] == "boot-2"
    assert record.summary.measures["reboots"] == 1 and world["w1"].log.count("reboot") == 1


def test_a_host_that_does_not_come_back_is_unknown() -> None:
    world = World("w1", reboot="always")
    world["w1"].wrong = {"reboot"}
    assert verdicts(world.run()) == {"w1": "unknown"}


def test_a_pending_reboot_under_never_is_a_measure_not_a_fault() -> None:
    world = World("w1", reboot="never")
    world["w1"].reboot = True
    record = world.run()
    assert verdicts(record) == {"w1": "succeeded"} and record.summary.measures["reboots_pending"] == 1


def test_old_code_that_still_runs_makes_the_host_degraded() -> None:
    world = World("w1 w2", waves=[1, 1])
    world["w1"].wrong = {"stale"}
    record = world.run()
    assert verdicts(record) == {"w1": "degraded", "w2": "succeeded"}
    assert "dbus.service" in reason(record, "w1")
    assert part(record, "w1").after["stale"] == ["dbus.service (why)"]


def test_degraded_stops_a_strict_plan_at_the_gate() -> None:
    world = World("w1 w2", waves=[1, 1], strict=True)
    world["w1"].wrong = {"stale"}
    assert verdicts(world.run()) == {"w1": "degraded", "w2": "cancelled"}


def test_changes_by_others_meanwhile_are_named() -> None:
    world = World("w1")
    world["w1"].wrong = {"others"}
    record = world.run()
    assert verdicts(record) == {"w1": "degraded"} and "upgrade curl" in reason(record, "w1")


def test_a_failed_before_hook_changes_nothing_and_puts_the_host_back_into_service() -> None:
    world = World("w1", before={"command": "drain"}, after={"command": "undrain"})
    world["w1"].wrong = {"drain"}
    record = world.run()
    assert verdicts(record) == {"w1": "failed"}
    assert world["w1"].log == ["stage keep", "drain", "health", "undrain"]
    assert world["w1"].installed["openssl"] == "1" and world["w1"].there.lock.run == ""


def test_a_version_that_appears_in_mid_rollout_is_not_taken() -> None:
    world = World("w1 w2", waves=[1, 1])
    world["w1"].meanwhile = lambda: world["w2"].offers.update(openssl="3")
    world.run()
    assert world["w2"].installed["openssl"] == "2"
