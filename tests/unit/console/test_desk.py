"""Every way a command can end: exit code, words for people, JSON for programs."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from typing import Any

import click
import pytest

from mainstay.console.cli import run
from mainstay.console.screen import Screen
from mainstay.console.verb import VerbGroup, verb
from mainstay.inventory.errors import ConfigError, MainstayError, Problem, Refused, UsageError

PROBLEMS = [
    Problem(
        "unknown key.",
        file="schedules/web.yml",
        line=14,
        column=5,
        key="plans.x.reboots",
        hint='Did you mean "reboot"?',
    ),
    Problem("same address as web3", file="inventory/hosts.yml", line=22, column=3, key="hosts.web7"),
]

ERRORS: dict[str, tuple[Callable[[], BaseException], int, str]] = {
    "plain": (lambda: MainstayError("web1: it broke"), 1, "error"),
    "usage": (lambda: UsageError("no such plan", hint="mainstay check"), 2, "usage"),
    "refused": (lambda: Refused("the window is closed"), 4, "refused"),
    "config": (lambda: ConfigError(PROBLEMS), 2, "config"),
    "file": (lambda: PermissionError(13, "Permission denied", "/etc/shadow"), 1, "file"),
    "bug": (lambda: KeyError("web1"), 1, "internal"),
    "interrupt": (KeyboardInterrupt, 130, "interrupted"),
    "abort": (click.Abort, 2, "usage"),
    "bad option": (lambda: click.BadParameter("not so"), 2, "usage"),
    "exit": (lambda: SystemExit(7), 7, ""),
}


def program(error: Callable[[], BaseException] | None = None, code: Any = None) -> click.Command:
    root = VerbGroup(name="mainstay")

    @verb(name="try")
    @click.option("--number", type=int)
    def attempt(screen: Screen, number: int | None) -> Any:
        if error is not None:
            raise error()
        screen.show(lambda: {"number": number, "json": screen.json}, list)
        return code

    root.add_command(attempt)
    return root


@pytest.mark.parametrize("name", ERRORS)
def test_exit_code_and_words(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    error, code, _ = ERRORS[name]
    assert run(["try"], program(error)) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err


@pytest.mark.parametrize("name", [name for name in ERRORS if name != "exit"])
@pytest.mark.parametrize("arguments", [["--json", "try"], ["try", "--json"]])
def test_json_errors_are_one_object_on_stdout(
    name: str, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    error, code, kind = ERRORS[name]
    assert run(arguments, program(error)) == code
    out, err = capsys.readouterr()
    told = json.loads(out)["error"]
    assert {"kind", "message", "file", "line", "key", "hint"} <= told.keys()
    assert told["kind"] == kind
    assert told["message"]
    assert err.strip() == ""


def test_a_config_error_names_every_problem(capsys: pytest.CaptureFixture[str]) -> None:
    run(["try"], program(lambda: ConfigError(PROBLEMS)))
    err = capsys.readouterr().err
    assert 'schedules/web.yml:14:5  plans.x.reboots: unknown key. Did you mean "reboot"?\n' in err
    assert "inventory/hosts.yml:22:3  hosts.web7: same address as web3\n" in err
    assert "2 errors" in err
    run(["try", "--json"], program(lambda: ConfigError(PROBLEMS)))
    body = json.loads(capsys.readouterr().out)
    assert body["error"]["line"] == 14
    assert [entry["line"] for entry in body["errors"]] == [14, 22]
    assert body["error"] | {"kind": "x"} == body["errors"][0] | {"kind": "x"}


def test_the_hint_follows_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    run(["try"], program(lambda: UsageError("There is no plan x", hint="See mainstay check.")))
    assert capsys.readouterr().err == "There is no plan x. See mainstay check.\n"


def test_a_full_disk_is_no_fault_inside_mainstay(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["try"], program(lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))) == 1
    assert capsys.readouterr().err == "No space left on device.\n"


def test_debug_shows_the_traceback_beside_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["try", "--debug"], program(lambda: UsageError("no"))) == 2
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert "UsageError: no\nNo\n" in err  # a thread of another test may say something meanwhile


def test_a_hostile_message_is_cleaned(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "web1: \x1b]52;c;AAAA\x07said \x1b[31m[/bold]\rok"
    run(["try"], program(lambda: MainstayError(hostile, hint="\x1b]0;t\x07do")))
    err = capsys.readouterr().err
    assert "\x1b" not in err and "\r" not in err and "\x07" not in err
    assert "said [/bold]" in err
    run(["try", "--json"], program(lambda: MainstayError(hostile)))
    assert "\\u001b" not in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nope"], ["try", "--nope"], ["try", "--number", "x"], ["try", "surplus"]])
def test_usage_errors_of_the_parser_are_exit_2_and_json_too(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments, program()) == 2
    out, err = capsys.readouterr()
    assert out == "" and err
    assert run([*arguments, "--json"], program()) == 2
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "usage"


@pytest.mark.parametrize("code", [0, 1, 3, 4, 5])
def test_a_verb_says_its_exit_code(code: int) -> None:
    assert run(["try"], program(code=code)) == code


def test_none_is_well_and_true_is_no_exit_code() -> None:
    assert run(["try"], program(code=None)) == 0
    assert run(["try"], program(code=True)) == 0


@pytest.mark.parametrize("arguments", [["--json", "try"], ["try", "--json"], ["--json", "try", "--json"]])
def test_json_before_or_after_the_verb(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run(arguments, program())
    assert json.loads(capsys.readouterr().out) == {"number": None, "json": True}


def test_what_follows_two_dashes_is_no_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["try", "--", "--json"], program()) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("no such plan", "No such plan. mainstay check\n"),
        ("nothing of it is left", "Nothing of it is left. mainstay check\n"),
        ("web1: it broke", "web1: it broke. mainstay check\n"),
        ("now is a host", "now is a host. mainstay check\n"),
        ("env:X: the variable is not set", "env:X: the variable is not set. mainstay check\n"),
    ],
)
def test_a_message_is_a_sentence_and_a_name_stays_a_name(
    message: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["try"], program(lambda: UsageError(message, hint="mainstay check"))) == 2
    assert capsys.readouterr().err == said
