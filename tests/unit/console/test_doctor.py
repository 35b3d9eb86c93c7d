"""What doctor says of hosts, and taking hosts over: played shells."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import HOSTILE, FakeApplication

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host
from mainstay.runner.patching.contract import Survey
from mainstay.runner.shell import hostlock
from mainstay.runner.shell.contract import Command, Fence, HostKeyRefused, Output, SudoRefused, Unreachable
from mainstay.runner.shell.hostlock import Holding
from mainstay.runner.upkeep import Judgement

FACTS = Facts(
    os_id="debian", os_version="12", arch="amd64", kernel="6.1.0-30", package_manager="apt", clock_skew=0.01, root=True
)


class PlayedShell:
    def __init__(self, host: Host, facts: Facts | MainstayError, write: bool) -> None:
        self.host = host
        self._facts = facts
        self.write = write

    @property
    def facts(self) -> Facts:
        if isinstance(self._facts, MainstayError):
            raise self._facts
        return self._facts

    def run(self, command: Command) -> Output:
        assert self.write, "root's rights are asked for on a connection that may change something"
        if self.host.name == "web2":
            raise SudoRefused("web2", "a password is needed", hint="mainstay init --sudoers")
        return Output(status=0)

    def close(self) -> None: ...


@pytest.fixture
def fleet(app: FakeApplication, monkeypatch: pytest.MonkeyPatch) -> dict[str, Facts | MainstayError]:
    """host → its facts, or what keeps them away."""
    facts: dict[str, Facts | MainstayError] = {}

    def open(host: Host, *, write: bool = True) -> Any:
        return PlayedShell(host, facts.get(host.name, FACTS), write)

    def survey(shell: PlayedShell) -> Survey:
        return (
            Survey(problem="not every repository answers", hint="look there") if shell.host.name == "db1" else Survey()
        )

    monkeypatch.setattr(FakeApplication, "shells", SimpleNamespace(open=open))
    monkeypatch.setattr(FakeApplication, "packages", SimpleNamespace(name="apt", survey=survey))
    return facts


def findings(result: Any, host: str) -> dict[str, Any]:
    return {one["topic"]: one for one in result.json["findings"] if one["subject"] == host}


def test_hosts_that_are_well(fleet: object, mainstay: Mainstay) -> None:
    result = mainstay("doctor", "web1", "--json")
    assert result.code == 0
    assert findings(result, "web1")["host"]["health"] == "well"
    assert "sudo" not in findings(result, "web1")


def test_what_is_wrong_with_hosts_and_what_to_do(
    fleet: dict[str, Facts | MainstayError], app: FakeApplication, mainstay: Mainstay
) -> None:
    fleet["web1"] = Unreachable("web1", f"no route {HOSTILE}")
    fleet["web2"] = FACTS.model_copy(update={"owner_state": "another", "owner_site": HOSTILE, "clock_skew": -400.0})
    fleet["web10"] = HostKeyRefused("web10", "its key has changed", hint="mainstay hosts trust web10 --replace")
    fleet["db1"] = FACTS.model_copy(update={"owner_state": app.state.id, "lock_run": "01OLD", "clock_skew": None})
    app.judgement = Judgement(notes=("other updaters are on",))
    app.stores.directory.chmod(0o755)  # one more that is wrong, whatever umask the tests are run with
    result = mainstay("doctor", "--json", "--sudo")
    assert findings(result, "web1")["reach"]["health"] == "wrong"
    web2 = findings(result, "web2")
    assert (web2["owner"]["health"], web2["owner"]["hint"]) == (
        "wrong",
        "To take it over on purpose: mainstay hosts adopt web2",
    )
    assert web2["clock"]["message"] == "its clock is 400 s behind"
    assert web2["sudo"]["hint"] == "mainstay init --sudoers"
    assert findings(result, "web10")["host key"]["health"] == "wrong"
    db1 = findings(result, "db1")
    assert (db1["lock"]["health"], db1["clock"]["health"], db1["fit"]["health"]) == ("look", "unknown", "look")
    assert db1["sudo"]["health"] == "well"
    assert (db1["repositories"]["health"], db1["repositories"]["hint"]) == ("wrong", "look there")
    out = mainstay("doctor").out
    assert "\x1b" not in out and "\r" not in out and "\u202e" not in out
    assert out.splitlines()[-1].startswith("7 wrong, ")


def test_the_repositories_of_a_few_hosts_of_each_kind_are_asked(
    fleet: dict[str, Facts | MainstayError], app: FakeApplication, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def survey(shell: PlayedShell) -> Survey:
        asked.append(shell.host.name)
        return Survey()

    monkeypatch.setattr(FakeApplication, "packages", SimpleNamespace(name="apt", survey=survey))
    monkeypatch.setattr("mainstay.console.doctor.fleet.SAMPLE", 1)
    fleet["db1"] = FACTS.model_copy(update={"os_version": "11"})
    fleet["web2"] = Unreachable("web2", "no route")
    result = mainstay("doctor", "--json")
    assert sorted(asked) == ["db1", "web1"], "of a host that is away nothing is asked again"
    told = findings(result, "controller")["repositories"]
    assert "2 of 3 hosts" in told["message"] and told["hint"] == "--deep asks all."
    asked.clear()
    assert "repositories" not in findings(mainstay("doctor", "--json", "--deep"), "controller")
    assert sorted(asked) == ["db1", "web1", "web10"]


def test_when_all_clocks_differ_it_is_this_one(
    fleet: dict[str, Facts | MainstayError], app: FakeApplication, mainstay: Mainstay
) -> None:
    for host in app.select(None):
        fleet[host.name] = FACTS.model_copy(update={"clock_skew": 90.0})
    assert "this one" in findings(mainstay("doctor", "--json"), "controller")["clock"]["message"]


def test_adopt_takes_only_what_belongs_to_others(
    fleet: object, app: FakeApplication, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {
        "web1": Holding(site="other", state="another", last_run="01A", fence=70),
        "web2": Holding(site="acme", state=app.state.id),
        "web10": Holding(),
    }
    taken: list[tuple[str, Fence]] = []

    def adopt(shell: PlayedShell, fence: Fence) -> Holding:
        taken.append((shell.host.name, fence))
        return held[shell.host.name]

    monkeypatch.setattr(hostlock, "read", lambda shell: held[shell.host.name])
    monkeypatch.setattr(hostlock, "adopt", adopt)
    assert mainstay("hosts", "adopt", "role=web", "--no-input").code == 2
    assert taken == []
    result = mainstay("hosts", "adopt", "role=web", "--yes", "--json")
    assert result.code == 0
    assert {one["host"]: one["adopted"] for one in result.json} == {"web1": True, "web2": False, "web10": False}
    ((name, fence),) = taken
    assert (name, fence.state, fence.site) == ("web1", app.state.id, "acme")
    assert fence.number > 70, "the host would refuse a number that it has seen"
    shown = mainstay("hosts", "adopt", "web2 or web10")
    assert shown.code == 0
    assert "Nothing to take over" in shown.err


def test_a_state_that_can_not_be_opened_is_told_once(
    app: FakeApplication, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(app: FakeApplication) -> Any:
        raise MainstayError("the database does not answer", hint="Is it up?")

    for name in ("stores", "state", "ledger"):
        monkeypatch.setattr(FakeApplication, name, property(refuse), raising=False)
    told = findings(mainstay("doctor", "--controller", "--json"), "controller")
    assert (told["state"]["health"], told["state"]["message"]) == ("wrong", "the database does not answer")
    for topic in ("ledger", "anchors", "runs"):
        assert (told[topic]["health"], told[topic]["message"]) == (
            "unknown",
            "not looked at: the state can't be opened",
        )
