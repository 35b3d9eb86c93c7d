"""One program, run to its end through `sh`, with what that library leaves to its users done here.

Output goes through pipes of ours and is read in the thread that called: nothing is kept that nobody asked for, bytes stay
bytes, and an exception in a handler is one. The program has no terminal, a session of its own, and the environment that it is
given, no more. At its deadline it is asked to stop (SIGINT: restic removes its lock then), and killed with its children when it
does not; so it is, by a guard beside it, when this process dies. Nothing that is raised or logged holds its arguments.
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
_NOT_RUN = (126, 127)
"""What sh, nice and ionice end with where they can't become the program; restic ends with neither."""
OWN = 10
"""Descriptors that are lent to a program are this one or higher: those below are used on the way to it."""
_GUARDED = """
exec 9<&0 </dev/null
(
    exec 7</dev/fd/1 8</dev/fd/2 >/dev/null 2>&1
    read -r over <&9 && exit
    kill -TERM $$
    timeout $1 cat <&7 &
    timeout $1 cat <&8
    wait
    kill -KILL -$$
) &
shift
exec "$@" 9<&-
"""
"""Becomes the program, and leaves a guard beside it that reads stdin: a line says that all is over, an end without one that who
had it begun has died. Not PR_SET_PDEATHSIG: that is about a thread, and its signal comes when nobody reads the output any more, so
that restic would end by its first word instead of removing its lock. While the guard lives nobody else gets the number of its
group, which is the program's: it can't ask a stranger to stop. An sh knows redirections of one digit only."""


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
    """Run and wait. deadline, grace: seconds by `now`. pass_fds: lent to it, OWN or higher. out, err: hear of the output in any
    pieces. watch: is called about twenty times a second, or more often. What they raise is raised, once the program has ended
    (it is asked to stop then); so is Cancelled, where the run that this thread works for is. Raises NotStarted."""
    look()
    with ExitStack() as closing:
        (out_read, out_write), (err_read, err_write), (guard, life) = os.pipe(), os.pipe(), os.pipe()
        for end in (out_read, err_read, life):
            closing.callback(os.close, end)
        try:
            running = _start(argv, env, guard, out_write, err_write, pass_fds, grace)
        finally:
            for end in (guard, out_write, err_write):
                os.close(end)
        closing.callback(_over, life)
        pipes = closing.enter_context(selectors.DefaultSelector())
        pipes.register(out_read, selectors.EVENT_READ, out)
        pipes.register(err_read, selectors.EVENT_READ, err)
        try:
            ended = _follow(running, pipes, now() + deadline, grace, now, (look, watch) if watch else (look,))
        except BaseException:
            _stop(running, pipes, grace, now)
            raise
    if ended.status in _NOT_RUN:
        raise NotStarted(f"{Path(argv[0]).name} can't be started") from None
    return ended


def _start(
    argv: Sequence[str], env: Mapping[str, str], guard: int, out: int, err: int, pass_fds: Sequence[int], grace: float
) -> Any:
    import sh

    logging.getLogger("sh").setLevel(logging.CRITICAL)  # it logs all arguments
    try:
        program = sh.Command(argv[0])
        with os.fdopen(guard, "rb", closefd=False) as stdin:
            return sh.Command("/bin/sh")(
                *("-c", _GUARDED, "sh", f"{max(1.0, grace):.0f}", str(program), *argv[1:]),
                _in=stdin,
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


def _over(life: int) -> None:
    """The guard goes by itself."""
    with suppress(BrokenPipeError):  # it was killed with the program
        os.write(life, b"\n")


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
