"""Many hosts at once: every host has an answer."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.host import Host
from mainstay.runner.shell.contract import Unreachable
from mainstay.runner.shell.parallel import for_each

HOSTS = [Host(name=f"h{number}", address=f"10.0.0.{number}") for number in range(8)]


def test_an_error_is_an_answer_and_the_order_is_kept() -> None:
    def work(host: Host) -> str:
        if host.name == "h3":
            raise Unreachable(host.name, "away")
        return host.address

    answers = for_each(HOSTS, work, parallel=3)
    assert list(answers) == [host.name for host in HOSTS]
    assert isinstance(answers["h3"], MainstayError)
    assert answers["h4"] == "10.0.0.4"


def test_no_more_than_that_many_at_once() -> None:
    here = threading.Barrier(4, timeout=90)
    running, most, lock = 0, 0, threading.Lock()

    def work(host: Host) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        here.wait()  # passes only when four of them are here together
        with lock:
            running -= 1

    for_each(HOSTS, work, parallel=4)
    assert most == 4


def test_a_bug_is_not_an_answer() -> None:
    def work(host: Host) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        for_each(HOSTS, work, parallel=2)


def test_nothing_new_starts_after_a_bug() -> None:
    begun: list[str] = []

    def work(host: Host) -> None:
        begun.append(host.name)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        for_each(HOSTS, work, parallel=1)
    assert begun == ["h0"]


@pytest.mark.thorough
# The second is what a wait hears that begins just after the signal came: the handler ran, and nothing interrupts the wait.
@pytest.mark.parametrize(
    "to", ["os.kill(os.getpid(), signal.SIGINT)", "signal.pthread_kill(threading.get_ident(), signal.SIGINT)"]
)
def test_ctrl_c_does_not_wait_for_the_hosts_in_hand(to: str) -> None:
    script = f"""if True:
        import os, signal, sys, threading
        from mainstay.inventory.host import Host
        from mainstay.runner.shell.parallel import for_each
        begun = threading.Event()
        def work(host):
            begun.set()
            threading.Event().wait(120)
        def interrupt():
            begun.wait()
            while not sys._current_frames()[threading.main_thread().ident].f_code.co_filename.endswith("parallel.py"):
                pass  # not yet where it waits for the answers
            {to}
        threading.Thread(target=interrupt, daemon=True).start()
        for_each([Host(name="h", address="10.0.0.1")], work, parallel=1)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert "KeyboardInterrupt" in done.stderr


def test_nothing_to_do_is_fine_and_nobody_to_do_it_is_not() -> None:
    assert for_each([], lambda host: 1, parallel=5) == {}
    with pytest.raises(ValueError, match="at least one"):
        for_each(HOSTS, lambda host: 1, parallel=0)
