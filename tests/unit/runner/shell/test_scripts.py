"""The scripts by themselves, in every POSIX shell that is here: what the fence promises holds under a crowd."""

from __future__ import annotations

import atexit
import random
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

from mainstay.runner.shell import scripts

SHELLS = [
    [found, *rest]
    for name, *rest in (["dash"], ["bash", "--posix"], ["busybox", "sh"])
    if (found := shutil.which(name, path="/usr/bin:/bin"))
]


@cache
def path(shell: str) -> str:
    """Where its tools are found: busybox brings its own."""
    if not shell.endswith("busybox"):
        return "/usr/bin:/bin"
    folder = tempfile.mkdtemp(prefix="applets")
    atexit.register(shutil.rmtree, folder)
    subprocess.run([shell, "--install", "-s", folder], check=True)
    if not Path(folder, "flock").exists():  # Debian builds its busybox without it, Alpine with it
        Path(folder, "flock").symlink_to("/usr/bin/flock")
    return folder


def lock(
    shell: list[str], folder: Path, action: str, number: int, run: str, *stale: str, state: str = "s"
) -> list[str]:
    argv = [*shell, "-c", scripts.CHANGE_LOCK, "mainstay", action, "20", str(number), state, run, "acme", *stale]
    env = {"PATH": path(shell[0]), "MAINSTAY_STATE_DIR": str(folder)}
    done = subprocess.run(argv, capture_output=True, text=True, env=env, check=True)
    return done.stdout.split("\n")[0].removeprefix("mainstay-lock ").split("\t")


def fenced(shell: list[str], folder: Path, number: int, run: str, *argv: str) -> subprocess.CompletedProcess[str]:
    head = ["T", str(folder), "20", str(number), "s", run, "30", "", "LC_ALL=C"]
    return subprocess.run(
        [*shell, "-c", scripts.FENCED, "mainstay", *head, *argv], capture_output=True, text=True, check=False
    )


@pytest.mark.thorough
@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: Path(shell[0]).name)
def test_no_lower_number_runs_once_a_higher_one_was_seen(shell: list[str], tmp_path: Path) -> None:
    """Each command notes its number as it ends; whoever raises the number has to wait for those that run."""
    folder, log = tmp_path / "state", tmp_path / "log"
    log.touch()
    assert lock(shell, folder, "acquire", 1, "r") == ["ok"]
    write = ("sh", "-c", 'sleep 0.0$3; echo "$1" >>"$2"', "sh")

    def one(number: int) -> None:
        if number % 3 == 0:
            lock(shell, folder, "acquire", number, "r")
        fenced(shell, folder, number, "r", *write, str(number), str(log), str(number % 9 + 1))

    numbers = list(range(1, 61))
    random.Random(7).shuffle(numbers)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, numbers))
    seen = [int(line) for line in log.read_text().split()]
    assert seen == sorted(seen)
    assert len(seen) > 1
    assert (folder / "fence").read_text() == "60\n"


@pytest.mark.thorough
@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: Path(shell[0]).name)
def test_one_of_many_runs_gets_the_lock(shell: list[str], tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda n: lock(shell, tmp_path / "state", "acquire", 5, f"run-{n}"), range(8)))
    winners = [words for words in said if words[0] == "ok"]
    losers = {tuple(words[:2]) for words in said if words[0] != "ok"}
    assert len(winners) == 1
    assert losers == {("refused", "lock")}


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: Path(shell[0]).name)
@pytest.mark.parametrize("content", ["", "garbage\n", "12x\n"])
def test_a_damaged_number_is_not_taken_for_none(shell: list[str], tmp_path: Path, content: str) -> None:
    lock(shell, tmp_path, "acquire", 9, "r")
    (tmp_path / "fence").write_text(content)
    assert "refused\tdamaged" in fenced(shell, tmp_path, 10, "r", "true").stdout
    assert lock(shell, tmp_path, "acquire", 10, "r")[:2] == ["refused", "damaged"]
    assert lock(shell, tmp_path, "adopt", 10, "r") == ["ok"]
    assert (tmp_path / "fence").read_text() == "10\n"


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: Path(shell[0]).name)
def test_words_of_others_are_not_code(shell: list[str], tmp_path: Path) -> None:
    bad = f"$(touch {tmp_path}/x) `touch {tmp_path}/x`; touch {tmp_path}/x"
    lock(shell, tmp_path, "acquire", 1, bad, state=bad)
    assert lock(shell, tmp_path, "acquire", 2, "other", state=bad)[:3] == ["refused", "lock", bad]
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: Path(shell[0]).name)
def test_a_full_disk_is_said_and_keeps_what_was(shell: list[str], tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", tmp_path], check=True)
    try:
        assert lock(shell, tmp_path, "acquire", 1, "r") == ["ok"]
        with (tmp_path / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="space"):
            while True:
                filler.write(b"x" * 1024)
        assert lock(shell, tmp_path, "acquire", 2, "r")[:2] == ["refused", "unwritable"]
        assert (tmp_path / "fence").read_text() == "1\n"
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: Path(shell[0]).name)
def test_what_jobs_have_printed_goes_with_the_lock_also_that_of_the_run_that_was_reconciled(
    shell: list[str], tmp_path: Path
) -> None:
    for name in ("r1-w1-apply", "r2-w1-after", "r3-w1-apply"):
        (job := tmp_path / "jobs" / name).mkdir(parents=True)
        (job / "out").write_text("password=hunter2\n")
        (job / "rc").write_text("0\n")
    assert lock(shell, tmp_path, "acquire", 1, "r2") == ["ok"]
    assert lock(shell, tmp_path, "release", 1, "r2", "r1") == ["ok"]
    left = {out.parent.name for out in tmp_path.glob("jobs/*/out") if out.read_text()}
    assert left == {"r3-w1-apply"}
    assert not (tmp_path / "lock").exists()
