"""Who lives is said by the kernel; who is frozen, by the clock that stands still with the machine."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.waiting import until

from mainstay.runner.engine.liveness import FileLiveness, Timing

QUICK = Timing(lease=1.5, give_up=1.0, beat=0.1)
HOLDER = r"""
import sys
from pathlib import Path
from mainstay.runner.engine.liveness import FileLiveness, Timing
one = FileLiveness(Path(sys.argv[1]), Timing(lease=1.5, give_up=1.0, beat=0.1) if sys.argv[2:] else Timing())
one.hold('there', '7', True, lambda: print('lost\n', end='', flush=True))
print('held', flush=True)
for line in sys.stdin:
    print(f'{one.sure()}\n', end='', flush=True)
"""


def liveness(directory: Path, timing: Timing = QUICK) -> FileLiveness:
    return FileLiveness(directory, timing)


def held(one: FileLiveness, executor: str, serve: bool = False) -> FileLiveness:
    one.hold(executor, "1", serve, lambda: None)
    return one


def test_who_holds_is_alive_and_who_let_go_is_not(tmp_path: Path) -> None:
    other = liveness(tmp_path, Timing())
    assert not other.alive("a")
    one = held(liveness(tmp_path, Timing()), "a")
    assert one.alive("a")
    assert other.alive("a")
    assert one.sure()
    assert other.gone({"a", "b"}, patient=True) == {"b"}
    one.release()
    assert not other.alive("a")
    assert not list(tmp_path.iterdir())
    one.release()


def test_who_serves_is_told_with_its_version(tmp_path: Path) -> None:
    one = held(liveness(tmp_path, Timing()), "a", serve=True)
    two = held(liveness(tmp_path, Timing()), "b")
    assert two.serving() == {"a": "1"}
    one.release()
    assert two.serving() == {}
    two.release()


def test_a_killed_process_is_dead_at_once(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        one = liveness(tmp_path, Timing())
        assert one.alive("there")
        assert one.serving() == {"there": "7"}
        one.sweep(set())
        assert one.alive("there")
        assert f" {process.pid} " in (tmp_path / "there.lock").read_text()
        process.kill()
        process.wait()
    assert not one.alive("there")
    assert one.serving() == {}
    one.sweep({"there"})
    assert (tmp_path / "there.lock").exists()
    one.sweep(set())
    assert not (tmp_path / "there.lock").exists()


def test_nobody_takes_hold_of_a_lock_while_it_is_swept_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is just beginning would hold what nobody can see, and be taken for dead while it works."""
    (tmp_path / "new.lock").touch()
    could, unlink = list[bool](), Path.unlink

    def swept(path: Path, missing_ok: bool = False) -> None:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                could.append(False)
            else:
                could.append(True)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", swept)
    liveness(tmp_path).sweep(set())
    assert could == [False]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
def test_a_process_that_was_frozen_past_its_lease_is_gone_and_knows_it_when_it_wakes(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, str(tmp_path), "quick"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        one = liveness(tmp_path)
        assert liveness(tmp_path, Timing()).alive("there")
        process.send_signal(signal.SIGSTOP)
        try:
            until(lambda: not one.alive("there"))
            assert one.gone({"there"}, patient=False) == {"there"}
        finally:
            process.send_signal(signal.SIGCONT)
        process.stdin.write("?\n")
        process.stdin.flush()
        assert {process.stdout.readline(), process.stdout.readline()} == {"lost\n", "False\n"}
        assert not one.alive("there")  # it has not made itself alive again
        process.stdin.close()


@pytest.mark.thorough
def test_no_room_for_a_sign_of_life_is_no_end_at_once(tmp_path: Path) -> None:
    """The file is written in place: a full disk does not matter. Where it can't be written all the same, the lease runs out."""
    told = threading.Event()
    one = liveness(tmp_path)
    one.hold("a", "1", False, told.set)
    size = (tmp_path / "a.lock").stat().st_size
    before = (tmp_path / "a.lock").read_bytes()
    until(lambda: (tmp_path / "a.lock").read_bytes() != before)
    assert (tmp_path / "a.lock").stat().st_size == size
    one._number, number = 2**30, one._number
    assert told.wait(60)
    assert one.lost.is_set()
    assert not one.sure()
    one._number = number
    one.release()


def test_the_lock_is_not_handed_on_to_programs_that_are_started(tmp_path: Path) -> None:
    one = held(liveness(tmp_path), "a")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        one.release()
        assert not liveness(tmp_path).alive("a")
        assert child.stdin is not None
        child.stdin.close()


def test_many_who_ask_at_once_get_the_same_answer(tmp_path: Path) -> None:
    one = liveness(tmp_path)
    (tmp_path / "dead.lock").write_text("1\n")
    answers: list[bool] = []

    def ask() -> None:
        answers.extend(one.alive("dead") for _ in range(200))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) == {False}


@pytest.mark.thorough
def test_many_who_begin_while_others_sweep_all_keep_their_locks(tmp_path: Path) -> None:
    over, swept = (
        threading.Event(),
        liveness(tmp_path, Timing()),
    )  # no lease of theirs runs out where the machine is busy

    def sweep() -> None:
        while not over.is_set():
            swept.sweep(set())

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    held_by = {f"e{number}": held(liveness(tmp_path, Timing()), f"e{number}") for number in range(200)}
    over.set()
    sweeper.join()
    assert swept.gone(held_by, patient=True) == set()
    for one in held_by.values():
        one.release()


def test_names_that_are_no_names_are_dead(tmp_path: Path) -> None:
    one = liveness(tmp_path)
    assert not one.alive("")
    assert not one.alive("../../etc/passwd")
