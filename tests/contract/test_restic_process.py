"""What the library that starts programs leaves to its users: each of its measured traps, with a program that falls into it."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.fleet.system import alive, birth, wait_until

from mainstay.recovery.restic.adapters import process

LONG = 120.0
ENV = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], list[str]]:
    """A program in Python, by its text."""

    def make(text: str) -> list[str]:
        file = tmp_path / "program"
        file.write_text(f"#!{sys.executable} -IS\nimport os, signal, sys, time\n{text}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return [str(file)]

    return make


def run(argv: list[str], **more: object) -> tuple[process.Ended, bytes, bytes]:
    out: list[bytes] = []
    err: list[bytes] = []
    ended = process.run(argv, ENV, out.append, err.append, **{"deadline": LONG, "grace": LONG, **more})  # type: ignore[arg-type]  # given by name
    return ended, b"".join(out), b"".join(err)


def test_output_is_bytes_and_kept_apart_and_the_status_an_answer(program: Callable[[str], list[str]]) -> None:
    ended, out, err = run(program("os.write(1, b'\\xff\\x00out'); os.write(2, b'err'); sys.exit(3)"))

    assert (ended, out, err) == (process.Ended(3), b"\xff\x00out", b"err")


def test_a_program_has_no_terminal_no_input_a_session_of_its_own_and_its_own_environment(
    program: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "lies-around-here")
    text = "print([os.isatty(n) for n in range(3)], sys.stdin.read(), os.getsid(0) == os.getpid(), sorted(os.environ))"
    _, out, _ = run(program(text))

    assert out.decode().split("]")[0] == "[False, False, False"
    assert "True" in out.decode()
    assert "lies-around" not in out.decode() and "AWS" not in out.decode() and "PATH" in out.decode()


def test_a_lot_of_output_is_not_kept_by_anybody(program: Callable[[str], list[str]]) -> None:
    size = 0

    def count(data: bytes) -> None:
        nonlocal size
        assert len(data) <= 65536
        size += len(data)

    process.run(program("for n in range(320): os.write(1, b'x' * 65536)"), ENV, count, count, deadline=LONG)

    assert size == 320 * 65536


def test_an_exception_in_who_listens_is_raised_and_the_program_is_ended(program: Callable[[str], list[str]]) -> None:
    argv = program("os.write(1, b'%d' % os.getpid())\nwhile True: os.write(1, b'y' * 4096); time.sleep(0.01)")
    heard: list[bytes] = []

    def fail(data: bytes) -> None:
        heard.append(data)
        raise LookupError("who listens has failed")

    with pytest.raises(LookupError, match="who listens"):
        process.run(argv, ENV, fail, fail, deadline=LONG, grace=LONG)

    assert birth(int(heard[0].split(b"y")[0])) is None


class Listener:
    """Time begins to run, in leaps, when the program has said something."""

    def __init__(self) -> None:
        self.heard = b""
        self.time = 0.0

    def take(self, data: bytes) -> None:
        self.heard += data

    def now(self) -> float:
        self.time += LONG * 2 if self.heard else 0.0
        return self.time


def test_at_its_deadline_a_program_is_asked_to_stop_and_may_clean_up(program: Callable[[str], list[str]]) -> None:
    argv = program(
        "def stop(*_): os.write(1, b'cleaned up'); os._exit(130)\n"
        "signal.signal(signal.SIGINT, stop)\nos.write(1, b'. ')\nwhile True: time.sleep(60)"
    )
    to = Listener()
    ended = process.run(argv, ENV, to.take, to.take, deadline=LONG, grace=1e9, now=to.now)

    assert ended == process.Ended(130, expired=True)
    assert to.heard == b". cleaned up"


def test_one_that_does_not_stop_is_killed_with_its_children(program: Callable[[str], list[str]]) -> None:
    argv = program(
        "signal.signal(signal.SIGINT, signal.SIG_IGN); child = os.fork()\n"
        "if child: os.write(1, b'%d %d' % (os.getpid(), child))\nwhile True: time.sleep(60)"
    )
    to = Listener()
    ended = process.run(argv, ENV, to.take, to.take, deadline=LONG, grace=LONG, now=to.now)

    assert ended == process.Ended(-signal.SIGKILL, expired=True)
    pids = [int(word) for word in to.heard.split()]
    assert len(pids) == 2
    wait_until(lambda: not any(alive(pid, birth(pid)) for pid in pids), "nobody is left", deadline=60)


def test_a_child_that_holds_the_output_keeps_nobody_waiting(program: Callable[[str], list[str]]) -> None:
    ended, out, _ = run(program("if os.fork(): os.write(1, b'done'); os._exit(0)\ntime.sleep(20)"))

    assert (ended.status, ended.expired, out) == (0, False, b"done")


def test_one_that_closes_its_output_and_goes_on_is_waited_for(program: Callable[[str], list[str]]) -> None:
    ended, _, _ = run(program("os.close(1); os.close(2); time.sleep(0.5); os._exit(7)"))

    assert ended.status == 7


def test_one_that_is_killed_says_so(program: Callable[[str], list[str]]) -> None:
    ended, _, _ = run(program("os.kill(os.getpid(), 9)"))

    assert ended == process.Ended(-9)


def test_what_is_raised_or_logged_holds_no_argument(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, program: Callable[[str], list[str]]
) -> None:
    plain = tmp_path / "plain"
    plain.write_text("#!/nonexistent/interpreter\n")
    plain.chmod(0o755)

    with caplog.at_level(logging.DEBUG):
        run([*program("sys.exit(1)"), "argument-canary-7"])
        for argv in (["/nonexistent/program", "argument-canary-7"], [str(plain), "argument-canary-7"]):
            with pytest.raises(process.NotStarted) as caught:
                run(argv)
            assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r}" and caught.value.__suppress_context__
        with pytest.raises(process.NotStarted):
            run([sys.executable, "\udce4-argument-canary-7"])

    assert "canary" not in caplog.text


def test_no_descriptor_of_ours_goes_along_but_those_that_are_lent(
    program: Callable[[str], list[str]], tmp_path: Path
) -> None:
    argv = program(
        "names = {n: os.readlink(f'/proc/self/fd/{n}') for n in range(3, 200) if os.path.exists(f'/proc/self/fd/{n}')}\n"
        "print([n for n, name in names.items() if name.endswith('kept')])"
    )
    kept, lent = os.open(tmp_path / "kept", os.O_CREAT), os.open(tmp_path / "lent-kept", os.O_CREAT)
    low, lent = lent, fcntl.fcntl(lent, fcntl.F_DUPFD, process.OWN)
    os.close(low)
    os.set_inheritable(kept, True)
    os.set_inheritable(lent, True)
    try:
        assert run(argv)[1] == b"[]\n"
        assert run(argv, pass_fds=[lent])[1] == b"[%d]\n" % lent
    finally:
        os.close(kept)
        os.close(lent)


def test_many_at_once_from_threads_are_each_told_their_own(program: Callable[[str], list[str]]) -> None:
    argv = program("os.write(1, sys.argv[1].encode()); sys.exit(int(sys.argv[1]))")
    seen: dict[int, tuple[int, bytes]] = {}

    def one(number: int) -> None:
        ended, out, _ = run([*argv, str(number)])
        seen[number] = (ended.status, out)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)

    assert seen == {number: (number, str(number).encode()) for number in range(16)}
