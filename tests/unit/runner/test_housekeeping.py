from tests.unit.runner.world import World

from mainstay.runner.housekeeping import tidy
from mainstay.runner.state.contract import UndoRow


def test_what_a_way_back_needs_stays_and_the_rest_goes_when_there_is_too_much() -> None:
    world = World("w1")
    tools = world.runs().tools
    needed, undone, expired, free = (
        world.artifacts.put(name.encode() * 100, kind="package") for name in ("n", "u", "e", "f")
    )
    output = world.artifacts.put(b"printed", kind="output")
    for run, sha256, until in (("r1", needed, "2027"), ("r2", undone, "2027"), ("r3", expired, "2025")):
        undo = {"items": [{"name": "openssl", "sha256": sha256}]}
        world.state.add_undo(
            UndoRow(
                run=run,
                host="w1",
                operation="patch",
                undo=undo,
                made_at="2025-12-31T00:00:00.000Z",
                keep_until=f"{until}-06-01T00:00:00.000Z",
            )
        )
    world.state.mark_undone("r2", "w1", "r9")
    assert tidy(tools) == 0, "there is room, and nothing is old"

    tools.captures_max_size = 0
    assert tidy(tools) == 3
    assert world.artifacts.has(needed) and world.artifacts.has(output)
    assert not any(world.artifacts.has(sha256) for sha256 in (undone, expired, free))


def test_what_a_run_in_flight_may_need_stays_however_much_it_is() -> None:
    """Its first wave has captured what its later ones get: no way back names it."""
    world = World("w1 w2", waves=[1, 1])
    tools = world.runs().tools
    captured = world.artifacts.put(b"new version" * 100, kind="package")
    tools.captures_max_size = 0
    other = world.request()
    world.runs().submit(other)
    assert tidy(tools) == 0 and world.artifacts.has(captured)
    world.state.set_run(other.id, state="ended", ended_at="2026-01-01T00:10:00.000Z")
    assert tidy(tools) == 1 and not world.artifacts.has(captured)
