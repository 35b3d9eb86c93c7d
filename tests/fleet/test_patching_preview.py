"""What a patch would do on a real Debian host, found by a login without rights, and without a trace."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mainstay.inventory.facts import Facts
from mainstay.runner.operation import Forecast, LeftOut
from mainstay.runner.patching.apt.sections import new_mark, script
from mainstay.runner.shell.contract import Command, ContactLost, DeadlineExceeded
from tests.fleet import Fleet
from tests.fleet import Host as Machine
from tests.fleet.patching import Bench, bench, operation
from tests.fleet.system import wait_until

WEB = {"only": ["demo-web"], "select": "all"}
LOGINS = ("/var/log/wtmp", "/var/log/btmp", "/var/log/lastlog", "/var/log/journal")
"""Where the system notes that somebody logged in."""


@pytest.fixture
def one(fleet: Fleet, host: Machine) -> Iterator[Bench]:
    with bench(fleet, host) as made:
        yield made


def reasons(forecast: Forecast) -> dict[str, str]:
    return {left.item: left.reason for left in forecast.left_out}


def left(forecast: Forecast, name: str) -> LeftOut:
    return next(one for one in forecast.left_out if one.item == name)


def _ticked(one: Bench) -> bool:
    one.machine.exec(["touch", "/run/later"])
    return one.machine.exec(["find", "/run/later", "-newer", "/run/marker"]) != ""


def test_the_pending_security_updates_and_their_way_back(fleet: Fleet, one: Bench) -> None:
    forecast = one.preview(operation())

    assert {name: after for name, _, after in forecast.items} == fleet.repository.updates()
    assert {name: before for name, before, _ in forecast.items}.items() <= one.machine.installed().items()
    assert (forecast.count, forecast.reversible, forecast.refused) == (len(forecast.items), len(forecast.items), "")
    assert forecast.download_bytes and forecast.download_bytes > 1_000_000
    assert {(name, after) for name, _, after in forecast.items} <= set(forecast.seen)


def test_it_leaves_no_trace_and_needs_no_rights(one: Bench) -> None:
    one.preview(operation())  # the login itself makes its home's first files
    one.machine.exec(["touch", "/run/marker"])
    newer_than = ["find", "/", "-xdev", "-newer", "/run/marker"]
    wait_until(lambda: _ticked(one), "the clock of files goes on", deadline=60)

    forecast = one.preview(operation())

    newer = one.machine.exec(newer_than).splitlines()
    # the folders themselves have been written to, what was in them is gone
    assert [path for path in newer if path not in ("/tmp", "/run") and not path.startswith(LOGINS)] == []
    assert forecast.count > 0
    assert one.machine.exec(["find", "/tmp", "/var/tmp", "-name", "mainstay*"]) == ""


def test_the_temporary_folder_goes_away_also_when_contact_is_lost(one: Bench) -> None:
    with one.looking() as look:
        argv = ("sh", "-c", script("survey").replace("installed\nsection", "sleep 3\ninstalled\nsection"), "mainstay")
        with pytest.raises((DeadlineExceeded, ContactLost)):
            look.shell.run(Command((*argv, new_mark(), "1", "0", "0", "follow"), deadline=1.5))

    assert "mainstay-" in one.machine.exec(["ls", "/tmp"]), "the script was cut off in the middle"
    wait_until(lambda: "mainstay-" not in one.machine.exec(["ls", "/tmp"]), "the folder is removed", deadline=30)


def test_the_lists_are_fetched_once_for_a_preview(fleet: Fleet, one: Bench) -> None:
    """A survey and at least one simulation look at them."""
    before = len(fleet.repository.requests())
    assert one.preview(operation()).count > 0
    asked = [line for line in fleet.repository.requests()[before:] if "InRelease" in line]
    assert asked and len(asked) == len(set(asked)), asked


def test_kept_lists_go_away_by_themselves_when_contact_is_lost(one: Bench) -> None:
    with one.looking() as look:
        text = script("survey").replace("-lt 300", "-lt 3")
        output = look.shell.run(Command(("sh", "-c", text, "mainstay", new_mark(), "1", "0", "1", "follow")))
        assert output.status == 0 and "mainstay-" in one.machine.exec(["ls", "/tmp"])
    wait_until(lambda: "mainstay-" not in one.machine.exec(["ls", "/tmp"]), "the folder is removed", deadline=60)


@pytest.mark.parametrize("how", ["refused", "error"])
def test_a_dead_mirror_is_never_nothing_to_do(fleet: Fleet, one: Bench, how: str) -> None:
    fleet.repository.break_it(how)  # type: ignore[arg-type]  # the parametrize list holds its words

    forecast = one.preview(operation())

    assert forecast.count == 0
    assert "not every repository answers" in forecast.refused


def test_a_held_package_is_left_and_named(one: Bench) -> None:
    one.machine.exec(["apt-mark", "hold", "openssl"])

    forecast = one.preview(operation())

    assert "openssl" not in {name for name, _, _ in forecast.items}
    assert reasons(forecast) == {"openssl": "held"}


def test_a_pinned_package_is_left_and_named(fleet: Fleet, one: Bench) -> None:
    one.machine.install("demo-web", "1.0")
    fleet.repository.publish("demo-web", "1.1")
    pin = "Package: demo-web\nPin: version 1.0\nPin-Priority: 1001\n"
    one.machine.exec(["tee", "/etc/apt/preferences.d/web"], stdin=pin.encode())

    forecast = one.preview(operation(updates=WEB))

    assert left(forecast, "demo-web") == LeftOut(
        item="demo-web", version="1.1", reason="pinned", detail="the host's own preferences keep it at 1.0"
    )


def test_what_cannot_go_without_an_excluded_package_is_left_with_it(one: Bench) -> None:
    forecast = one.preview(operation(updates={"exclude": ["perl-base"]}))

    assert reasons(forecast)["perl-base"] == "excluded"
    assert "perl-base" in left(forecast, "perl").detail
    assert not {"perl", "perl-base"} & {name for name, _, _ in forecast.items}
    assert ("openssl" in {name for name, _, _ in forecast.items}) and not forecast.refused


def test_what_is_no_security_update_is_left_and_named(fleet: Fleet, one: Bench) -> None:
    one.machine.install("demo-web", "1.0")
    fleet.repository.publish("demo-web", "1.1")

    forecast = one.preview(operation())

    assert reasons(forecast) == {"demo-web": "not-security"}


def test_a_young_version_waits_and_says_until_when(fleet: Fleet, one: Bench) -> None:
    one.machine.install("demo-web", "1.0")
    fleet.repository.publish("demo-web", "1.1")
    updates = {**WEB, "min_age": "3d"}
    seen = {("demo-web", "1.1"): "2020-01-01T00:00:00Z"}

    young, old = one.preview(operation(updates=updates)), one.preview(operation(updates=updates), sightings=seen)

    waits = left(young, "demo-web")
    assert (waits.reason, young.count) == ("too-young", 0)
    assert waits.until and waits.until > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert "plan asks 3 d" in waits.detail
    assert old.items == (("demo-web", "1.0", "1.1"),)


def test_an_old_version_that_is_nowhere_is_said_before(fleet: Fleet, one: Bench) -> None:
    one.machine.install("demo-web", "1.0")
    fleet.repository.publish("demo-web", "1.1")
    fleet.repository.withdraw("demo-web", "1.0")
    one.machine.exec(["apt-get", "clean"])

    forecast = one.preview(operation(updates=WEB))

    assert (forecast.count, forecast.reversible) == (1, 0)
    assert forecast.irreversible[0][0] == "demo-web"


def test_what_was_rolled_back_is_refused_until_retried(one: Bench) -> None:
    asked = []

    def blocked(digest: str) -> str:
        asked.append(digest)
        return "run-7"

    forecast = one.preview(operation(), blocked=blocked)

    assert "run-7" in forecast.refused and "--retry" in forecast.refused
    assert set(reasons(forecast).values()) == {"blocked"}
    assert len(asked) == 1


def test_a_kernel_or_libc_makes_a_reboot_likely(one: Bench) -> None:
    one.facts = Facts(reboot_required=True)

    assert one.preview(operation()).reboot == "likely"


def test_a_version_wanted_by_name_is_taken_exactly(fleet: Fleet, one: Bench) -> None:
    one.machine.install("demo-web", "1.0")
    for version in ("1.1", "1.4", "1.5"):
        fleet.repository.publish("demo-web", version)

    forecast = one.preview(operation(updates={"packages": {"demo-web": "1.4"}, "only": ["demo-web"]}))

    assert forecast.items == (("demo-web", "1.0", "1.4"),)
    assert reasons(forecast)["openssl"] == "excluded"
