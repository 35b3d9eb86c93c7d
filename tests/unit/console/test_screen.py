"""What goes where, with a terminal and without, and who is asked."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.console.render.spans import Span, line
from mainstay.console.screen import Screen
from mainstay.inventory.errors import UsageError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Called in the test itself: pytest puts its own stdout in place after the fixtures."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return stream


RED = [line("web1 ", Span("failed", "bad"))]


def test_colour_is_a_second_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = terminal(monkeypatch)
    Screen().answer(RED)
    assert stream.getvalue() == "web1 \x1b[31mfailed\x1b[0m\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_without_colour_the_words_are_the_same(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    stream = terminal(monkeypatch)
    monkeypatch.setenv(name, value)
    Screen().answer(RED)
    assert stream.getvalue() == "web1 failed\n"


def test_no_terminal_no_escape_sequence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    Screen().answer(RED)
    assert capsys.readouterr().out == "web1 failed\n"


def test_with_json_text_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen.json = True
    screen.answer(RED)
    screen.say("said")
    screen.data({"a": "ü"})
    out, err = capsys.readouterr()
    assert out == '{\n  "a": "ü"\n}\n'
    assert err == "web1 failed\nsaid\n"


@pytest.mark.parametrize(("reply", "answer"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False)])
def test_questions(monkeypatch: pytest.MonkeyPatch, reply: str, answer: bool) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(reply))
    assert Screen().confirm("Go on?") is answer


def test_an_unanswered_question_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(UsageError, match="was not answered"):
        Screen().confirm("Go on?")
    screen = Screen()
    screen.no_input = True
    with pytest.raises(UsageError, match="--no-input"):
        screen.confirm("Go on?")
    screen.yes = True
    assert screen.confirm("Go on?") is True


@pytest.mark.parametrize(("columns", "expected"), [("40", 80), ("100", 100), ("300", 120)])
def test_width_stays_between_80_and_120(monkeypatch: pytest.MonkeyPatch, columns: str, expected: int) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert Screen().columns == expected


def _mainstay(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("mainstay")
    environment = {**os.environ, **more}
    return subprocess.run([program, *arguments], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.thorough
def test_a_reader_that_goes_away_is_no_error() -> None:
    program = Path(sys.executable).with_name("mainstay")
    script = f"set -o pipefail; {program} completion bash | true"
    for _ in range(3):
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert done.stderr == ""


@pytest.mark.thorough
def test_ctrl_c_lets_go_of_hosts_that_do_not_answer(tmp_path: Path) -> None:
    # The program as it is installed, with a site whose host hangs: it takes the connection and says nothing.
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        site = tmp_path / "site"
        (site / "inventory").mkdir(parents=True)
        (site / "mainstay.yml").write_text("site: acme\nssh: {connect_timeout: 60s}\n")
        host = f"{{address: 127.0.0.1, port: {port}, controller: false}}"
        (site / "inventory/hosts.yml").write_text(f"hosts:\n  mute: {host}\n")
        program = Path(sys.executable).with_name("mainstay")
        running = subprocess.Popen(
            [program, "--site", site, "hosts", "trust", "mute"],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        mute.settimeout(90)
        connection, _ = mute.accept()
        with connection:
            running.send_signal(signal.SIGINT)
            _, told = running.communicate(timeout=90)
    assert running.returncode == 130
    assert told.strip() == "Interrupted."


@pytest.mark.thorough
def test_an_ascii_terminal_gets_something_readable() -> None:
    done = _mainstay("--site", "/nowhere", "hosts", LC_ALL="C", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from mainstay.console.cli import run; run(['--help']);"
        "heavy = {'pydantic', 'sqlalchemy', 'dbos', 'paramiko', 'fabric', 'rich', 'ruamel'} & set(sys.modules);"
        "verbs = [name for name in sys.modules if name.startswith('mainstay.console.verbs.')];"
        "print('HEAVY', sorted(heavy), verbs)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY [] []"
