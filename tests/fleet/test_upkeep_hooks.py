"""Hooks on a real host: who they run as, how they end, and that they are found again and not run twice."""

from __future__ import annotations

from mainstay.runner.operation import Outcome
from mainstay.runner.plan import Hook
from mainstay.runner.shell.contract import JobStatus
from tests.fleet import Fleet, Host
from tests.fleet.system import wait_until
from tests.fleet.upkeep_kit import Hold, hold


def run(held: Hold, name: str, *command: str, user: str | None = None, timeout: str = "60s") -> tuple[Outcome, str]:
    said: list[bytes] = []
    held.work.job, held.work.output = name, said.append
    outcome = held.upkeep.hook(held.work, Hook(command=command, user=user, timeout=timeout))
    return outcome, b"".join(said).decode()


def test_a_hook_runs_as_who_is_named_and_once_however_often_it_is_begun(fleet: Fleet, host: Host) -> None:
    show = 'id -un; pwd; echo "$HOME $MAINSTAY_RUN $MAINSTAY_HOST $1"; echo done >>/var/tmp/"$(id -un)"'
    with hold(fleet, host) as held:
        for _ in range(2):
            outcome, said = run(held, "as-root", "sh", "-c", show, "hook", "a 'b' $c")
            assert outcome == Outcome(ok=True, detail="sh: done")
            assert said.splitlines() == ["root", "/", f"/root run1 {host.name} a 'b' $c"]
        outcome, said = run(held, "as-reader", "sh", "-c", show, user="reader")
        assert outcome.ok and said.splitlines() == ["reader", "/", f"/home/reader run1 {host.name} "]
        assert host.exec(["cat", "/var/tmp/root", "/var/tmp/reader"]).split() == ["done", "done"]


def test_how_a_hook_can_end(fleet: Fleet, host: Host) -> None:
    with hold(fleet, host) as held:
        assert run(held, "no", "sh", "-c", "echo why >&2; exit 3")[0] == Outcome(ok=False, detail="sh: status 3: why")
        assert "status 127" in run(held, "missing", "/no/such/program")[0].detail
        assert not run(held, "nobody", "true", user="no-such-user")[0].ok
        late = run(held, "late", "sh", "-c", "echo $$ >/var/tmp/late; sleep 600", timeout="1s")[0]
        assert late == Outcome(ok=False, detail="sh: did not end within 1 s; it was stopped")
        assert held.shell.poll("late").status is JobStatus.EXITED
        gone = ["sh", "-c", "kill -0 $(cat /var/tmp/late) 2>/dev/null || echo gone"]
        wait_until(lambda: host.exec(gone).strip() == "gone", "what it had started is stopped", deadline=30)
