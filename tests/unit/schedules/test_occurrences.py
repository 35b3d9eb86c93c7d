"""Which schedules a site has, and the run that an occurrence becomes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.unit.schedules.clock_world import NIGHT, ClockWorld, write
from ulid import ULID

from mainstay.schedules.occurrences import hosts, occurrence_request, run_id, schedules
from mainstay.schedules.openings import next_opening
from mainstay.schedules.timing import timing_of

AT = datetime(2026, 12, 11, 1, 0, tzinfo=UTC)


def test_the_id_of_an_occurrence_is_made_of_its_schedule_and_its_moment() -> None:
    id = run_id("patch-web/night", AT)
    assert id == "01M9H9TDM0B701CWNZV1P7M9AZ", "kept for ever: a run that was put down is found again by it"
    assert ULID.from_str(id).datetime == AT
    assert run_id("patch-web/night", AT.astimezone()) == id
    others = {
        run_id("patch-web/night2", AT),
        run_id("patch-db/night", AT),
        run_id("patch-web/night", AT + timedelta(seconds=60)),
    }
    assert len({*others, id}) == 4


def test_ids_sort_by_the_moment_that_they_are_due() -> None:
    moments = [AT + timedelta(minutes=minute) for minute in range(0, 5000, 7)]
    ids = [run_id(f"plan-{number % 3}/night", moment) for number, moment in enumerate(moments)]
    assert ids == sorted(ids)


def test_every_window_of_a_plan_is_a_schedule_and_every_zone_where_hosts_have_their_own(tmp_path: Path) -> None:
    windows = {"night": NIGHT, "noon": "{cron: '0 12 * * *', duration: 1h, timezone: Europe/Berlin}"}
    windows["own"] = '{on: daily, start: "03:00", duration: 1h, timezone: host}'
    plans = {"a": "{targets: all, window: [night, noon]}", "b": "{targets: all, window: own}", "c": "{targets: all}"}
    loaded = write(tmp_path, windows, plans)
    found = {one.id: one for one in schedules(loaded)}
    assert {id: one.zone for id, one in found.items()} == {
        "a/night": "UTC",
        "a/noon": "Europe/Berlin",
        "b/own/Asia/Tokyo": "Asia/Tokyo",
        "b/own/UTC": "UTC",
    }
    of = {id: [host.name for host in hosts(one, loaded.site)] for id, one in found.items()}
    assert of["a/night"] == ["web1", "web2"]
    assert (of["b/own/Asia/Tokyo"], of["b/own/UTC"]) == (["web2"], ["web1"])


def test_the_run_of_an_occurrence_keeps_what_it_has_to_keep_to(tmp_path: Path) -> None:
    plans = {"a": "{targets: all, window: [night, own], missed: 'run-if-late: 6h', jitter: 10m}"}
    windows = {"night": NIGHT, "own": '{on: daily, start: "03:00", duration: 1h, timezone: host}'}
    world = ClockWorld(tmp_path, "2026-12-10T12:00:00Z", windows, plans)
    schedule = next(one for one in schedules(world.loaded) if one.id == "a/night")
    opening = next_opening(schedule.window, schedule.zone, world.wall.now())
    assert opening is not None
    request = occurrence_request(schedule, opening, world.loaded, world.asking())
    assert request.id == run_id("a/night", opening.starts_at)
    assert (request.trigger, request.requested_by, request.window) == ("clock", "clock", "night")
    assert [host.name for host in request.hosts] == ["web1", "web2"]
    timing = timing_of(request)
    assert [(window.name, window.timezone) for window in timing.windows] == [("night", "UTC"), ("own", "host")]
    assert (timing.rules.missed, timing.rules.jitter, timing.queued) == ("run-if-late: 6h", 600.0, False)
    assert timing.occurrence is not None
    assert timing.occurrence.to_json() == {
        "schedule": "a/night",
        "at": "2026-12-11T02:00:00.000Z",
        "window": "night",
        "zone": "UTC",
        "ends_at": "2026-12-11T05:00:00.000Z",
        "cutoff_at": "2026-12-11T04:15:00.000Z",
        "missed": "",
        "through": "",
        "refused": "",
        "late": False,
    }


def test_a_plan_that_asks_for_what_cannot_be_done_yet_says_so_in_each_of_its_occurrences(tmp_path: Path) -> None:
    plans = {"a": "{targets: all, window: night, before: {playbook: drain.yml}}"}
    world = ClockWorld(tmp_path, "2026-12-10T12:00:00Z", {"night": NIGHT}, plans)
    daemon = world.daemon()
    world.wall.pass_(hours=15)
    daemon.round()
    (occurrence,) = world.occurrences()
    assert "a playbook as hook is not available yet" in occurrence.refused
