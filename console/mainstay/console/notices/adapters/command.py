"""A command that is given a text on its stdin: no shell, an environment of its own, killed with all it started when its time
is over."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mainstay.console import clean
from mainstay.console.notices.contract import Undelivered
from mainstay.inventory.redaction import redact

KEPT = 2000
"""Bytes of what it prints, the last of them, that may help to find out why it failed."""
TOLD = 300
"""Characters of these that are told."""
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME")
LOOK = 0.5
"""Seconds between two looks at whether this process is to end."""
USUAL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(
    argv: Sequence[str],
    text: bytes,
    *,
    folder: Path,
    variables: Mapping[str, str],
    seconds: float,
    ending: Callable[[], bool] = lambda: False,
) -> None:
    """folder: its working directory; a program with a `/` in its name is looked for from there. ending: whether this process
    is to end, and nobody would be left to end the command. Raises Undelivered."""
    program = argv[0]
    executable = str(folder / Path(program).expanduser()) if "/" in program else program
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        process = subprocess.Popen(
            [executable, *argv[1:]],
            cwd=folder,
            env={"PATH": USUAL_PATH, **environment, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise Undelivered(f"{program} can't be started: {why}") from None
    try:
        printed, ended = _converse(process, text, time.monotonic() + seconds, ending)
    finally:
        _end(process)
    if not ended:
        why = "had to end with the process that called it" if ending() else f"did not end within {seconds:g} s"
        raise Undelivered(f"{program} {why}, and was killed{_said(printed)}")
    if process.returncode:
        code = process.returncode
        how = f"exit {code}" if code > 0 else f"signal {-code}"
        raise Undelivered(f"{program} ended with {how}{_said(printed)}")


def _converse(
    process: subprocess.Popen[bytes], text: bytes, deadline: float, ending: Callable[[], bool]
) -> tuple[bytes, bool]:
    """Hand it the text and read what it says until it ends. (the last of what it printed, whether it ended by itself).

    What its children still hold open is not waited for: it may have left one behind on purpose."""
    assert process.stdin is not None
    assert process.stdout is not None
    left, printed = memoryview(text), b""
    ended = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as waiting:
            waiting.register(ended, selectors.EVENT_READ)
            for pipe, event in ((process.stdin, selectors.EVENT_WRITE), (process.stdout, selectors.EVENT_READ)):
                os.set_blocking(pipe.fileno(), False)
                waiting.register(pipe, event)
            while (rest := deadline - time.monotonic()) > 0 and not ending():
                ready = {key.fileobj for key, _ in waiting.select(min(rest, LOOK))}
                if process.stdin in ready:
                    left = _write(process, left)
                    if not left:
                        waiting.unregister(process.stdin)
                        with contextlib.suppress(OSError):
                            process.stdin.close()
                if ended in ready:
                    return (printed + _rest(process))[-KEPT:], True
                if process.stdout in ready:
                    chunk = _read(process)
                    printed = (printed + chunk)[-KEPT:]
                    if not chunk:
                        waiting.unregister(process.stdout)
            return printed, False
    finally:
        os.close(ended)


def _write(process: subprocess.Popen[bytes], left: memoryview) -> memoryview:
    """What is still to be written; nothing where it does not want to know more."""
    assert process.stdin is not None
    try:
        return left[os.write(process.stdin.fileno(), left[:65536]) :]
    except BlockingIOError:
        return left
    except OSError:
        return memoryview(b"")


def _read(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    try:
        return os.read(process.stdout.fileno(), 65536)
    except BlockingIOError:
        return b""


def _rest(process: subprocess.Popen[bytes]) -> bytes:
    """What it had printed by its end: as much as a pipe holds."""
    found = b""
    while len(found) < 65536 and (chunk := _read(process)):
        found += chunk
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its session is its own: all that it has started
        process.wait()


def _said(printed: bytes) -> str:
    text = " ".join(clean.block(redact(printed)).split())
    return f": {clean.line(redact(text[-TOLD:]))}" if text else ""
