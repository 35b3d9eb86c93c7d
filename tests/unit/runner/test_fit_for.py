"""What a survey and a run tell of a host depends on what is to be done there: of replaced code only where some is replaced."""

from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.runner.world import World

from mainstay.inventory.facts import Facts
from mainstay.runner.forecasting import forecast
from mainstay.runner.host_upkeep import HostUpkeep
from mainstay.runner.operation import Forecast
from mainstay.runner.phases import prepare
from mainstay.runner.plan import Carefulness

BARE = Facts(boot_id="b", sudo=True, clock_skew=0.0, package_manager="apt", dpkg_broken=(), systemd=False)
CAREFUL = Carefulness(other_updaters="report")
TOLD = "systemd does not run here"


@pytest.mark.parametrize("software", [True, False])
def test_a_survey_tells_of_replaced_code_only_where_software_changes(software: bool) -> None:
    world = World("w1")
    found = Forecast(change={}, count=1, reversible=0, reboot="no", notes=("its own",))
    operation = SimpleNamespace(software=software, look_ahead=lambda host: None, preview=lambda look: found)
    upkeep: Any = SimpleNamespace(probe=lambda shell: BARE, judge=HostUpkeep().judge)
    hosts = list(world.hosts.values())
    seen = forecast(hosts, CAREFUL, operation, world.shells, upkeep, world.state, world.clock)["w1"].forecast
    assert seen is not None and seen.notes[-1] == "its own"
    assert any(note.startswith(TOLD) for note in seen.notes) is software
    assert software or seen.notes == ("its own",)


@pytest.mark.parametrize("software", [True, False])
def test_a_record_tells_of_it_likewise(software: bool) -> None:
    operation = SimpleNamespace(software=software, prepare=lambda work, wait: [], log_mark=lambda shell: "")
    track: Any = SimpleNamespace(operation=operation, work=lambda _: None, facts=BARE, shell=None)
    track.tools = SimpleNamespace(upkeep=HostUpkeep())
    track.request = SimpleNamespace(careful=CAREFUL)
    io: Any = SimpleNamespace(detail="", notes=[])
    prepare._preflight(track, io)  # the step alone
    assert io.detail == "fit"
    assert any(note.startswith(TOLD) for note in io.notes) is software
    assert software or io.notes == []
