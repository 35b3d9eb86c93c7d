"""mainstay dies in the middle: what it has running is asked to stop, and can put away what it has begun."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from tests.fleet.system import birth, wait_until

from mainstay.recovery.restic.adapters import process

RUNS = """
import os, sys, threading
from mainstay.recovery.restic.adapters import process

def run():
    env, grace = {"PATH": os.environ["PATH"]}, float(sys.argv[2])
    process.run([sys.argv[1]], env, lambda data: None, lambda data: None, deadline=600, grace=grace)

worker = threading.Thread(target=run)
worker.start()
worker.join()
"""

TIDY = """
def stop(number, frame):
    for descriptor in (1, 2):
        os.write(descriptor, b"cleaning up" * 20000)  # more than a pipe holds: somebody has to read
    os.unlink(lock)
    sys.exit(130)

signal.signal(signal.SIGTERM, stop)
"""
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def _begun(folder: Path, text: str, grace: float = 60) -> tuple[subprocess.Popen[bytes], int, Path]:
    """A process that has such a program running through the adapter, the program's id, and the lock that it holds."""
    file, lock = folder / "program", folder / "lock"
    # SIGPIPE as a program has it that does not ask for anything else: Python itself ignores it, restic ends by it.
    own = f"lock = {str(lock)!r}\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\n{text}\n"
    held = (
        "open(lock + '.new', 'w').write(str(os.getpid()))\nos.rename(lock + '.new', lock)\nwhile True: signal.pause()\n"
    )
    file.write_text(f"#!{sys.executable} -IS\nimport os, signal, sys\n{own}{held}")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    controller = subprocess.Popen([sys.executable, "-c", RUNS, str(file), str(grace)])
    wait_until(lock.exists, "the program runs", deadline=60)
    return controller, int(lock.read_text()), lock


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_program_is_asked_to_stop_and_puts_its_lock_away_where_mainstay_is_killed(
    tmp_path: Path, number: signal.Signals
) -> None:
    controller, pid, lock = _begun(tmp_path, TIDY)
    try:
        controller.send_signal(number)
        controller.wait(60)

        wait_until(lambda: birth(pid) is None, "the program is gone", deadline=60)
        assert not lock.exists()
    finally:
        _end(controller, pid)


def test_one_that_does_not_stop_then_is_killed_with_its_guard(tmp_path: Path) -> None:
    controller, pid, _ = _begun(tmp_path, DEAF, grace=1)
    try:
        controller.kill()

        wait_until(lambda: not _group(pid), "nobody is left", deadline=60)
    finally:
        _end(controller, pid)


def test_no_guard_is_left_of_one_that_has_ended(tmp_path: Path) -> None:
    said: list[bytes] = []
    ended = process.run(
        ["sh", "-c", "echo $$; exit 3"], {"PATH": os.environ["PATH"]}, said.append, said.append, deadline=600
    )

    assert ended == process.Ended(3)
    wait_until(lambda: not _group(int(b"".join(said))), "its guard has gone", deadline=60)


def _group(leader: int) -> list[int]:
    """All that live in a program's group."""
    pids = [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit()]
    return [pid for pid in pids if birth(pid) is not None and _pgid(pid) == leader]


def _pgid(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def _end(controller: subprocess.Popen[bytes], pid: int) -> None:
    controller.kill()
    controller.wait()
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
