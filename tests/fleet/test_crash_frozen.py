"""A controller that stands still past its lease while another takes its run over: when it wakes, it changes nothing."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from mainstay.console import bootstrap
from tests.fleet import Fleet, Host
from tests.fleet.controllers import HELD, Controllers, holds_in_hook, hooks_run, left_on, transactions
from tests.fleet.site import OperatorSite, make_site
from tests.fleet.system import wait_until

pytestmark = pytest.mark.no_cover

LEASE = 6.0


@pytest.fixture
def controllers(tmp_path: Path, fleet: Fleet, host: Host) -> Controllers:
    host.install("demo-web", "1.0")
    fleet.repository.publish("demo-web", "1.1")
    return Controllers(site_on(tmp_path / "site", fleet, host), tmp_path / "log")


def site_on(folder: Path, fleet: Fleet, host: Host) -> OperatorSite:
    site = make_site(folder, fleet, [host])
    site.plan("web-update", HELD.replace("[1, 1, 100%]", "[100%]"))
    return site


def left_behind(controllers: Controllers) -> bool:
    return "left behind" in controllers.told("runs", lease=LEASE)[1]


def everything(controllers: Controllers, run: str) -> object:
    """What the state says of a run, and the sealed record."""
    with bootstrap.load(controllers.site.root) as app:
        row, outcomes, record = app.state.run(run), app.state.outcomes(run), app.record(run)
        return row, outcomes, json.dumps(record.to_json(), sort_keys=True), app.state.undos(run=run)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("send {host} before launch", id="about-to-change-the-host"),
        pytest.param("state next_fence run", id="about-to-claim-the-host", marks=pytest.mark.long),
        pytest.param("state add_undo {host}", id="about-to-write-the-state", marks=pytest.mark.long),
    ],
)
def test_who_wakes_past_its_lease_changes_nothing(controllers: Controllers, host: Host, moment: str) -> None:
    frozen_at = moment.format(host=host.name)
    with controllers.started("run", "web-update", "--yes", freeze=[frozen_at], lease=LEASE) as first:
        controllers.wait_until_frozen(first)
        (run,) = [row["id"] for row in controllers.site.in_flight()]
        wait_until(lambda: left_behind(controllers), "the frozen one is given up", deadline=60)
        with controllers.started("runs", "resume", run, "--json", lease=LEASE) as second:
            wait_until(lambda: holds_in_hook(host), "the second one has the host in hand", deadline=120, every=0.3)
            mine = max(int(line[2]) for line in controllers.lines("done"))
            host.exec(["touch", "/root/go"])
            os.kill(first.pid, signal.SIGCONT)
            _, said = first.communicate(timeout=120)
            out, told = second.communicate(timeout=120)
    assert first.returncode not in (0, 3), "it does not say that all is well"
    assert "not its own" in said or "no longer works on it" in said or "not its owner" in said, said
    assert second.returncode == 0, told
    assert json.loads(out)["verdict"] == "succeeded"
    woke = controllers.log.read_text().index(f"froze {frozen_at}")
    late = [line.split() for line in controllers.log.read_text()[woke:].splitlines() if line.startswith("done ")]
    assert late and all(int(line[2]) >= mine for line in late), "no step with a stale token"
    assert hooks_run(host) == ["before", "after"] and transactions(host) == ["1.0 1.1"] and left_on(host) == []
    assert controllers.site("records", "verify").status == 0 and controllers.site.in_flight() == []


@pytest.mark.long
def test_what_it_was_about_to_write_is_not_written_over_the_end_of_the_run(
    controllers: Controllers, host: Host
) -> None:
    host.exec(["touch", "/root/go"])
    moments = [f"state {method} .*" for method in ("write_part", "note_outcome")]
    with controllers.started("run", "web-update", "--yes", freeze=moments, lease=LEASE) as first:
        controllers.wait_until_frozen(first)
        (run,) = [row["id"] for row in controllers.site.in_flight()]
        wait_until(lambda: left_behind(controllers), "the frozen one is given up", deadline=60)
        status, _, told = controllers.told("runs", "resume", run, lease=LEASE)
        assert status == 0, told
        before = everything(controllers, run)
        while first.poll() is None:  # it freezes again before its next write
            os.kill(first.pid, signal.SIGCONT)
            controllers.wait_until_frozen_or_gone(first)
        _, said = first.communicate()
    assert first.returncode not in (0, 3) and said
    assert everything(controllers, run) == before
    assert controllers.site("records", "verify").status == 0


@pytest.mark.long
def test_a_host_that_is_adopted_in_mid_run_is_changed_no_more_by_who_had_it(
    controllers: Controllers, fleet: Fleet, host: Host, tmp_path: Path
) -> None:
    clone = site_on(tmp_path / "clone", fleet, host)
    with controllers.started("run", "web-update", "--yes", "--json") as process:
        wait_until(lambda: holds_in_hook(host), "the host is in hand", deadline=120, every=0.3)
        refused = clone("run", "web-update", "--yes", "--json")
        assert refused.status == 4 and refused.verdicts() == {host.name: "refused"}
        assert "hosts adopt" in refused.host(host.name)["reason"]
        assert clone("hosts", "adopt", "all", "--yes").status == 0
        host.exec(["touch", "/root/go"])
        out, told = process.communicate(timeout=240)
    assert process.returncode == 1, told
    (part,) = json.loads(out)["hosts"]
    assert part["verdict"] == "failed" and "belongs to" in part["reason"], part
    assert host.installed()["demo-web"] == "1.0", "nothing was done after it had been taken away"
    assert hooks_run(host) == ["before"], "what had begun went on"
    taken = clone("run", "web-update", "--yes", "--json")
    assert taken.status == 0 and host.installed()["demo-web"] == "1.1", taken.told
    assert hooks_run(host) == ["before", "before", "after"] and left_on(host) == []
