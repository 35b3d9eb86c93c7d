"""The demo's story: five real hosts, their pending security updates, an update that goes wrong, the way back, and a night that
comes by itself.

Run it as scripts/demo, which prepares what it needs.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.fleet import Fleet, FleetError, Host
from tests.fleet.fleet import temporary

HOSTS = 5
MAINSTAY = Path(sys.executable).parent / "mainstay"

MAINSTAY_YML = """\
site: demo
timezone: UTC
ssh: {{user: ops, key: "file:{key}", known_hosts: inventory/known_hosts}}
"""

REPOSITORIES = """\
repositories:
  store: {{url: "{folder}/{{host}}", password: "file:secrets/{{host}}"}}
"""
"""On the controller's disk, one for each host with a password of its own; hosts reach it through the controller."""

PLANS = """\
plans:
  nightly:
    kind: backup
    targets: all
    repository: store
    sources:
      system: {paths: [/etc, /usr/share/doc], expect: {min_files: 100}}
      packages: {command: dpkg --get-selections, filename: packages.txt, trailer: install}
    retention: {daily: 7, weekly: 5}
    fresh: 26h
    prove: {every: 7d, sample: 25, on: h5}
  patch-all:
    kind: patch
    targets: all
    requires: {backup: {newer_than: 24h}}
    updates: {select: security}
    waves: [1, 40%, 100%]
    parallel: 2
    restart: reboot         # dbus and logind run replaced code too, and nothing else takes that from them
    health: [{service: demo-web}, {http: "http://{address}:8080/healthz"}]
  web-update:
    kind: patch
    maintenance_type: perfective
    targets: role=web
    updates: {select: all, only: demo-web}
    waves: [1, 100%]
    health:
      - {service: demo-web, retries: 2, every: 1s}
      - {http: "http://{address}:8080/healthz", retries: 2, every: 1s}
    on_failure: rollback-host
"""

NIGHTS = """\
windows:
  tonight: {{cron: "{minute} {hour} * * *", duration: 15m, cutoff: 5m}}
  nightly: {{on: last sunday, start: "02:30", duration: 1h, timezone: Europe/Berlin}}
freezes:
  - {{name: year-end close, dates: {today}, plans: [billing-update]}}
plans:
  web-tonight:
    targets: role=web
    window: tonight
    updates: {{select: all, only: demo-web}}
    waves: [1, 100%]
    health: [{{service: demo-web, retries: 2, every: 1s}}]
  billing-update: {{targets: role=web, window: tonight}}
  kernel-update: {{targets: all, window: nightly}}
"""
"""Windows in UTC, the site's zone, but for one: the night in which Europe's clocks change is the last Sunday of a month."""
LEAD = 8
"""Seconds at least until the window opens, so that what comes can be shown before it is there."""
PATIENCE = 240.0
"""Seconds for what runs by itself."""

WELL = 0
PUT_BACK = 1


class Unexpected(Exception):
    """A step of the story ended in another way than it should have."""


@dataclass(frozen=True, slots=True)
class Demo:
    """The site and the hosts that the story plays on."""

    site: Path
    fleet: Fleet

    @property
    def log(self) -> Path:
        """What serve says, an object a line."""
        return self.site.parent / "serve.log"

    def say(self, text: str) -> None:
        print(f"\n— {text}", flush=True)

    def mainstay(self, *argv: str, ends: int = WELL) -> None:
        """Run one command before the reader's eyes. Raises Unexpected when it exits with anything else than `ends`."""
        print(f"\n$ mainstay {' '.join(argv)}", flush=True)
        status = subprocess.run([MAINSTAY, *argv], cwd=self.site, check=False).returncode
        if status != ends:
            raise Unexpected(f"mainstay {' '.join(argv)}: exit {status}, where {ends} was due")

    def killed(self, *argv: str, at: str) -> str:
        """Run one command, and kill it with SIGKILL when it first says `at`. Returns the id of its run."""
        print(f"\n$ mainstay {' '.join(argv)}", flush=True)
        process = subprocess.Popen([MAINSTAY, *argv], cwd=self.site, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        with process:
            for line in process.stderr:
                print(line, end="", flush=True)
                if at in line:
                    process.kill()
                    break
        if process.returncode != -signal.SIGKILL:
            raise Unexpected(f"mainstay {' '.join(argv)} ended before it said {at!r}: exit {process.returncode}")
        print("Killed", flush=True)
        left = self._read("runs", "list")
        if len(left) != 1:
            raise Unexpected(f"{len(left)} runs are in flight after the kill, where one is")
        return str(left[0]["id"])

    @contextmanager
    def served(self) -> Iterator[None]:
        """`mainstay serve` meanwhile; it is stopped in order. Raises Unexpected where it doesn't end well."""
        print("\n$ mainstay serve &", flush=True)
        with self.log.open("wb") as told:
            process = subprocess.Popen([MAINSTAY, "serve"], cwd=self.site, stderr=told)
            try:
                self.wait(
                    lambda: "clock is kept" in self.log.read_text() or process.poll() is not None, "serve is ready"
                )
                yield
                process.terminate()
                if status := process.wait(PATIENCE):
                    raise Unexpected(f"mainstay serve: exit {status}, where 0 was due")
            except BaseException:
                print(self.log.read_text()[-4000:], file=sys.stderr)
                raise
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()

    def wait(self, met: Callable[[], bool], what: str) -> None:
        """Raises Unexpected where it does not come about in PATIENCE seconds."""
        end = time.monotonic() + PATIENCE
        while not met():
            if time.monotonic() > end:
                raise Unexpected(f"{what}: not within {PATIENCE:g} s")
            time.sleep(0.5)

    def told_end(self, plan: str) -> bool:
        """Whether serve has said that a run of this plan ended."""
        rows = self.log.read_text().splitlines()
        return any('"event": "run ended"' in row and f'"plan": "{plan}"' in row for row in rows)

    def ended(self, plan: str) -> str:
        """The verdict of the newest run of a plan; empty while there is none."""
        found = [record for record in self._read("records", "list") if record["plan"] == plan]
        return str(max(found, key=lambda record: record["seq"])["verdict"]) if found else ""

    def newest_run(self, plan: str) -> str:
        found = [record for record in self._read("records", "list") if record["plan"] == plan]
        if not found:
            raise Unexpected(f"there is no record of {plan}")
        return str(max(found, key=lambda record: record["seq"])["id"])

    def _read(self, *argv: str) -> list[dict[str, Any]]:
        """What a command says with --json."""
        said = subprocess.run([MAINSTAY, *argv, "--json"], cwd=self.site, stdout=subprocess.PIPE, check=True)
        found: list[dict[str, Any]] = json.loads(said.stdout)
        return found


def story(demo: Demo) -> None:
    repository = demo.fleet.repository
    demo.say("Who are these hosts? Their keys are pinned once; nothing is ever sent to any other.")
    demo.mainstay("hosts", "trust", "all", "--yes")
    demo.mainstay("check")

    backups(demo)

    demo.say("Real security updates are pending. What would happen, and could it be undone?")
    demo.mainstay("preview", "patch-all")
    demo.mainstay("run", "patch-all", "--yes")

    demo.say(
        "demo-web 1.1 is out, and it is good. The controller is killed with -9 while a host installs it, and goes on."
    )
    repository.publish("demo-web", "1.1")
    good = demo.killed("run", "web-update", "--yes", at=": apply")
    demo.mainstay("runs")
    demo.mainstay("runs", "resume", good)

    demo.say(
        "demo-web 1.2 is out, and its service will not come up. The first host finds out, and the others never do."
    )
    repository.publish("demo-web", "1.2")
    demo.mainstay("run", "web-update", "--yes", ends=PUT_BACK)
    versions = {name: host.installed()["demo-web"] for name, host in demo.fleet.hosts.items()}
    demo.say(f"A look behind its back: demo-web is {', '.join(f'{v} on {n}' for n, v in versions.items())}.")
    if set(versions.values()) != {"1.1"}:
        raise Unexpected("1.2 was to be put back where it failed, and never to reach another host")

    demo.say("At night somebody wants 1.0 back after all.")
    demo.mainstay("rollback", good, "--yes")

    night(demo)

    demo.say("What is on record, and is the record true?")
    demo.mainstay("records", "list")
    demo.mainstay("records", "verify")
    demo.mainstay("status")


def backups(demo: Demo) -> None:
    """Every host into a repository of its own, proved by a restore, and needed by what follows."""
    demo.say("Nothing is patched that can't be restored: patch-all asks for a backup, and there is none yet.")
    demo.mainstay("repo", "init", "nightly", "--yes")
    keys = demo.site.parent / "keys.json"
    demo.mainstay("repo", "key", "export", "nightly", "--to", str(keys))
    demo.mainstay("repo", "key", "confirm", "nightly", "--from", str(keys))
    demo.mainstay("run", "nightly", "--yes")
    demo.say(
        "A backup counts when a restore has proved it: h5 restores what h1 has, compares it, and keeps nothing of it."
    )
    demo.mainstay("prove", "nightly", "--hosts", "h1")
    demo.mainstay("points", "h1")
    first, lost = demo.fleet.hosts["h1"], "/etc/login.defs"
    there = first.exec(["sha256sum", lost])
    first.exec(["rm", lost])
    demo.say(f"Somebody deletes {lost} of h1 by hand. It comes back as it was.")
    demo.mainstay("restore", "h1", "--path", lost, "--to", "/root/back", "--yes")
    first.exec(["cp", "-p", f"/root/back{lost}", lost])
    if first.exec(["sha256sum", lost]) != there:
        raise Unexpected(f"{lost} is another one than it was")


def night(demo: Demo) -> None:
    """A window opens within a minute or so: one plan runs by itself, another one is frozen."""
    demo.fleet.repository.publish("demo-web", "1.4")
    opens = datetime.now(UTC) + timedelta(seconds=LEAD)
    opens = opens.replace(second=0, microsecond=0) + timedelta(minutes=1)
    text = NIGHTS.format(minute=opens.minute, hour=opens.hour, today=opens.date())
    (demo.site / "schedules" / "nights.yml").write_text(text)
    commit(demo.site, "What happens at night")
    demo.say(
        f"demo-web 1.4 is out. Nobody stays up for it: a window opens at {opens:%H:%M} UTC, and one plan is frozen today."
    )
    with demo.served():
        demo.mainstay("next", "--days", "1")
        due = {"web-tonight": "succeeded", "billing-update": "refused"}
        demo.wait(lambda: all(demo.told_end(plan) for plan in due), "the window's two runs end")
        for plan, verdict in due.items():
            if demo.ended(plan) != verdict:
                raise Unexpected(f"{plan}: {demo.ended(plan)}, where {verdict} was due")
        demo.mainstay("records", "show", demo.newest_run("billing-update"))
    demo.say("And the night in which the clocks change?")
    demo.mainstay("next", "kernel-update", "--days", str(days_to_change(datetime.now(UTC))))


def days_to_change(now: datetime) -> int:
    """Until the next night in which Berlin's clocks change, and a bit."""
    zone = ZoneInfo("Europe/Berlin")
    offsets = [(now + timedelta(days=day)).astimezone(zone).utcoffset() for day in range(367)]
    return next(day for day in range(1, 367) if offsets[day] != offsets[day - 1]) + 1


def write_site(site: Path, fleet: Fleet) -> None:
    hosts = "".join(f"  {h.name}: {{address: {h.address}, tags: {{role: web}}}}\n" for h in fleet.hosts.values())
    files = {
        "mainstay.yml": MAINSTAY_YML.format(key=fleet.key),
        "inventory/hosts.yml": f"hosts:\n{hosts}",
        "schedules/patching.yml": PLANS,
        "recovery/repositories.yml": REPOSITORIES.format(folder=site.parent / "backups"),
        ".gitignore": "state/\nsecrets/\n",
    }
    for name, text in files.items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
    for host in fleet.hosts:
        secret = site / "secrets" / host
        secret.parent.mkdir(exist_ok=True)
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_hex(16) + "\n")
    commit(site, "The demo's site")


def commit(site: Path, message: str) -> None:
    """A record names the site's commit, where there is git."""
    if shutil.which("git"):
        git = ["git", "-C", str(site), "-c", "user.name=demo", "-c", "user.email=demo@invalid"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", message]):
            subprocess.run([*git, *words], check=True)


def boot(fleet: Fleet) -> list[Host]:
    hosts = fleet.add(HOSTS)
    with ThreadPoolExecutor(len(hosts)) as pool:
        install: Callable[[Host], None] = lambda host: host.install("demo-web", "1.0")  # noqa: E731  # typed, and used once
        list(pool.map(install, hosts))
    return hosts


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up as Ctrl-C does
    os.environ.setdefault("COLUMNS", "110")
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="mainstay-demo-") as folder, temporary() as fleet:
            print(f"Booting {HOSTS} Debian hosts, each with demo-web 1.0 …", flush=True)
            boot(fleet)
            print(f"up after {time.monotonic() - began:.1f} s", flush=True)
            site = Path(folder) / "site"
            write_site(site, fleet)
            story(Demo(site, fleet))
    except KeyboardInterrupt:
        print("\ndemo: interrupted; the hosts are gone", file=sys.stderr)
        return 130
    except (FleetError, Unexpected, subprocess.CalledProcessError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    print(f"\nThe demo took {time.monotonic() - began:.0f} s. Its hosts, network and files are gone.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
