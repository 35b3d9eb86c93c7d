"""The gate: what may start when, what waits for what, and what is said about it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.schedules.gates import NIGHT, around, occurrence, request_of, utc

from mainstay.runner.ports import Permission
from mainstay.schedules.approvals import Standing
from mainstay.schedules.windows import Window

OWN = occurrence("11 01:00", "11 04:00", "11 03:00")


def short(permission: Permission) -> tuple[str, str, str]:
    return permission.answer, permission.verdict if permission.answer == "refuse" else "", permission.gate


# By hand


def test_by_hand_a_run_starts_within_its_window_and_is_told_when_that_ends() -> None:
    permission = around().ask(request_of(NIGHT), now="11 01:00")
    assert (permission.answer, permission.until) == ("start", "2026-12-11T04:00:00.000Z")


def test_where_the_zone_is_utc_the_opening_is_named_once() -> None:
    permission = around().ask(request_of(NIGHT.model_copy(update={"timezone": "UTC"})), now="11 01:00")
    assert "night opens Fri 2026-12-11 02:00 UTC" in permission.reason
    assert "(2026-" not in permission.reason


@pytest.mark.parametrize("now", ["11 00:59", "11 04:00", "10 12:00"])
def test_by_hand_outside_it_is_refused_and_the_next_opening_named_in_local_time_and_utc(now: str) -> None:
    permission = around().ask(request_of(NIGHT), now=now)
    assert short(permission) == ("refuse", "refused", "window")
    day = "12" if now == "11 04:00" else "11"
    weekday = {"11": "Fri", "12": "Sat"}[day]
    assert "outside the window night" in permission.reason
    assert f"night opens {weekday} 2026-12-{day} 02:00 CET (2026-12-{day} 01:00 UTC)" in permission.reason


def test_after_the_cutoff_nothing_new_starts_and_it_is_said_why() -> None:
    permission = around().ask(request_of(NIGHT), now="11 03:00")
    assert permission.answer == "refuse" and "past the cutoff of night, Fri 2026-12-11 04:00 CET" in permission.reason
    assert "opens Sat 2026-12-12 02:00 CET" in permission.reason
    assert around().ask(request_of(NIGHT), now="11 02:59").answer == "start"


def test_any_of_the_plans_windows_will_do_and_the_nearest_is_named() -> None:
    noon = Window.model_validate({"name": "noon", "cron": "0 12 * * *", "duration": "30m", "timezone": "UTC"})
    request = request_of(NIGHT, noon)
    assert around().ask(request, now="11 12:10").until == "2026-12-11T12:30:00.000Z"
    refused = around().ask(request, now="11 11:00")
    assert (
        "outside the windows night, noon" in refused.reason and "noon opens Fri 2026-12-11 12:00 UTC" in refused.reason
    )


def test_a_run_without_windows_starts_at_any_time_unless_it_is_frozen() -> None:
    world = around()
    assert world.ask(request_of()) == Permission(answer="start")
    world.freezes = [("year-end close", None, utc("11 00:00"), utc("12 00:00"))]
    frozen = world.ask(request_of())
    assert short(frozen) == ("refuse", "refused", "freeze")
    assert frozen.reason == "frozen: year-end close (until Sat 2026-12-12 01:00 CET)"


def test_one_that_waits_for_the_next_opening_starts_in_it() -> None:
    request = request_of(NIGHT, queued=True)
    waiting = around().ask(request, now="10 12:00")
    assert short(waiting) == ("wait", "", "window") and waiting.until == "2026-12-11T01:00:00.000Z"
    assert around().ask(request, now="11 03:30").until == "2026-12-12T01:00:00.000Z", "past the cutoff it waits on"
    assert around().ask(request, now="11 01:00").answer == "start"
    assert around().ask(request, step="wave", now="11 03:00").answer == "refuse", "begun, it is as any other"


# By the clock


@pytest.mark.parametrize(
    ("now", "answer"),
    [
        ("11 00:59", "wait"),
        ("11 01:00", "start"),
        ("11 02:59", "start"),
        ("11 03:00", "refuse"),
        ("12 01:30", "refuse"),
    ],
)
def test_an_occurrence_starts_in_its_own_opening_alone(now: str, answer: str) -> None:
    permission = around().ask(request_of(NIGHT, occurrence=OWN), now=now)
    assert permission.answer == answer
    if answer == "refuse":
        assert permission.verdict == "missed" and "too late" in permission.reason


def test_a_missed_one_is_put_on_record_as_that_even_where_glass_is_broken() -> None:
    missed = OWN.model_copy(update={"missed": "the controller was down"})
    permission = around().ask(request_of(NIGHT, occurrence=missed, break_glass="now"))
    assert (permission.verdict, permission.reason) == ("missed", "the controller was down")
    refused = OWN.model_copy(update={"refused": "a playbook as hook is not available yet"})
    assert short(around().ask(request_of(NIGHT, occurrence=refused))) == ("refuse", "refused", "plan")


def test_one_that_comes_late_needs_a_window_that_is_open() -> None:
    noon = Window.model_validate({"name": "noon", "cron": "0 12 * * *", "duration": "30m", "timezone": "UTC"})
    late = request_of(NIGHT, noon, occurrence=OWN.model_copy(update={"late": True}))
    assert around().ask(late, now="11 12:10").answer == "start"
    over = around().ask(late, now="11 12:40")
    assert over.verdict == "missed" and "no window of the plan is open any more" in over.reason


# Freezes and calendars


def test_a_freeze_that_ends_before_the_cutoff_is_waited_for_and_a_longer_one_refuses() -> None:
    world = around()
    world.freezes = [("deploy", None, utc("11 00:00"), utc("11 02:00"))]
    for request in (request_of(NIGHT), request_of(NIGHT, occurrence=OWN)):
        waiting = world.ask(request)
        assert short(waiting) == ("wait", "", "freeze") and waiting.until == "2026-12-11T02:00:00.000Z"
    world.freezes = [("deploy", None, utc("11 00:00"), utc("11 03:00"))]
    assert short(world.ask(request_of(NIGHT, occurrence=OWN))) == ("refuse", "refused", "freeze")
    assert world.ask(request_of(NIGHT, occurrence=OWN), now="11 03:00").verdict == "missed"


def test_a_freeze_of_one_host_holds_for_that_one_alone() -> None:
    world = around()
    world.freezes = [("month end", "w2", utc("11 00:00"), utc("11 02:00"))]
    request = request_of(NIGHT, occurrence=OWN)
    assert world.ask(request).answer == world.ask(request, "w1").answer == "start"
    assert world.ask(request, "w2").answer == "wait"
    assert world.ask(request, "w2", "apply").answer == "refuse", "a host in hand does not wait"


def test_a_calendar_that_is_too_old_refuses_and_one_without_an_event_too() -> None:
    world = around()
    world.stale = "calendar business is 9 d old"
    assert short(world.ask(request_of(NIGHT))) == ("refuse", "refused", "freeze")
    world.stale, world.business = "", False
    asked = request_of(NIGHT, rules={"calendar": ["business"]})
    assert short(world.ask(asked)) == ("refuse", "refused", "calendar")
    assert world.ask(request_of(NIGHT)).answer == "start"


# Approval


def test_an_approval_is_waited_for_within_the_window_and_asked_for_until_its_cutoff() -> None:
    world = around()
    world.approval = Standing("waiting", 0, 1, "2026-12-11T03:00:00.000Z", "nobody has approved it")
    needs = {"approval": "required"}
    waiting = world.ask(request_of(NIGHT, rules=needs))
    assert short(waiting) == ("wait", "", "approval") and waiting.until == "2026-12-11T03:00:00.000Z"
    assert [one.cutoff_at for one in world.asked if one] == [utc("11 03:00")]
    assert world.ask(request_of(NIGHT, rules=needs, queued=True), now="11 12:00").gate == "window"
    assert world.asked[-1] is not None and world.asked[-1].starts_at == utc("12 01:00"), "of the one it waits for"
    assert world.ask(request_of(NIGHT, rules=needs), "w1", now="11 01:30").answer == "start", "asked of the run alone"


def test_nobody_is_asked_to_approve_what_does_not_start() -> None:
    world = around("11 12:00")
    assert world.ask(request_of(NIGHT, rules={"approval": "required"})).gate == "window"
    assert world.asked == []


def test_that_nobody_has_approved_it_is_the_reason_and_not_that_it_is_late() -> None:
    world = around("11 03:00")
    world.approval = Standing("refused", 0, 1, "2026-12-11T03:00:00.000Z", "not approved by 03:00")
    permission = world.ask(request_of(NIGHT, occurrence=OWN, rules={"approval": "two-person"}))
    assert (short(permission), permission.reason) == (("refuse", "refused", "approval"), "not approved by 03:00")


# Passed over


def test_broken_glass_passes_window_freeze_and_approval_and_the_cutoff_of_hosts() -> None:
    world = around("11 12:00")
    world.freezes = [("close", None, utc("11 00:00"), utc("12 00:00"))]
    world.approval = Standing("waiting")
    request = request_of(NIGHT, rules={"approval": "required"}, break_glass="the site is down")
    assert world.ask(request).reason == "break-glass: the site is down"
    assert all(world.ask(request, "w1", step).answer == "start" for step in ("host", "apply", "reboot"))
    assert world.ask(request_of(NIGHT, break_glass="  ")).answer == "refuse", "no reason is none"


@pytest.mark.parametrize("gate", ["window", "freeze", "calendar", "approval"])
def test_one_gate_that_is_passed_over_leaves_the_others(gate: str) -> None:
    def refusing(world_now: str, skip: dict[str, str]) -> str:
        world = around(world_now)
        world.approval = Standing("refused", reason="no")
        world.business = False
        world.freezes = [("close", None, utc("11 00:00"), utc("12 00:00"))]
        order = ["window", "freeze", "calendar", "approval"]
        seen = dict(skip)
        found = []
        request = request_of(NIGHT, rules={"approval": "required", "calendar": ["b"]})
        while (no := world.ask(request.model_copy(update={"skip_gates": seen}))).answer != "start":
            found.append(no.gate)
            seen[no.gate] = "test"
        assert found == [one for one in order if one not in skip]
        return " ".join(found)

    assert gate not in refusing("11 12:00", {gate: "because"})


def test_a_skipped_window_has_no_cutoff_and_no_end() -> None:
    request = request_of(NIGHT, skip_gates={"window": "because"})
    assert around().ask(request, "w1", now="11 03:59") == Permission(answer="start")
    assert around().ask(request, "w1", "reboot", now="11 12:00") == Permission(answer="start")


# Hosts


def test_a_host_is_not_begun_after_the_cutoff_and_is_first_in_line_then() -> None:
    for request in (request_of(NIGHT, occurrence=OWN), request_of(NIGHT)):
        world = around("11 03:00")
        permission = world.ask(request, "w2")
        assert short(permission) == ("refuse", "refused", "window")
        assert permission.reason == "past the cutoff of night, Fri 2026-12-11 04:00 CET; carried over"
        (carried,) = world.store.carried("patch-web")
        assert (carried.host, carried.run, carried.at) == ("w2", request.id, "2026-12-11T03:00:00.000Z")


def test_a_host_that_what_is_left_can_not_hold_is_not_begun() -> None:
    world = around()
    world.past = {"w1": [600.0] * 19 + [7200.0], "w2": [60.0]}
    request = request_of(NIGHT, occurrence=OWN, hosts="w1 w2 w3")
    assert world.ask(request, "w1", now="11 02:58").answer == "start", "the 95th of 100 is 10 min"
    world.past["w1"] = [600.0] * 18 + [7200.0] * 2
    assert world.ask(request, "w1", now="11 01:59").answer == "start"
    assert world.ask(request, "w2", now="11 02:30").answer == "start"
    no = world.ask(request, "w1", now="11 02:30")
    assert no.reason == "no time left in night: needs about 2 h, 1 h 30 min are there; carried over"
    assert [one.host for one in world.store.carried()] == ["w1"]
    assert world.ask(request, "w3", now="11 02:30").answer == "refuse", "without a past of its own: the plan's"


def test_without_any_past_half_an_hour_is_taken_or_half_of_a_window_that_is_short() -> None:
    late = Window.model_validate({**NIGHT.model_dump(exclude={"source"}), "duration": "3h", "cutoff": "5m"})
    assert around().ask(request_of(late), "w1", now="11 03:30").answer == "start"
    assert "needs about 30 min, 29 min" in around().ask(request_of(late), "w1", now="11 03:31").reason
    short_one = Window.model_validate({**NIGHT.model_dump(exclude={"source"}), "duration": "20m", "cutoff": "0m"})
    assert around().ask(request_of(short_one), "w1", now="11 01:09").answer == "start"
    assert "needs about 10 min, 9 min" in around().ask(request_of(short_one), "w1", now="11 01:11").reason


def test_it_is_said_where_a_host_can_never_fit() -> None:
    world = around("11 01:00")
    world.past = {"w1": [4 * 3600.0]}
    assert "needs about 4 h, 3 h are there; all of it is too short" in world.ask(request_of(NIGHT), "w1").reason


def test_before_the_change_what_counts_is_what_is_still_to_come() -> None:
    world = around("11 02:30")
    world.past = {"w1": [7200.0]}  # of which the change itself took none
    request = request_of(NIGHT, occurrence=OWN)
    assert world.ask(request, "w1", "host").answer == "refuse"
    assert world.ask(request, "w1", "apply").answer == world.ask(request, "w1", "before").answer == "start"
    assert "carried over" in world.ask(request, "w1", "apply", now="11 03:00").reason


def test_a_host_in_hand_is_brought_to_its_end_and_not_disturbed_past_the_overrun() -> None:
    for request in (request_of(NIGHT, occurrence=OWN), request_of(NIGHT)):
        for step in ("restart", "reboot"):
            assert around().ask(request, "w1", step, now="11 04:29").answer == "start"
            no = around().ask(request, "w1", step, now="11 04:30")
            assert no.reason == "night ended 30 min ago, and 30 min are allowed (overrun)"
    asked_later = request_of(NIGHT, asked_at="2026-12-11T04:10:00.000Z")
    assert "ended long ago" in around().ask(asked_later, "w1", "reboot", now="11 04:20").reason


def test_by_the_hosts_own_clocks_each_starts_in_its_own_night() -> None:
    local = Window.model_validate({**NIGHT.model_dump(exclude={"source"}), "timezone": "host"})
    request = request_of(local, hosts="w1 w2@Asia/Tokyo")
    assert around().ask(request, now="10 17:30").answer == "start", "02:30 in Tokyo"
    assert around().ask(request, "w2", now="10 17:30").answer == "start"
    no = around().ask(request, "w1", now="10 17:30")
    assert (
        no.answer == "refuse"
        and "no window of the plan is open on it; night opens Fri 2026-12-11 02:00 CET" in no.reason
    )
    waiting = around().ask(request_of(local, hosts="w1 w2@Asia/Tokyo", queued=True), "w1", now="10 17:30")
    assert (waiting.answer, waiting.until) == ("wait", "2026-12-11T01:00:00.000Z")


def test_jitter_gives_each_host_always_the_same_place_before_the_cutoff() -> None:
    request = request_of(NIGHT, occurrence=OWN, hosts=" ".join(f"w{n}" for n in range(40)), rules={"jitter": "1h"})
    world = around("11 01:00")
    answers = {host.name: world.ask(request, host.name) for host in request.hosts}
    assert {one.answer for one in answers.values()} == {"wait"}
    untils = {name: one.until or "" for name, one in answers.items()}
    assert all("2026-12-11T01:00" <= until < "2026-12-11T02:00" for until in untils.values())
    quarters = {until[14:15] for until in untils.values()}
    assert quarters == set("012345"), "all over the hour"
    assert {name: around("11 01:00").ask(request, name).until for name in untils} == untils
    assert world.ask(request, "w7", now="11 02:00").answer == "start"
    assert around("11 01:00").ask(request_of(NIGHT, rules={"jitter": "1h"}), "w1").answer == "start", "by hand: now"
    wide = request_of(NIGHT, occurrence=OWN, hosts="w1 w2 w3 w4", rules={"jitter": "7d"})
    assert all((around("11 01:00").ask(wide, host.name).until or "") < "2026-12-11T03:00" for host in wide.hosts)


# Soak


def test_a_wave_after_a_soak_waits_for_the_next_opening_and_its_hosts_are_judged_by_that() -> None:
    soaking = request_of(NIGHT, occurrence=OWN, plan={"soak": "24h"})
    waiting = around().ask(soaking, step="soaked", now="11 12:00")
    assert (waiting.answer, waiting.until) == ("wait", "2026-12-12T01:00:00.000Z")
    assert around().ask(soaking, step="soaked", now="12 01:00").answer == "start"
    assert around().ask(soaking, "w1", now="12 01:00").until == "2026-12-12T04:00:00.000Z"
    assert around().ask(soaking, "w1", now="12 03:00").answer == "refuse"
    world = around("12 01:30")
    world.freezes = [("close", None, utc("12 00:00"), utc("14 00:00"))]
    assert world.ask(soaking, step="soaked").until == "2026-12-14T00:00:00.000Z"
    assert world.ask(request_of(NIGHT, occurrence=OWN), step="wave", now="12 01:30").answer == "refuse"


# For whatever windows, freezes and moments there are


@settings(deadline=None)
@given(
    start=st.integers(0, 23),
    length=st.integers(20, 720),
    cutoff=st.integers(0, 19),
    frozen=st.tuples(st.integers(0, 2880), st.integers(1, 600)),
    minute=st.integers(0, 2880),
    need=st.integers(1, 400),
    step=st.sampled_from(["host", "before", "apply"]),
    queued=st.booleans(),
)
def test_nothing_starts_outside_past_the_cutoff_in_a_freeze_or_without_enough_time(
    start: int, length: int, cutoff: int, frozen: tuple[int, int], minute: int, need: int, step: str, queued: bool
) -> None:
    """Against an oracle on minutes since 2026-12-10 00:00 UTC."""
    window = Window.model_validate(
        {
            "name": "w",
            "rrule": "FREQ=DAILY",
            "start": f"{start:02}:00",
            "duration": f"{length}m",
            "cutoff": f"{cutoff}m",
            "timezone": "UTC",
        }
    )
    base = utc("10 00:00")
    at = base + timedelta(minutes=minute)
    world = around()
    world.clock.__init__(at)  # type: ignore[misc]  # the same clock, at that moment
    since = base + timedelta(minutes=frozen[0])
    world.freezes = [("f", None, since, since + timedelta(minutes=frozen[1]))]
    world.past = {"w1": [need * 60.0]}
    permission = world.ask(request_of(window, queued=queued), "w1", step)

    opened = [day * 1440 + start * 60 for day in range(-1, 4)]
    current = next((one for one in opened if one <= minute < one + length), None)
    may = (
        current is not None
        and minute < current + length - cutoff
        and not frozen[0] <= minute < frozen[0] + frozen[1]
        and (step != "host" or minute + need <= current + length)
    )
    assert (permission.answer == "start") == may
    if permission.answer == "start":
        assert permission.until is not None
    if step != "host":
        assert permission.answer != "wait"
    if "carried over" in permission.reason:
        assert [one.host for one in world.store.carried()] == ["w1"]
    else:
        assert world.store.carried() == []
