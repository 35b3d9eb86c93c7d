"""Hooks: a command before the change or after it, on the host or on mainstay's own machine.

One on the host is detached work with a name: a controller that was killed or has lost contact finds it again and takes its
result, and does not run it twice. One on mainstay's own machine leaves nothing behind that could be found: where the
controller dies in its midst, it is run again.
"""

from __future__ import annotations

import math
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from mainstay.inventory.errors import Refused
from mainstay.inventory.redaction import redact
from mainstay.runner.operation import HostWork, Outcome
from mainstay.runner.plan import Hook
from mainstay.runner.shell.contract import Job, JobState, JobStatus, Output, SudoRefused

OUTPUT_CAP = 1024 * 1024
"""Bytes of a hook's output that are kept; the rest is read and dropped, so that a chatty hook does not block."""

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a hook on the controller that ran out of time."""

UNREAD = 1 << 60
"""An offset behind all that a hook can have said."""

PAUSE, PAUSE_MOST = 0.1, 1.0
"""Seconds between two looks at a hook on a host."""

LATE = 30.0
"""Seconds after its time is up at which one is left alone that its host has not stopped."""

STOPPED = 124
"""What `timeout` exits with where the time was up."""

_ON_HOST = r"""
limit=$1; shift
[ -n "$HOME" ] || { HOME=$(getent passwd "$(id -u)" | cut -d: -f6); export HOME; }
if timeout -k 1 5 true 2>/dev/null; then exec timeout -k 10 "$limit" "$@"; fi
exec "$@"
"""
"""seconds, then the command."""

INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSH_AUTH_SOCK")
"""What a hook on the controller sees of mainstay's own environment: nothing that may hold a secret by reference."""


def run_hook(
    hook: Hook,
    work: HostWork,
    *,
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome:
    """Run one hook to its end. A host's hook carries the fence. folder: where one on the controller runs.

    Again with the same `work.job`: one on the host is not run a second time. Raises Refused for a playbook, and what Shell
    raises (except for a hook that ran out of time: that is an outcome).
    """
    told = {"MAINSTAY_RUN": work.run, "MAINSTAY_HOST": work.host.name, "MAINSTAY_ADDRESS": work.host.address}
    if hook.playbook is not None:
        raise Refused(
            f"hook {hook.playbook}: playbooks are not available yet",
            hint="Use a command on the host, or a controller command that calls ansible-playbook.",
        )
    if hook.controller is not None:
        source = os.environ if environ is None else environ
        inherited = {name: source[name] for name in INHERITED if name in source}
        env = {**inherited, **told}
        return run_here(hook.controller, env, deadline=hook.timeout, output=work.output, folder=folder)
    return _on_host(hook, work, told, clock, sleep)


def _on_host(
    hook: Hook, work: HostWork, told: Mapping[str, str], clock: Callable[[], float], sleep: Callable[[float], None]
) -> Outcome:
    """As root where no user is named: taking a service out and putting it back is root's work."""
    argv = hook.command or ()
    user = hook.user or "root"
    # As the shell does with any fenced command: whole seconds, as not every host's `timeout` takes others.
    job = Job(work.job, _ON_HOST, (str(math.ceil(hook.timeout)), *argv), env=dict(told), user=user)
    try:
        work.shell.launch(job, work.fence)
    except SudoRefused as error:
        return Outcome(ok=False, detail=f"{argv[0]}: the login may not become root: {error.plain}")
    state, said = _watch(work, clock() + hook.timeout + LATE, clock, sleep)
    work.output(said)
    if state.status is JobStatus.RUNNING:
        return Outcome(ok=False, detail=f"{argv[0]}: did not end within {hook.timeout:g} s; it may still run")
    if state.exit is None:
        return Outcome(ok=False, detail=f"{argv[0]}: was killed, or the host went down in its midst")
    if state.exit == STOPPED:
        return Outcome(ok=False, detail=f"{argv[0]}: did not end within {hook.timeout:g} s; it was stopped")
    return _ended(argv[0], Output(status=state.exit, stdout=said))


def _watch(
    work: HostWork, until: float, clock: Callable[[], float], sleep: Callable[[float], None]
) -> tuple[JobState, bytes]:
    """The job's end, or how it is when its time is up; and what it said, up to the cap."""
    said, offset, pause = bytearray(), 0, PAUSE
    while True:
        state = work.shell.poll(work.job, offset)
        said += state.output
        # Past the cap nothing more of it is fetched.
        offset = state.offset if len(said) < OUTPUT_CAP else UNREAD
        if state.status is not JobStatus.RUNNING or clock() >= until:
            return state, bytes(said[:OUTPUT_CAP])
        if not state.output:
            sleep(pause)
            pause = min(PAUSE_MOST, pause * 1.5)


def _ended(name: str, output: Output) -> Outcome:
    if output.status == 0:
        return Outcome(ok=True, detail=f"{name}: done")
    # Before it is cut: a part of a secret would not be found any more.
    printed = redact(output.stdout + b"\n" + output.stderr).decode("utf-8", "replace")
    lines = [line.strip() for line in printed.splitlines()]
    said = next((line for line in reversed(lines) if line), "")
    return Outcome(ok=False, detail=f"{name}: status {output.status}" + (f": {said[:300]}" if said else ""))


def run_here(
    argv: tuple[str, ...],
    env: Mapping[str, str],
    *,
    deadline: float,
    output: Callable[[bytes], None],
    folder: Path | None = None,
) -> Outcome:
    """A command on this machine: no shell, its own process group, ended as a whole when its time is up."""
    try:
        process = subprocess.Popen(
            argv,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=folder,
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return Outcome(ok=False, detail=f"{argv[0]}: {why}")
    tail = bytearray()
    late = _drain(process, time.monotonic() + deadline, output, tail)
    if late:
        _end_group(process)
        return Outcome(ok=False, detail=f"{argv[0]}: did not end within {deadline:g} s; it was stopped")
    status = process.wait()
    return _ended(argv[0], Output(status=status if status >= 0 else 128 - status, stdout=bytes(tail)))


def _drain(process: subprocess.Popen[bytes], until: float, output: Callable[[bytes], None], tail: bytearray) -> bool:
    """Read what it says until it has ended. True: its time is up. What it left running may keep the pipe open: not waited for."""
    assert process.stdout is not None
    told, pipe = 0, process.stdout.fileno()
    os.set_blocking(pipe, False)
    with selectors.DefaultSelector() as ready, process.stdout:
        ready.register(pipe, selectors.EVENT_READ)
        opened = True
        while True:
            ended = process.poll() is not None
            left = until - time.monotonic()
            if not ended and left <= 0:
                return True
            if opened:
                some = ready.select(0 if ended else min(left, 0.2))
            else:
                some = []
                if not ended:
                    _wait(process, min(left, 0.2))
            chunk = _read(pipe) if some else None
            if chunk:
                if told < OUTPUT_CAP:
                    output(chunk[: OUTPUT_CAP - told])
                told += len(chunk)
                tail[:] = (tail + chunk)[-4096:]
            elif chunk == b"":
                ready.unregister(pipe)
                opened = False
            if ended and not chunk:
                return False


def _read(pipe: int) -> bytes | None:
    try:
        return os.read(pipe, 65536)
    except BlockingIOError:
        return None


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def _end_group(process: subprocess.Popen[bytes]) -> None:
    for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        _wait(process, patience)
