"""Logs on stderr: which events, in which form, without secrets and without what steers a terminal."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import click
import pytest

from mainstay.console.cli import run
from mainstay.console.logs.writing import VARIABLE
from mainstay.console.screen import Screen
from mainstay.console.verb import VerbGroup, verb
from mainstay.inventory.errors import MainstayError
from mainstay.inventory.redaction import remember
from mainstay.runner.log.events import binding, tell

SECRET = "canary 'of' the \"logs\""
HIDDEN = SECRET.replace(" ", "\u200b ")
remember(SECRET)


def program(work: Callable[[], object], *, serves: bool = False) -> click.Command:
    root = VerbGroup(name="mainstay")

    @verb(name="try", serves=serves)
    def attempt(screen: Screen) -> None:
        work()

    root.add_command(attempt)
    return root


def every() -> None:
    """An event of each kind and level."""
    with binding(run="r1", host="h1"):
        tell(logging.DEBUG, "a detail")
        tell(logging.INFO, "step finished", step="apply", seconds=1.5)
        tell(logging.WARNING, "contact lost", step="apply")
        tell(logging.ERROR, "fault", fault=_raised(KeyError("nowhere")))
    logging.getLogger("mainstay.engine").warning("store is slow")
    logging.getLogger("paramiko.transport").error("Error reading SSH protocol banner")
    logging.getLogger("some.library").info("chatter")
    logging.getLogger("some.library").warning("%s is deprecated", "x")


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


Written = Callable[..., str]


@pytest.fixture
def written(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Written:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")

    def write(*options: str, work: Callable[[], object] = every, serves: bool = False, code: int = 0) -> str:
        capsys.readouterr()
        assert run(["try", *options], program(work, serves=serves)) == code
        out, err = capsys.readouterr()
        assert out == ""
        return err

    return write


def events(text: str) -> list[str]:
    return [json.loads(line)["event"] for line in text.splitlines()]


def test_one_command_says_nothing_beside_its_screen_but_warnings_of_mainstay_itself(written: Written) -> None:
    lines = written().splitlines()
    assert [re.split(r"\s{2,}|\s(?=\w+=)", line.split("] ", 1)[1])[0] for line in lines] == [
        "fault",
        "store is slow",
        "x is deprecated",
    ]
    assert "host=h1" in lines[0] and "run=r1" in lines[0] and "KeyError" in lines[0]


@pytest.mark.parametrize("options", [["--log-level", "debug", "--log-format", "json"], []])
def test_what_is_asked_for_comes_as_one_object_a_line(
    written: Written, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    if not options:
        monkeypatch.setenv(VARIABLE, "JSON,debug")
    text = written(*options)
    assert events(text) == ["a detail", "step finished", "contact lost", "fault", "store is slow",
                            "Error reading SSH protocol banner", "x is deprecated"]  # fmt: skip
    second, fault = (json.loads(text.splitlines()[at]) for at in (1, 3))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", second.pop("timestamp"))
    assert second == {"level": "info", "event": "step finished", "run": "r1", "host": "h1", "step": "apply",
                      "logger": "mainstay.run", "seconds": 1.5}  # fmt: skip
    assert "Traceback" in fault["exception"] and fault["exception"].endswith("KeyError: 'nowhere'")


def test_options_go_before_the_variable_and_stand_on_either_side_of_the_verb(
    written: Written, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "debug json")
    assert events(written("--log-level", "error")) == ["fault", "Error reading SSH protocol banner"]
    assert run(["--log-level", "warning", "try"], program(every)) == 0
    assert events(capsys.readouterr().err)[0] == "contact lost"


def test_a_verb_that_serves_tells_what_it_does(written: Written) -> None:
    text = written(serves=True)
    assert events(text)[0] == "step finished" and "a detail" not in events(text)
    assert "Traceback" in written("--log-format", "console", serves=True)


def test_people_get_a_traceback_only_where_they_asked_for_more(written: Written) -> None:
    assert "Traceback" not in written()
    for more in (["--debug"], ["--log-level", "error"]):
        assert "Traceback (most recent call last)" in written(*more)


@pytest.mark.parametrize("value", ["loud", "info;rm"])
def test_a_wrong_word_is_a_usage_error(written: Written, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert VARIABLE in written(code=2)
    assert "--log-level" in written("--log-level", value, code=2)


def nested() -> None:
    with binding(host=SECRET):
        fields: dict[str, Any] = {SECRET: [SECRET, {"deep": (SECRET, SECRET.encode())}], "odd": Odd()}
        tell(logging.ERROR, f"said {SECRET}", **fields)
        tell(logging.ERROR, "fault", fault=_raised(MainstayError(f"not {SECRET}", hint=SECRET)))
        logging.getLogger("some.library").error("login with %s and %r failed", SECRET, SECRET)


class Odd:
    def __repr__(self) -> str:
        return f"Odd({SECRET})"


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_is_written(written: Written, form: str) -> None:
    text = written("--log-format", form, "--log-level", "debug", work=nested)
    assert text.count("***") >= 9
    assert "canary" not in text and "logs" not in text.replace("test_logs", "")


def test_no_secret_is_in_an_error_on_the_desk(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> None:
        raise MainstayError(f"no login with {SECRET}", hint=f"not {SECRET}, {HIDDEN}")

    for options in ([], ["--json"], ["--debug"], ["--debug", "--json"]):
        run(["try", *options], program(work))
        out, err = capsys.readouterr()
        assert "***" in out + err and "canary" not in out + err, options
        assert err == "" or "--json" not in options or "Traceback" in err


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_a_host_said_steers_no_terminal_and_forges_no_line(written: Written, form: str) -> None:
    hostile = "ok\x1b]52;c;AAAA\x07\r\n2026-01-01T00:00:00Z [info] run ended\x9b31m\u202e"

    def work() -> None:
        fields: dict[str, Any] = {"detail": hostile, hostile: 1}
        tell(logging.ERROR, hostile, **fields)
        logging.getLogger("paramiko").error("Connected (%s)", hostile)

    text = written("--log-format", form, "--log-level", "info", work=work)
    assert len(text.splitlines()) == 2
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_an_event_that_can_not_be_written_stops_nothing_and_shows_nothing(written: Written) -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError(SECRET)

    def work() -> None:
        tell(logging.ERROR, "odd", what=Broken())
        tell(logging.ERROR, "next")

    first, second = written(work=work).splitlines()
    assert first == "mainstay: an event of mainstay.run could not be written: RuntimeError"
    assert "next" in second


def test_after_the_verb_nothing_is_written_any_more(written: Written, capsys: pytest.CaptureFixture[str]) -> None:
    written(work=lambda: None)
    every()
    assert capsys.readouterr().err == ""


def test_the_journal_gets_each_lines_priority(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    told = os.stat(2)
    monkeypatch.setattr("sys.stderr.fileno", lambda: 2, raising=False)
    monkeypatch.setenv("JOURNAL_STREAM", f"{told.st_dev}:{told.st_ino}")
    lines = written("--log-format", "json", serves=True).splitlines()
    assert [line[:3] for line in lines[:3]] == ["<6>", "<4>", "<3>"]
    assert json.loads(lines[0][3:])["event"] == "step finished"
    people = written(serves=True).splitlines()
    assert re.match(r"<6>\[info +\] step finished .*host=h1", people[0]), "no time: the journal has its own"
    assert [line[:3] for line in people if "KeyError" in line] == ["<3>", "<3>"], "its field, and its traceback's end"
    assert all(re.match("<[346]>", line) for line in people), "each line of a traceback is an entry of its own"
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    assert written(serves=True).startswith("{")


def modules(program: str) -> set[str]:
    code = f"import sys\n{program}\nprint('modules:', *sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return set(said.rpartition("modules:")[2].split())


def test_nothing_is_imported_before_there_is_something_to_write() -> None:
    start = "from mainstay.console.cli import run"
    assert "structlog" not in modules(f"{start}\nrun(['--help'])")
    verb_of_ours = f"{start}\nrun(['completion', 'bash', '--log-level', 'debug'])"
    assert "structlog" not in modules(verb_of_ours)


def test_what_is_logged_from_threads_comes_line_by_line(written: Written) -> None:
    def many() -> None:
        for _ in range(50):
            tell(logging.ERROR, "x" * 500)

    def work() -> None:
        threads = [threading.Thread(target=many) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert events(written("--log-format", "json", work=work)) == ["x" * 500] * 200
