"""Which error stands for what restic has said, and that its words are fit for people."""

from __future__ import annotations

import pytest

from mainstay.inventory.secrets import Secret
from mainstay.recovery.repository import Access
from mainstay.recovery.restic.contract import (
    Damaged,
    Locked,
    NoRepository,
    NotRemoved,
    Partial,
    ResticError,
    Stopped,
    Unreachable,
    WrongPassword,
)
from mainstay.recovery.restic.failures import failure, retry
from mainstay.recovery.restic.messages import read

ACCESS = Access("vault", "web1", "/srv", Secret("x"), "maintain", "path")
LOCKED = b"""unable to create lock in backend: repository is already locked exclusively by PID 77 on web1 by root (UID 0, GID 0)
lock was created at 2026-11-22 16:57:36 (1m2s ago)
storage ID abcd1234
the `unlock` command can be used to remove stale locks
"""
UNREADABLE = b'{"message_type":"error","error":{"message":"open /x: permission denied"},"item":"/x"}'
REFUSED = b"Remove(<snapshot/680dc8c002>) failed: unexpected HTTP response (403): 403 Forbidden\n"


STACK = b"failed to remove one or more snapshots\nmain.init\n\tgithub.com/restic/restic/cmd/restic/cmd_forget.go:67\n"
STACK += b"runtime.doInit1\n\truntime/proc.go:8103\nruntime.goexit\n\truntime/asm_amd64.s:1771\n"


@pytest.mark.parametrize(
    ("status", "command", "said", "error", "words"),
    [
        (3, "forget", REFUSED + STACK, NotRemoved, "anything be removed: failed to remove one or more snapshots"),
        (1, "ls", b"something about the index\n" + STACK.split(b"\n", 1)[1], ResticError, "something about the index"),
        (
            10,
            "backup",
            b"Fatal: repository does not exist: unable to open config file\n",
            NoRepository,
            "none at its address, /srv",
        ),
        (
            12,
            "cat",
            b'{"message_type":"exit_error","message":"Fatal: wrong password or no key found"}',
            WrongPassword,
            "password is wrong",
        ),
        (11, "prune", LOCKED, Locked, "by PID 77 on web1"),
        (3, "forget", REFUSED, NotRemoved, "does not let anything be removed"),
        (1, "prune", REFUSED, NotRemoved, "does not let anything be removed"),
        (
            1,
            "cat",
            b"Fatal: unable to open config file: unexpected HTTP response (401): 401 Unauthorized\n",
            Unreachable,
            "401",
        ),
        (1, "ls", b"Fatal: Get: dial tcp: lookup store: no such host\n", Unreachable, "no such host"),
        (1, "cat", b"Fatal: unable to start the sftp session, error: unexpected EOF\n", Unreachable, "sftp session"),
        (
            1,
            "cat",
            b"subprocess ssh: ssh: connect to host nas port 22: Connection refused\n"
            b"Fatal: unable to start the sftp session, error: unexpected EOF\n",
            Unreachable,
            "ssh: connect to host nas port 22: Connection refused",
        ),
        (1, "dump", b"Fatal: ciphertext verification failed\n", Damaged, "ciphertext"),
        (
            3,
            "backup",
            UNREADABLE,
            Partial,
            "permission denied",
        ),
        (130, "prune", b"", Stopped, "stopped by a signal"),
        (-9, "check", b"", Stopped, "stopped by a signal"),
        (1, "stats", b"", ResticError, "ended with 1 and said nothing"),
        (2, "stats", b"panic: runtime error\n\ngoroutine 1 [running]:\n", ResticError, "goroutine"),
        (99, "stats", b"Fatal: Fatal: something new\n", ResticError, "web1: something new"),
        (
            1,
            "init",
            b"Fatal: create repository at /srv failed: config file already exists\n",
            ResticError,
            "left as it is",
        ),
    ],
)
def test_an_error_for_each_end(status: int, command: str, said: bytes, error: type[ResticError], words: str) -> None:
    made = failure(ACCESS, command, status, (0, 19, 1), read(said))

    assert type(made) is error
    assert words in str(made) and "\n" not in str(made)


def test_the_stack_that_019_prints_is_left_out() -> None:
    said = b'{"message_type":"exit_error","code":3,"message":"failed to remove\\nmain.init\\n\\tgithub.com/restic/x.go:67"}'

    assert str(failure(ACCESS, "forget", 1, (0, 19, 1), read(said))) == "repository vault of web1: failed to remove"


def test_what_is_stopped_while_it_only_tries_again_was_out_of_reach() -> None:
    tries = (
        b"Stat(<config/>) returned error, retrying after 1m2.5s: dial tcp 127.0.0.1:1: connect: connection refused\n"
    )

    assert isinstance(failure(ACCESS, "cat", 1, (0, 19, 1), read(b"working\n"), expired=True), Stopped)
    made = failure(ACCESS, "cat", 1, (0, 19, 1), read(tries), expired=True)
    assert isinstance(made, Unreachable) and "connection refused" in str(made)


@pytest.mark.parametrize(
    ("wait", "seconds"),
    [("819.585749ms", 0.819585749), ("1.8s", 1.8), ("1m2.5s", 62.5), ("1h0m3s", 3603.0), ("5m", 300.0)],
)
def test_waits_are_read(wait: str, seconds: float) -> None:
    assert retry(f"Load(<index/ab>) returned error, retrying after {wait}: some: reason") == (seconds, "some: reason")
    assert retry("something else: retrying") is None
