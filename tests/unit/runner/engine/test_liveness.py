"""Who lives is said by the kernel, not by a clock."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from mainstay.runner.engine.liveness import Liveness

HOLDER = (
    "import sys; from pathlib import Path; from mainstay.runner.engine.liveness import Liveness\n"
    "one = Liveness(Path(sys.argv[1])); one.hold('there'); print('held', flush=True); sys.stdin.read()"
)


def test_who_holds_is_alive_and_who_let_go_is_not(tmp_path: Path) -> None:
    one, other = Liveness(tmp_path), Liveness(tmp_path)
    assert not one.alive("a")
    one.hold("a")
    assert one.alive("a")
    assert other.alive("a")
    assert other.seen() == ["a"]
    one.release("a")
    assert not other.alive("a")
    assert other.seen() == []
    one.release("a")


def test_a_killed_process_is_dead_at_once(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        one = Liveness(tmp_path)
        assert one.alive("there")
        assert (tmp_path / "there.lock").read_text() == f"{process.pid}\n"
        process.kill()
        process.wait()
    assert not one.alive("there")
    assert one.seen() == ["there"]
    one.forget("there")
    assert one.seen() == []


def test_the_lock_is_not_handed_on_to_programs_that_are_started(tmp_path: Path) -> None:
    one = Liveness(tmp_path)
    one.hold("a")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        one.release("a")
        assert not Liveness(tmp_path).alive("a")
        assert child.stdin is not None
        child.stdin.close()


def test_many_who_ask_at_once_get_the_same_answer(tmp_path: Path) -> None:
    one = Liveness(tmp_path)
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


def test_names_that_are_no_names_are_dead(tmp_path: Path) -> None:
    one = Liveness(tmp_path)
    assert not one.alive("")
    assert not one.alive("../../etc/passwd")


def test_one_at_a_time_recovers(tmp_path: Path) -> None:
    inside, most, lock = [0], [0], threading.Lock()

    def recover() -> None:
        for _ in range(20):
            with Liveness(tmp_path).recovering():
                with lock:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                with lock:
                    inside[0] -= 1

    threads = [threading.Thread(target=recover) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
