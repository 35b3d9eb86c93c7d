"""Hooks on the controller (real processes) and on the host."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import cast

import pytest
from tests.fleet.system import wait_until

from mainstay.inventory.errors import Refused
from mainstay.inventory.facts import Facts
from mainstay.runner import hooks
from mainstay.runner.artifacts.contract import Artifacts
from mainstay.runner.hooks import run_here, run_hook
from mainstay.runner.operation import HostWork, Outcome
from mainstay.runner.plan import Hook
from mainstay.runner.shell.contract import ContactLost, Fence, FenceRefused
from mainstay.runner.shell.fake import FakeHost, FakeShells


def here(*argv: str, deadline: float = 20, env: dict[str, str] | None = None) -> tuple[Outcome, bytes]:
    said: list[bytes] = []
    outcome = run_here(argv, {"PATH": os.environ["PATH"], **(env or {})}, deadline=deadline, output=said.append)
    return outcome, b"".join(said)


def work(host: FakeHost, said: list[bytes] | None = None, *, user: str = "root") -> HostWork:
    host.lock.change(["acquire", "5", "1", "s", "run1", "site"])
    entry = host.host(user=user)
    return HostWork(
        run="run1",
        host=entry,
        shell=FakeShells([host]).open(entry),
        fence=Fence(number=1, state="s", run="run1"),
        facts=Facts(),
        artifacts=cast(Artifacts, None),
        output=(said if said is not None else []).append,
        job="run1-web1-before",
    )


def test_a_command_here_tells_its_end_and_its_last_words() -> None:
    assert here("sh", "-c", "echo hello") == (Outcome(ok=True, detail="sh: done"), b"hello\n")
    assert here("sh", "-c", "echo no; echo why >&2; exit 3")[0] == Outcome(ok=False, detail="sh: status 3: why")
    assert here("sh", "-c", "kill -9 $$")[0] == Outcome(ok=False, detail="sh: status 137")


def test_a_command_that_is_not_there_or_may_not_run_is_an_outcome(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no program")

    assert here("/no/such/program")[0] == Outcome(ok=False, detail="/no/such/program: No such file or directory")
    assert here(str(tmp_path / "plain"))[0].detail.endswith("Permission denied")


def test_no_shell_reads_the_words() -> None:
    assert here("printf", "%s", "$HOME; `id` > x")[1] == b"$HOME; `id` > x"


@pytest.mark.thorough
def test_its_time_is_up_for_the_whole_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "GRACE", 0.3)
    pids = tmp_path / "pids"
    started = time.monotonic()

    outcome, _ = here("sh", "-c", f"trap '' TERM; sleep 300 & echo $! $$ >{pids}; wait; sleep 300", deadline=2)

    assert outcome == Outcome(ok=False, detail="sh: did not end within 2 s; it was stopped")
    assert time.monotonic() - started < 150, "not as long as it sleeps"
    for pid in pids.read_text().split():
        wait_until(lambda pid=pid: _gone(pid), f"process {pid} is gone", deadline=60)  # type: ignore[misc]  # bound now


def _gone(pid: str) -> bool:
    """Ended, whether its parent has looked or not."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


def test_what_it_leaves_in_the_background_is_not_waited_for() -> None:
    started = time.monotonic()

    outcome, said = here("sh", "-c", "sleep 250 & echo $!", deadline=60)

    os.kill(int(said), 9)
    assert outcome.ok
    assert time.monotonic() - started < 150


def test_a_flood_is_drained_and_kept_to_its_cap() -> None:
    outcome, said = here(sys.executable, "-c", "import sys; sys.stdout.write('x' * 5_000_000); sys.exit(2)")

    assert outcome.detail.startswith(f"{sys.executable}: status 2: xxx")
    assert len(said) == hooks.OUTPUT_CAP


def test_a_silent_command_that_closed_its_output_is_still_waited_for() -> None:
    assert here("sh", "-c", "exec >&- 2>&-; sleep 0.6; exit 4")[0].detail == "sh: status 4"


def test_a_hook_here_sees_the_run_and_the_host_and_no_secret() -> None:
    said: list[bytes] = []
    environ = {"PATH": os.environ["PATH"], "HOME": "/h", "RESTIC_PASSWORD": "hunter2", "AWS_SECRET_ACCESS_KEY": "x"}

    outcome = run_hook(Hook(controller=("env",)), work(FakeHost("web1"), said), environ=environ)

    assert outcome.ok
    told = dict(line.split("=", 1) for line in b"".join(said).decode().splitlines())
    told.pop("PATH")
    assert told == {"HOME": "/h", "MAINSTAY_RUN": "run1", "MAINSTAY_HOST": "web1", "MAINSTAY_ADDRESS": "web1.test"}


def test_a_hook_here_runs_in_the_sites_folder(tmp_path: Path) -> None:
    (tmp_path / "hooks").mkdir()
    script = tmp_path / "hooks" / "drain"
    script.write_text("#!/bin/sh\npwd\n")
    script.chmod(0o755)
    said: list[bytes] = []

    assert run_hook(Hook(controller=("hooks/drain",)), work(FakeHost("web1"), said), folder=tmp_path).ok
    assert b"".join(said).decode().strip() == str(tmp_path)


def on_host(host: FakeHost, hook: Hook, said: list[bytes] | None = None, *, user: str = "root") -> Outcome:
    return run_hook(hook, work(host, said, user=user), clock=lambda: host.time.now, sleep=host.time.advance)


def test_a_hook_on_the_host_is_detached_with_its_user_and_its_time() -> None:
    host = FakeHost("web1")
    assert on_host(host, Hook(command=("drain", "$HOME"), timeout="6.5s")) == Outcome(ok=True, detail="drain: done")
    first = host.jobs["run1-web1-before"].job
    assert first is not None and (first.user, first.args) == ("root", ("7", "drain", "$HOME"))
    assert first.env["MAINSTAY_HOST"] == "web1"
    other = FakeHost("web2")
    on_host(other, Hook(command=("drain",), user="www-data"))
    second = other.jobs["run1-web1-before"].job
    assert second is not None and second.user == "www-data"


def test_a_hook_that_is_begun_again_is_found_and_not_run_twice() -> None:
    run: list[str] = []
    host = FakeHost("web1").job("run1", "drained\n", seconds=4, effect=lambda there: run.append("drain"))
    host.drop("launch", after=True)
    with pytest.raises(ContactLost):
        on_host(host, Hook(command=("drain",)))
    said: list[bytes] = []
    assert on_host(host, Hook(command=("drain",)), said).ok
    assert on_host(host, Hook(command=("drain",))).ok
    assert (run, b"".join(said)) == (["drain"], b"drained\n")


def test_a_hook_carries_the_fence() -> None:
    host = FakeHost("web1")
    stale = work(host)
    host.lock.change(["acquire", "5", "2", "s", "run1", "site"])
    with pytest.raises(FenceRefused):
        run_hook(Hook(command=("drain",)), stale)
    assert host.jobs == {}


def test_how_a_hook_on_the_host_can_end() -> None:
    said: list[bytes] = []
    host = FakeHost("web1").job("run1", "one\ntwo\n", exit=5)
    assert on_host(host, Hook(command=("drain",)), said).detail == "drain: status 5: two"
    assert b"".join(said) == b"one\ntwo\n"
    stopped = FakeHost("web1").job("run1", exit=124, seconds=300)
    assert on_host(stopped, Hook(command=("slow",))).detail == "slow: did not end within 300 s; it was stopped"
    hung = FakeHost("web1").job("run1", seconds=9000)
    assert on_host(hung, Hook(command=("slow",))).detail == "slow: did not end within 300 s; it may still run"
    cut = FakeHost("web1").job("run1", seconds=9000)
    cut.time.advance = lambda seconds: cut.reboot()  # type: ignore[method-assign]  # it goes down meanwhile
    assert on_host(cut, Hook(command=("slow",))).detail == "slow: was killed, or the host went down in its midst"
    denied = on_host(FakeHost("web1", sudo=False), Hook(command=("drain",)), user="ops")
    assert denied.detail.startswith("drain: the login may not become root: ")


def test_output_that_is_no_text_is_kept_as_it_is_and_a_flood_is_cut() -> None:
    said: list[bytes] = []
    assert not on_host(FakeHost("web1").job("run1", b"\xff\x00\xfe\n", exit=1), Hook(command=("drain",)), said).ok
    assert b"".join(said) == b"\xff\x00\xfe\n"
    flood: list[bytes] = []
    assert on_host(FakeHost("web1").job("run1", b"x" * 5_000_000, seconds=5), Hook(command=("drain",)), flood).ok
    assert len(b"".join(flood)) == hooks.OUTPUT_CAP


def test_a_playbook_is_refused_with_the_way_round_it() -> None:
    with pytest.raises(Refused, match=r"drain\.yml: playbooks are not available yet") as caught:
        run_hook(Hook(playbook="drain.yml"), work(FakeHost("web1")))

    assert "ansible-playbook" in (caught.value.hint or "")
