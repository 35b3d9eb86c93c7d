"""Who backs the same files of the same host up: mainstay, restic alone, borgmatic. Each into a repository of its own, new in
each round, by the same network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from bench.measure import Cost, Failed, measure
from bench.peers import MAINSTAY, Target, mainstay_folder
from tests.contract.sshd import Sshd
from tests.fleet import Fleet, Host
from tests.fleet.system import wait_until
from tests.servers.restic import rclone, restic

PASSWORD = "4-all-repositories"
DATA = "/srv/data"
BACK = "/srv/back"
PUT_DOWN = Path(__file__).with_name("put_down.py")
SLOW = "nice -n 10 ionice -c 2 -n 7"
"""As mainstay's plans have it, for everybody."""
PLAN = """\
plans:
  {name}:
    kind: backup
    targets: all
    repository: {name}
    prove: null
    sources: {{data: {{paths: [{data}]}}}}
"""
_SERVING = re.compile(r"Serving restic REST API on \[?http://([\d.]+):(\d+)/")


@dataclass
class Bench:
    """host: whose files are backed up. rest: address of a REST server on the controller, as the host reaches it. kept: where
    all repositories lie."""

    fleet: Fleet
    host: Host
    folder: Path
    kept: Path
    rest: Rest

    @property
    def ssh(self) -> list[str]:
        settings = ["-F", "none", "-o", f"UserKnownHostsFile={self.fleet.known_hosts}", "-i", str(self.fleet.key)]
        return ["ssh", *settings, f"ops@{self.host.address}"]

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        file = self.host.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def measure(self, argv: Sequence[str | Path], cwd: Path) -> Cost:
        """CPU is that of everything: on the controller, on the host, and of the REST server."""
        cwd.mkdir(parents=True, exist_ok=True)
        before = self.host_cpu() + self.rest.cpu()
        cost = measure(argv, cwd=cwd)
        return replace(cost, cpu=cost.cpu + self.host_cpu() + self.rest.cpu() - before)

    def gone(self, folder: Path | None = None) -> None:
        """What was restored: held against what was taken, and removed. folder: on the controller; None: on the host."""
        back = folder or self.host.root / BACK.lstrip("/")
        there = back / DATA.lstrip("/")
        run(["diff", "-rq", str(self.host.root / DATA.lstrip("/")), str(there)], cwd=self.folder)
        shutil.rmtree(back)

    def host_cpu(self) -> float:
        """Seconds of all its processes since it was booted: of the control group that they are in."""
        group = Path(f"/proc/{self.host.leader()}/cgroup").read_text().splitlines()[-1].removeprefix("0::")
        top = next(path for path in map(Path, ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")) if path.is_dir())
        told = (top / group.removesuffix("/init.scope").lstrip("/") / "cpu.stat").read_text().split()
        return int(told[told.index("usage_usec") + 1]) / 1e6


@dataclass(frozen=True)
class Rest:
    """A REST server that takes and removes nothing, without a password: the fleet's network ends on this machine."""

    address: str
    port: int
    pid: int

    def cpu(self) -> float:
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def url(self, name: str, *, address: str = "") -> str:
        return f"rest:http://{address or f'{self.address}:{self.port}'}/{name}/"


@contextmanager
def rest(folder: Path, address: str, log: Path) -> Iterator[Rest]:
    argv: list[str | Path] = [
        rclone(),
        "serve",
        "restic",
        "--append-only",
        "--cache-objects=false",
        "--addr",
        f"{address}:0",
        folder,
    ]
    env = {**os.environ, "RCLONE_CONFIG": "/dev/null"}
    with log.open("wb") as said:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=env)
    try:
        wait_until(lambda: bool(_SERVING.search(log.read_text())), "the REST server answers", deadline=60)
        found = _SERVING.search(log.read_text())
        assert found
        yield Rest(address, int(found[2]), process.pid)
    finally:
        process.kill()
        process.wait()


class Tool(Protocol):
    name: str

    def new(self, turn: int) -> None:
        """A new repository, and nothing remembered on the host. Not measured."""

    def back_up(self) -> Cost: ...


class Both(Tool, Protocol):
    def restore(self, *, host: bool) -> Cost:
        """All of the newest, into an empty folder on the host or on the controller."""


@dataclass
class Mainstay:
    """way: a word for it. url: of its repository, with {turn}."""

    bench: Bench
    name: str
    way: str
    url: str
    plan: str = ""

    @property
    def site(self) -> Path:
        """One for all ways and rounds: a host belongs to one state."""
        return self.bench.folder / "mainstay"

    def new(self, turn: int) -> None:
        site, host = self.site, self.bench.host
        if not site.exists():
            target = Target(host.name, host.address, 22, "ops")
            mainstay_folder(site, [target], self.bench.fleet.key, self.bench.fleet.known_hosts)
            (site / "recovery").mkdir()
            (site / "secrets").mkdir(mode=0o700)
            (site / "secrets" / host.name).write_text(PASSWORD)
            (site / "secrets" / host.name).chmod(0o600)
        self.plan = f"{self.way}{turn}"
        (site / "schedules" / f"{self.plan}.yml").write_text(PLAN.format(name=self.plan, data=DATA))
        own = f"url: '{self.url.format(turn=turn)}/{{host}}', password: 'file:secrets/{{host}}'"
        (site / "recovery" / f"{self.plan}.yml").write_text(f"repositories:\n  {self.plan}: {{{own}}}\n")
        run([str(MAINSTAY), "repo", "init", self.plan, "--yes"], cwd=site)
        host.exec(["rm", "-rf", "/var/lib/mainstay/cache"])

    def back_up(self) -> Cost:
        return self.bench.measure([MAINSTAY, "run", self.plan, "--yes", "--json"], self.site)

    def record(self) -> Any:
        """Of the last backup."""
        return json.loads((self.site / "out").read_text())

    def restore(self, *, host: bool) -> Cost:
        to = ["--to", BACK] if host else ["--to", str(self.site / "back"), "--on", "controller"]
        asked = ["--path", DATA, "--repository", self.plan, *to, "--yes"]
        cost = self.bench.measure([MAINSTAY, "restore", self.bench.host.name, *asked], self.site)
        self.bench.gone(None if host else self.site / "back")
        return cost


@dataclass
class Served(Mainstay):
    """The same where a daemon is up that has done a run before, as in every night but its first."""

    def new(self, turn: int) -> None:
        super().new(turn)
        plan, url = "warm", f"{self.bench.kept}/warm{turn}/{{host}}"
        (self.site / "schedules" / f"{plan}.yml").write_text(PLAN.format(name=plan, data="/etc/hostname"))
        own = f"{{url: '{url}', password: 'file:secrets/{{host}}'}}"
        (self.site / "recovery" / f"{plan}.yml").write_text(f"repositories:\n  {plan}: {own}\n")
        run([str(MAINSTAY), "repo", "init", plan, "--yes"], cwd=self.site)

    def back_up(self) -> Cost:
        """wall: from when the run is put down until its record is sealed. cpu: of the daemon and all that it began, of the host
        and of the REST server; not of the process that puts it down."""
        with self._daemon() as daemon:
            run([str(MAINSTAY), "run", "warm", "--yes", "--json"], cwd=self.site)
            before = self.bench.host_cpu() + self.bench.rest.cpu() + cpu(daemon)
            self.bench.measure([sys.executable, PUT_DOWN, self.site, self.plan], self.site)
            sealed = (self.site / "state" / "anchor.jsonl").stat().st_mtime
            used = self.bench.host_cpu() + self.bench.rest.cpu() + cpu(daemon) - before
        began = datetime.fromisoformat(self.record()["started_at"]).timestamp()
        return Cost(wall=sealed - began, cpu=used, peak=0.0, began=began)

    @contextmanager
    def _daemon(self) -> Iterator[int]:
        """Its process id. Up only meanwhile: with one that serves the other ways' runs would be handed over too."""
        log = self.bench.folder / "daemon.log"
        with log.open("wb") as said:
            argv = [str(MAINSTAY), "serve"]
            process = subprocess.Popen(argv, cwd=self.site, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            wait_until(lambda: b"clock is kept" in log.read_bytes(), "the daemon serves", deadline=60)
            yield process.pid
        finally:
            process.terminate()
            process.wait()


def cpu(pid: int) -> float:
    """Seconds of a process, and of its children that have ended."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Restic:
    """restic alone, over ssh. tunnel: through a reverse forward of that connection."""

    bench: Bench
    name: str
    tunnel: bool = False

    def new(self, turn: int) -> None:
        bench = self.bench
        self.repository = f"{'tunnel' if self.tunnel else 'restic'}{turn}"
        run([str(restic()), "init"], cwd=bench.folder, env=self.env(str(bench.kept / self.repository)))
        url = bench.rest.url(self.repository, address="127.0.0.1:9000" if self.tunnel else "")
        lines = [f"export {name}={value}" for name, value in self.env(url).items()]
        cache = f"/var/cache/{self.name.replace(' ', '-')}"
        options = f"--json --retry-lock 300s --cache-dir {cache}"
        take = f"exec {SLOW} restic {options} backup --host {bench.host.name} --tag nightly {DATA}"
        back = f'[ "$1" != back ] || exec nice -n 5 restic {options} restore latest --verify --target {BACK}'
        bench.write("/root/take.sh", "\n".join([*lines, "export RESTIC_PROGRESS_FPS=0.5", back, take]) + "\n")
        bench.host.exec(["rm", "-rf", cache])
        bench.host.exec(["mv", "/root/take.sh", self.script])

    @property
    def script(self) -> str:
        return f"/root/{self.name.replace(' ', '-')}.sh"

    def env(self, url: str) -> dict[str, str]:
        return {"RESTIC_REPOSITORY": url, "RESTIC_PASSWORD": PASSWORD}

    def back_up(self) -> Cost:
        bench = self.bench
        forward = ["-R", f"127.0.0.1:9000:{bench.rest.address}:{bench.rest.port}"] if self.tunnel else []
        argv = [*bench.ssh[:-1], *forward, bench.ssh[-1], "sudo", "sh", self.script]
        return bench.measure(argv, bench.folder / "restic")

    def restore(self, *, host: bool) -> Cost:
        """--verify: mainstay compares with the repository too."""
        bench, folder = self.bench, self.bench.folder / "restic"
        if host:
            cost = bench.measure([*bench.ssh, "sudo", "sh", self.script, "back"], folder)
            bench.gone()
            return cost
        words = [
            *SLOW.split(),
            "env",
            *(f"{name}={value}" for name, value in self.env(bench.rest.url(self.repository)).items()),
        ]
        options = ["--json", "--cache-dir", str(folder / "cache"), "restore", "latest", "--verify"]
        cost = bench.measure([*words, restic(), *options, "--target", folder / "back"], folder)
        bench.gone(folder / "back")
        return cost


BORGMATIC = """\
location:
  source_directories: [{data}]
  repositories: ["ssh://root@{address}:{port}{path}"]
storage:
  encryption_passphrase: {password}
  compression: auto,zstd,3
  ssh_command: ssh -F none -i /root/borg/id -o UserKnownHostsFile=/root/borg/known_hosts
"""


@dataclass
class Borgmatic:
    """Debian's borgmatic with Debian's borg on the host, into a repository on the controller by ssh. server: of the
    controller, for the host."""

    bench: Bench
    server: Sshd
    name: str = "borgmatic"

    def install(self) -> None:
        """Once. Raises FleetError where it can't be had."""
        bench = self.bench
        bench.fleet.repository.fetch("borgmatic", "borgbackup")
        bench.host.exec(["apt-get", "-q", "update"])
        bench.host.exec(["apt-get", "-q", "-y", "--no-install-recommends", "install", "borgmatic", "borgbackup"])
        bench.write("/root/borg/id", self.server.key.read_text())
        public = (self.server.folder / "host_key.pub").read_text()
        bench.write("/root/borg/known_hosts", f"[{bench.rest.address}]:{self.server.port} {public}")

    def new(self, turn: int) -> None:
        bench = self.bench
        path = bench.kept / f"borg{turn}"
        told = {"address": bench.rest.address, "port": self.server.port, "path": path, "password": PASSWORD}
        bench.write("/root/borg/config.yaml", BORGMATIC.format(data=DATA, **told))
        bench.host.exec(["rm", "-rf", "/root/.cache/borg", "/root/.config/borg", "/root/.borgmatic"])
        bench.host.exec([*self.program, "init", "-e", "repokey-blake2"])

    @property
    def program(self) -> list[str]:
        return ["borgmatic", "--config", "/root/borg/config.yaml", "-v", "-1"]

    def back_up(self) -> Cost:
        argv = [*self.bench.ssh, "sudo", *SLOW.split(), *self.program, "create"]
        return self.bench.measure(argv, self.bench.folder / "borg")


def run(argv: list[str], *, cwd: Path, env: dict[str, str] | None = None) -> None:
    """Not measured. Raises Failed."""
    done = subprocess.run(argv, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{argv[0]} {argv[1]} ended with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
