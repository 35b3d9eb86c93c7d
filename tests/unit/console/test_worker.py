"""`mainstay worker`: what keeps it from starting, how it ends, and how it begins anew."""

from __future__ import annotations

import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import FakeApplication, write_site

from mainstay.console import fitness, worker
from mainstay.console.worker import AGAIN, Worker, begin_anew, leave, pause_before
from mainstay.inventory.errors import ConfigError, Problem, Refused
from mainstay.runner.request import RunRequest, plan_request
from mainstay.runner.shell.pins import HostKey
from mainstay.runner.state.adapters.database import StateUnusable
from mainstay.runner.state.contract import RunRow
from mainstay.runner.toolbox import Leaving


class Engine:
    """What a worker sees of one."""

    executor, version = "ops2-1-k3q7x2ma", "1"

    def __init__(self) -> None:
        self.lost = threading.Event()
        self.closed: list[float] = []

    def close(self, wait: float = 10.0) -> None:
        self.closed.append(wait)


class Served(FakeApplication):
    """With an engine, and runs that are tended. when_serving: called as soon as it serves."""

    when_serving: Callable[[], object] = staticmethod(lambda: None)

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fake_engine = Engine()
        self.tended = threading.Event()
        self.faults: list[Exception] = []
        """What tending runs into, before it goes well."""
        self.kit = SimpleNamespace(hands=None, rest=None, able=None)

    @property
    def tools(self) -> Any:
        return self.kit

    @property
    def engine(self) -> Any:
        return self.fake_engine

    @property
    def runs(self) -> Any:
        threading.Timer(0.01, self.when_serving).start()

        def tend(before: str) -> list[str]:
            if self.faults:
                raise self.faults.pop()
            self.tended.set()
            return []

        return SimpleNamespace(engine=self.fake_engine, tend=tend, forget=lambda: 0)


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(write_site(tmp_path / "site"))


def tell(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_it_is_told_to_and_lets_steps_end(served: Served, number: int) -> None:
    before = signal.getsignal(number)

    def once_it_has_tended() -> None:
        served.tended.wait(60)
        tell(number)()

    served.when_serving = once_it_has_tended
    assert Worker(served, threads=3, grace=7.0).serve() == "stopped"
    assert served.fake_engine.closed == [7.0]
    assert (served.serves, served.threads) == (True, 3)
    assert signal.getsignal(number) is before
    assert served.tended.is_set()


def test_whoever_only_waits_leaves_at_once_when_it_stops(served: Served) -> None:
    served.when_serving = tell(signal.SIGTERM)
    Worker(served).serve()
    with pytest.raises(Leaving):
        served.kit.rest(3600.0)


def test_whatever_it_runs_into_it_looks_again_for_runs_that_nobody_stands_for(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "TEND_EVERY", 0.01)
    served.faults = [StateUnusable("away"), OSError("the engine's store"), KeyError("nobody thought of this")]
    found: list[bool] = []

    def once_it_has_tended() -> None:
        found.append(served.tended.wait(60))
        tell(signal.SIGTERM)()

    served.when_serving = once_it_has_tended
    Worker(served).serve()
    assert found == [True]


def test_what_keeps_it_from_starting_leaves_no_housekeeping_behind(served: Served) -> None:
    class Broken(Worker):
        @contextmanager
        def _beside(self, runs: Any) -> Iterator[Callable[[], None]]:
            raise StateUnusable("away")
            yield

    before = set(threading.enumerate())
    with pytest.raises(StateUnusable):
        Broken(served).serve()
    for thread in set(threading.enumerate()) - before:
        if thread.name == "housekeeping":
            thread.join(60)
            assert not thread.is_alive()


def test_a_signal_is_heard_whatever_the_main_thread_is_just_doing(served: Served) -> None:
    """A handler runs between any two of its instructions, also while it holds the lock of what it waits for."""
    made = Worker(served)
    done = threading.Event()

    def handler() -> None:
        made._told(signal.SIGTERM, None)
        done.set()

    with made._stop._cond:  # type: ignore[attr-defined]  # as in the middle of a wait
        threading.Thread(target=handler, daemon=True).start()
        assert done.wait(60)


def test_when_its_hold_is_lost_it_ends_without_waiting_for_anything(served: Served) -> None:
    served.when_serving = served.fake_engine.lost.set
    assert Worker(served).serve() == "lost"
    assert served.fake_engine.closed == []


def test_it_does_not_start_where_a_secret_cannot_be_had(tmp_path: Path) -> None:
    main = "site: acme\nssh: {user: ops, key: 'file:nowhere', passphrase: 'env:MAINSTAY_TEST_NOT_SET'}\n"
    app = Served(write_site(tmp_path, **{"mainstay.yml": main}))
    with pytest.raises(ConfigError) as caught:
        Worker(app).serve()
    told = [str(problem) for problem in caught.value.problems]
    assert len(told) == 2
    assert "nowhere" in told[0] and "MAINSTAY_TEST_NOT_SET" in told[1]
    assert all("mainstay.yml:2" in one for one in told)
    assert not app.serves


def test_it_does_not_start_where_a_backups_password_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "web1").touch(0o600)
    (tmp_path / "web1").write_text("a password of the test")
    counting = tmp_path / "count"
    counting.write_text(f"#!/bin/sh\necho x >> {tmp_path}/counted\necho a password of the test\n")
    counting.chmod(0o755)
    repositories = (
        f"repositories:\n  main: {{url: '/srv/{{host}}', password: 'file:{tmp_path}/{{host}}'}}\n"
        f"  more: {{url: '/mnt/{{host}}', password: 'command:{counting} {{host}}'}}\n"
    )
    plan = "plans: {nightly: {kind: backup, targets: role=web, repository: main, copies: more, sources: {a: {paths: /a}}}}\n"
    files = {"recovery/a.yml": repositories, "schedules/b.yml": plan}
    app = Served(write_site(tmp_path / "site", **files))
    with pytest.raises(ConfigError) as caught:
        Worker(app).serve()
    (told,) = map(str, caught.value.problems)
    assert told.startswith("recovery/a.yml:2") and "web10" in told and "and 1 more" in told
    assert (tmp_path / "counted").read_text() == "x\n", "one command for all hosts"


def test_it_does_not_start_on_the_state_of_another_site(served: Served) -> None:
    asking = served.asking()
    request = plan_request(served.plan("patch-web"), served.select("role=web"), asking)
    other = request.model_copy(update={"site_name": "beta"})
    data = {"id": other.id, "kind": "patch", "plan": "p", "state": "running", "request": other.to_json()}
    served.state.add_run(RunRow.model_validate({**data, "started_at": "s"}))
    with pytest.raises(Refused, match="site beta") as caught:
        Worker(served).serve()
    assert caught.value.exit_code == 4


def request_of(app: FakeApplication) -> RunRequest:
    return plan_request(app.plan("patch-web"), app.select("role=web"), app.asking())


def pin(app: FakeApplication, *names: str) -> None:
    for name in names:
        (host,) = app.select(f"name={name}")
        app.pins.pin(host, [HostKey("ssh-ed25519", b"\0\0\0\x0bssh-ed25519" + name.encode())])


def test_what_a_machine_lacks_for_a_host_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    hosts = (
        "hosts:\n"
        "  bastion: {address: 10.9.0.1}\n"
        "  web1: {address: 10.9.0.11, tags: {role: web}}\n"
        "  web2: {address: 10.9.0.12, tags: {role: web}, jump: bastion}\n"
        "  web3: {address: 10.9.0.13, tags: {role: web}, become: {password: 'env:MAINSTAY_TEST_NOT_SET'}}\n"
    )
    app = FakeApplication(write_site(tmp_path, **{"inventory/hosts.yml": hosts}))
    request = request_of(app)
    this = f"this worker ({platform.node()}) can't: "

    def why(name: str, asked: RunRequest = request) -> str:
        return fitness.why_not(app, asked, request.host(name))

    assert why("web1") == f"{this}no key of web1 is pinned here"
    pin(app, "web1", "web2", "web3")
    assert why("web1") == ""
    assert why("web2") == f"{this}no key of bastion is pinned here"
    pin(app, "bastion")
    assert why("web2") == ""
    assert why("web3").startswith(this) and "MAINSTAY_TEST_NOT_SET" in why("web3")
    assert "the run is of beta" in why("web1", request.model_copy(update={"site_name": "beta"}))
    gone = request.host("web2").model_copy(
        update={"ssh": request.host("web2").ssh.model_copy(update={"jump": "bastion9"})}
    )
    assert fitness.why_not(app, request, gone) == f"{this}its folder knows no host bastion9, the jump host to web2"


def test_hosts_without_a_pin_are_counted_when_it_starts(served: Served) -> None:
    pin(served, "web1")
    missing = fitness.check(served)
    assert [host.name for host in missing] == ["db1", "web10", "web2"]
    assert fitness.unpinned(missing) == "3 hosts without a pinned key here: db1, web10, web2"


def test_it_begins_anew_as_the_same_program_with_the_same_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, list[str], dict[str, str]]] = []

    def execve(path: str, argv: list[str], environment: dict[str, str]) -> None:
        called.append((path, argv, environment))
        raise SystemExit

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "mainstay", "worker", "--threads", "3"])
    with pytest.raises(SystemExit):
        begin_anew()
    ((path, argv, environment),) = called
    assert (path, argv) == (sys.executable, [sys.executable, "-X", "dev", "mainstay", "worker", "--threads", "3"])
    assert environment[AGAIN] == "1" and environment["PATH"] == os.environ["PATH"]


def ends(monkeypatch: pytest.MonkeyPatch, *outcomes: str | Exception) -> list[dict[str, Any]]:
    """Each start of a worker ends so. Returns with what each was made."""
    made: list[dict[str, Any]] = []
    left = iter(outcomes)

    class Played:
        word = "worker"

        def __init__(self, app: object, **settings: Any) -> None:
            made.append(settings)

        def serve(self) -> str:
            outcome = next(left)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

    monkeypatch.setattr(worker, "Worker", Played)
    monkeypatch.setattr(worker, "leave", lambda code: code)  # whoever runs the tests has threads of its own
    return made


@pytest.mark.usefixtures("app")
def test_it_is_made_as_asked_and_exits_with_0(mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ends(monkeypatch, "stopped", "stopped")
    assert mainstay("worker", "--threads", "4", "--grace", "2m").code == 0
    assert mainstay("worker").code == 0
    assert made == [{"threads": 4, "grace": 120.0}, {"threads": None, "grace": 30.0}]
    for wrong in (("--grace", "soon"), ("--threads", "0"), ("--threads", "501"), ("--when-lost", "panic")):
        assert mainstay("worker", *wrong).code == 2


@pytest.mark.usefixtures("app")
def test_a_database_that_does_not_answer_at_the_first_start_is_an_error(
    mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(AGAIN, raising=False)
    ends(monkeypatch, StateUnusable("connection refused"))
    result = mainstay("worker")
    assert result.code == StateUnusable("").exit_code
    assert "connection refused" in result.err


@pytest.mark.usefixtures("app")
def test_after_it_was_lost_it_is_waited_for_longer_and_longer(
    mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(AGAIN, "1")
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    made = ends(monkeypatch, *[StateUnusable("connection refused")] * 7, "stopped")
    result = mainstay("worker", "--log-format", "json")
    assert result.code == 0
    assert slept == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] == [pause_before(number) for number in range(1, 8)]
    assert len(made) == 8
    assert result.err.count('"database does not answer"') == 7
    ends(monkeypatch, ConfigError([Problem("wrong")]))
    assert mainstay("worker").code == 2, "the settings are wrong: that does not mend itself"


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("option", ["restart", "exit"])
def test_when_it_is_lost_it_begins_anew_or_leaves_that_to_a_supervisor(
    mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    called: list[object] = []

    def gone(what: object) -> Callable[..., None]:
        def end(*arguments: object) -> None:
            called.append((what, *arguments))
            raise SystemExit(9)

        return end

    monkeypatch.setattr(worker, "begin_anew", gone("anew"))
    monkeypatch.setattr(os, "_exit", gone("exit"))
    ends(monkeypatch, "lost")
    assert mainstay("worker", "--when-lost", option).code == 9
    assert called == ([("anew",)] if option == "restart" else [("exit", 1)])


def test_the_end_does_not_wait_for_a_thread_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    left = list[int]()
    monkeypatch.setattr(os, "_exit", left.append)
    go = threading.Event()
    hanging, daemon = threading.Thread(target=go.wait), threading.Thread(target=go.wait, daemon=True)
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.main_thread(), daemon])
    assert leave(0) == 0
    assert left == []
    monkeypatch.setattr(threading, "enumerate", lambda: [threading.main_thread(), daemon, hanging])
    leave(0)
    assert left == [0]
