"""The bench's parts that need nobody else's programs: they still run against what they measure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.peers import Target, mainstay_folder
from bench.table import load
from tests.contract.sshd import sshd

ROOT = Path(__file__).resolve().parents[2]


def test_records() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.records", "--quick"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    (part,) = load(done.stdout.decode())
    figures = {row[0]: float(row[1].replace(",", "")) for row in part.rows}
    assert {"appends/s, one thread", "entries verified/s", "step checkpoints/s"} <= set(figures)
    assert min(figures.values()) > 0


def test_every_host_is_asked_for_its_facts(tmp_path: Path) -> None:
    folder = tmp_path / "sshd"
    folder.mkdir()
    with sshd(folder) as server:
        known_hosts = tmp_path / "known_hosts"
        known_hosts.write_text(f"[127.0.0.1]:{server.port} {(folder / 'host_key.pub').read_text()}")
        targets = [Target("h1", "127.0.0.1", server.port, "root"), Target("h2", "127.0.0.2", server.port, "root")]
        site = mainstay_folder(tmp_path / "site", targets, server.key, known_hosts)
        asked: list[str | Path] = [sys.executable, ROOT / "bench" / "probe_all.py", site, "2"]
        done = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=False)
    one, two = done.stdout.splitlines()
    assert one.startswith("h1 ") and len(one) > len("h1 ")
    assert "key is not known" in two and done.returncode == 1, "a host that does not answer is no figure"


def test_a_run_is_put_down_for_a_daemon_or_not_at_all(tmp_path: Path) -> None:
    site = mainstay_folder(
        tmp_path / "site", [Target("h1", "127.0.0.1", 1, "root")], tmp_path / "key", tmp_path / "known"
    )
    (site / "schedules" / "plans.yml").write_text("plans:\n  nightly: {targets: all}\n")
    asked: list[str | Path] = [sys.executable, ROOT / "bench" / "put_down.py", site, "nightly"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1:]) == (1, ["no daemon is up"])
    assert not list((site / "state").glob("engine.db-wal")), "nothing was begun"
