"""One program, run to its end through `sh`, with what that library leaves to its users done here.

Output goes through pipes of ours and is read in the thread that called: nothing is kept that nobody asked for, bytes stay
bytes, and an exception in a handler is one. The program has no terminal, a session of its own, and the environment that it is
given, no more. At its deadline it is asked to stop (SIGINT: restic removes its lock then), and killed with its children when it
does not. Nothing that is raised or logged holds its arguments.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mainstay.runner.calling_off import look

Handler = Callable[[bytes], None]

GRACE = 60.0
"""Seconds between asking a program to stop and killing it; restic may need them to remove its lock."""
_LEFT = 2.0
"""Seconds that output is waited for after the program's end, where a child of it holds the pipe."""
_CHUNK = 65536


class NotStarted(Exception):
    """The program is not there, or can't be run. The text holds no argument."""


@dataclass(frozen=True, slots=True)
class Ended:
    """status: as in `$?`, negative where it was ended by a signal. expired: by us, at its deadline."""

    status: int
    expired: bool = False


def run(
    argv: Sequence[str],
    env: Mapping[str, str],
    out: Handler,
    err: Handler,
    *,
    deadline: float,
    grace: float = GRACE,
    pass_fds: Sequence[int] = (),
    watch: Callable[[], None] | None = None,
    now: Callable[[], float] = time.monotonic,
) -> Ended:
    """Run and wait. deadline, grace: seconds by `now`. out, err: hear of the output in any pieces. watch: is called about twenty
    times a second, or more often. What they raise is raised, once the program has ended (it is asked to stop then); so is
    Cancelled, where the run that this thread works for is. Raises NotStarted."""
    look()
    with ExitStack() as closing:
        (out_read, out_write), (err_read, err_write) = os.pipe(), os.pipe()
        for end in (out_read, err_read):
            closing.callback(os.close, end)
        try:
            running = _start(argv, env, out_write, err_write, pass_fds)
        finally:
            os.close(out_write)
            os.close(err_write)
        pipes = closing.enter_context(selectors.DefaultSelector())
        pipes.register(out_read, selectors.EVENT_READ, out)
        pipes.register(err_read, selectors.EVENT_READ, err)
        try:
            return _follow(running, pipes, now() + deadline, grace, now, (look, watch) if watch else (look,))
        except BaseException:
            _stop(running, pipes, grace, now)
            raise


def _start(argv: Sequence[str], env: Mapping[str, str], out: int, err: int, pass_fds: Sequence[int]) -> Any:
    import sh

    logging.getLogger("sh").setLevel(logging.CRITICAL)  # it logs all arguments
    with Path(os.devnull).open("rb") as nothing:
        try:
            return sh.Command(argv[0])(
                *argv[1:],
                _in=nothing,
                _out=out,
                _err=err,
                _env=dict(env),
                _cwd="/",
                _encoding="utf-8",
                _tty_out=False,
                _new_session=True,
                _pass_fds=set(pass_fds),
                _bg=True,
                _bg_exc=False,
                _return_cmd=True,
            )
        except sh.CommandNotFound:
            raise NotStarted(f"there is no program {Path(argv[0]).name}") from None
        except (sh.ForkException, OSError, ValueError):
            raise NotStarted(f"{Path(argv[0]).name} can't be started") from None


def _follow(
    running: Any,
    pipes: selectors.BaseSelector,
    end: float,
    grace: float,
    now: Callable[[], float],
    looks: Sequence[Callable[[], None]] = (),
) -> Ended:
    """Read until the program has ended and its output too, within its time. looks: called now and then, may raise; more often where
    there is more than one."""
    expired = False
    ended_at: float | None = None
    while True:
        moment = now()
        if ended_at is None and not running.is_alive():
            ended_at = moment
            if expired:
                _kill(running.pid)  # what it has left behind
        if ended_at is not None and (not pipes.get_map() or moment > ended_at + _LEFT):
            return Ended(_status(running), expired)
        if ended_at is None and moment > end:
            if not expired:
                expired, end = True, moment + grace
                _signal(running.pid, signal.SIGINT)
            else:
                _kill(running.pid)
        if ended_at is None:
            for one in looks:
                one()
        if not pipes.get_map():
            _read(pipes, 0.005)  # it is about to end, and nothing but this tells
        else:
            _read(pipes, 0.05 if ended_at is not None else 0.05 if len(looks) > 1 else 0.5)


def _read(pipes: selectors.BaseSelector, patience: float) -> None:
    for key, _ in pipes.select(patience):
        data = os.read(key.fd, _CHUNK)
        if data:
            key.data(data)
        else:
            pipes.unregister(key.fd)


def _stop(running: Any, pipes: selectors.BaseSelector, grace: float, now: Callable[[], float]) -> None:
    """After an exception of ours (or Ctrl-C): the output is of no interest any more, but has to flow. A second Ctrl-C kills."""
    for fd, key in dict(pipes.get_map()).items():
        pipes.modify(fd, key.events, _ignore)
    try:
        _follow(running, pipes, now() - 1, grace, now)
    except BaseException:
        if running.is_alive():
            _kill(running.pid)
        raise


def _ignore(data: bytes) -> None:
    pass


def _status(running: Any) -> int:
    import sh

    try:
        running.wait()
    except sh.ErrorReturnCode as error:
        return int(error.exit_code)
    return 0


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _kill(pid: int) -> None:
    """It leads its session, and so its first group."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
