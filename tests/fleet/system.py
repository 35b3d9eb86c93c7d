"""What the fleet asks of the machine it runs on: programs, processes, deadlines."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path


class FleetError(Exception):
    """The fleet could not be built, booted or reached; says which program said what."""


def run(argv: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return its stdout. Raises FleetError with what it said."""
    done = subprocess.run(
        [str(a) for a in argv], stdin=subprocess.DEVNULL, capture_output=True, cwd=cwd, env=env, check=False
    )
    if done.returncode != 0:
        said = (done.stderr + done.stdout).decode("utf-8", "replace").strip()
        raise FleetError(f"{' '.join(str(a) for a in argv)}: exit {done.returncode}\n{said[-4000:]}")
    return done.stdout.decode("utf-8", "replace")


def quietly(argv: Sequence[str | Path]) -> bool:
    """Run a program whose failure is an answer (a thing that is there already, or gone already)."""
    return (
        subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode
        == 0
    )


def wait_until(met: Callable[[], bool], what: str, *, deadline: float, every: float = 0.03) -> None:
    """Look at a condition until it holds. Raises FleetError when it does not within `deadline` seconds."""
    end = time.monotonic() + deadline
    while not met():
        if time.monotonic() > end:
            raise FleetError(f"{what}: not within {deadline:g} s")
        time.sleep(every)


def birth(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when there is none. With the pid it names one process for ever."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def alive(pid: int, born: int | None) -> bool:
    return born is not None and birth(pid) == born


def kill_group(pid: int, born: int | None) -> None:
    """End a process group that we started, and nobody who has got its number since."""
    if alive(pid, born):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM for the length of a clean-up; they arrive afterwards."""
    held = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
