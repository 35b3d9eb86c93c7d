"""Controllers that die or freeze, against real hosts: what they are started with, and what their log and the hosts tell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fleet import Host
from tests.fleet.site import OperatorSite
from tests.fleet.system import wait_until

PROGRAM = Path(__file__).parent.parent / "faults" / "controller_process.py"

DRAIN = "/var/log/hooks"
"""On a host: a line for each time that a hook has come to its end there."""

PLAN = f"""
kind: patch
targets: role=web
updates: {{select: all, only: [demo-web]}}
waves: [1, 1, 100%]
budget: 1
other_updaters: fence
before: {{command: [sh, -c, "echo before >>{DRAIN}"]}}
after: {{command: [sh, -c, "echo after >>{DRAIN}"]}}
health:
  - {{http: "http://{{address}}:8080/healthz", retries: 20, every: 0.2s}}
on_failure: rollback-host
"""

HELD = PLAN.replace(f'"echo before >>{DRAIN}"', f'"until [ -e /root/go ]; do sleep 0.1; done; echo before >>{DRAIN}"')
"""A host in hand waits before its change until /root/go is there."""


def breaks_on(host: Host) -> str:
    """A check that is green before the update and red after it, on this host alone."""
    script = f"test $(hostname) != {host.name} || ! dpkg-query -W demo-web | grep -q 1.1"
    return f"  - {{command: [sh, -c, {script!r}], retries: 1, every: 0.3s}}"


@dataclass(frozen=True)
class Controllers:
    """Processes that work on one site, and their common log."""

    site: OperatorSite
    log: Path

    @contextmanager
    def started(
        self,
        *arguments: str,
        die: Sequence[str] = (),
        freeze: Sequence[str] = (),
        lease: float | None = None,
        site: OperatorSite | None = None,
    ) -> Iterator[subprocess.Popen[str]]:
        """One, which does not outlive the block. lease: seconds after which a frozen one is given up."""
        moments = [*(f"--die={one}" for one in die), *(f"--freeze={one}" for one in freeze)]
        moments += [f"--lease={lease}"] if lease else []
        process = subprocess.Popen(
            [sys.executable, PROGRAM, self.log, *moments, "--", *arguments],
            cwd=(site or self.site).root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            process.communicate()

    def lines(self, *kinds: str) -> list[list[str]]:
        """Of the log, split into words, the kinds that are asked for."""
        words = [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []
        return [line for line in words if line[0] in kinds]

    def wait_until_frozen(self, process: subprocess.Popen[str]) -> None:
        def frozen() -> bool:
            assert process.poll() is None, f"it ended before it froze: {process.communicate()}"
            return self._stopped(process)

        wait_until(frozen, "the controller freezes", deadline=120)

    def wait_until_frozen_or_gone(self, process: subprocess.Popen[str]) -> None:
        wait_until(lambda: process.poll() is not None or self._stopped(process), "it freezes or ends", deadline=120)

    @staticmethod
    def _stopped(process: subprocess.Popen[str]) -> bool:
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def told(self, *arguments: str, lease: float | None = None) -> tuple[int, str, str]:
        """One, to its end: status, stdout, stderr."""
        with self.started(*arguments, lease=lease) as process:
            out, told = process.communicate(timeout=240)
        return process.returncode, out, told

    def until_it_ends(self, plan: str, die: Sequence[str]) -> tuple[str, int]:
        """One process after the other, each killed at its first new moment, until the run has ended.
        Returns the run's id and how many have died."""
        deaths, run = 0, ""
        while True:
            arguments = ("runs", "resume", run, "--json") if run else ("run", plan, "--yes", "--json")
            with self.started(*arguments, die=die) as process:
                _, told = process.communicate(timeout=300)
            if process.returncode != -signal.SIGKILL:
                assert run, f"nobody died: {told}"
                return run, deaths
            deaths += 1
            assert len(self.lines("died")) == deaths, f"each dies at a moment of its own: {told}"
            if not run:
                (run,) = [row["id"] for row in self.site.in_flight()]

    def repeated(self) -> dict[tuple[str, str], int]:
        """(workflow, step) → how often its work began after it had been kept."""
        kept: set[tuple[str, str]] = set()
        again: Counter[tuple[str, str]] = Counter()
        for what, workflow, step in self.lines("begin", "kept"):
            if what == "kept":
                kept.add((workflow, step))
            elif (workflow, step) in kept:
                again[workflow, step] += 1
        return dict(again)


def transactions(host: Host) -> list[str]:
    """What dpkg was made to do with demo-web here, `1.0 1.1` each."""
    lines = host.exec(["grep", " upgrade demo-web", "/var/log/dpkg.log"], check=False).splitlines()
    return [" ".join(line.split()[-2:]) for line in lines]


def hooks_run(host: Host) -> list[str]:
    return host.exec(["cat", DRAIN], check=False).split()


def holds_in_hook(host: Host) -> bool:
    """Whether a hook of a run is waiting here."""
    units = "systemctl list-units --plain --no-legend 'mainstay-*before*' | grep -c running || true"
    return host.exec(["sh", "-c", units]).strip() == "1"


def left_on(host: Host) -> list[str]:
    """What must not remain once a run has ended: its lock, a fence around other updaters, half a package."""
    found = host.exec(["sh", "-c", "ls /var/lib/mainstay/lock /etc/systemd/system/*/*mainstay* 2>/dev/null || true"])
    return [*found.split(), *host.exec(["dpkg", "--audit"]).splitlines()]
