"""A command that is told something: what it gets, what it may not do, and that it ends."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

import pytest

from mainstay.console.notices.adapters.command import run
from mainstay.console.notices.contract import Undelivered
from mainstay.inventory.redaction import MASK, remember

GENEROUS = 60.0


def script(folder: Path, text: str, name: str = "tell") -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def tell(argv: list[str], folder: Path, text: bytes = b"{}", seconds: float = GENEROUS, **variables: str) -> None:
    run(argv, text, folder=folder, variables=variables, seconds=seconds)


def test_it_gets_the_whole_text_on_stdin_and_its_arguments_as_they_are(tmp_path: Path) -> None:
    text = json.dumps({"reason": "x" * 300_000, "odd": "ü\u202e"}).encode()
    script(tmp_path, 'cat >got; printf "%s\\n" "$@" >arguments')
    tell(["./tell", "a b", "$(touch x)", "; touch y", "ü"], tmp_path, text)
    assert (tmp_path / "got").read_bytes() == text
    assert (tmp_path / "arguments").read_text() == "a b\n$(touch x)\n; touch y\nü\n"
    assert {path.name for path in tmp_path.iterdir()} == {"tell", "got", "arguments"}


def test_its_environment_is_small_and_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "not for it")
    monkeypatch.setenv("LD_PRELOAD", "")
    script(tmp_path, "env >environment")
    tell(["./tell"], tmp_path, MAINSTAY_EVENT="failed", TOKEN="t0k3n")
    names = {line.partition("=")[0] for line in (tmp_path / "environment").read_text().splitlines()}
    assert {"PATH", "MAINSTAY_EVENT", "TOKEN"} <= names
    assert names <= {
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "USER",
        "LOGNAME",
        "PWD",
        "SHLVL",
        "_",
        "OLDPWD",
        "MAINSTAY_EVENT",
        "TOKEN",
    }


def test_one_that_does_not_read_is_delivered_to_all_the_same(tmp_path: Path) -> None:
    script(tmp_path, "exec <&-; exit 0")
    tell(["./tell"], tmp_path, b"x" * 1_000_000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("echo no mail today >&2; exit 7", "./tell ended with exit 7: no mail today"),
        ("exit 1", "./tell ended with exit 1"),
        ("kill -TERM $$", "./tell ended with signal 15"),
        ("printf '\\033]52;c;AAAA\\007\\033[31mred\\r\\nline'; exit 1", "./tell ended with exit 1: red line"),
    ],
)
def test_how_it_failed_is_told(tmp_path: Path, text: str, message: str) -> None:
    script(tmp_path, text)
    with pytest.raises(Undelivered) as raised:
        tell(["./tell"], tmp_path)
    assert raised.value.message == message


def test_of_much_that_is_printed_the_end_is_told(tmp_path: Path) -> None:
    script(tmp_path, "yes abcdefghij | head -c 3000000; echo the end; exit 1")
    with pytest.raises(Undelivered) as raised:
        tell(["./tell"], tmp_path)
    assert raised.value.message.endswith("the end")
    assert len(raised.value.message) < 400


def test_a_secret_that_it_prints_is_not_told(tmp_path: Path) -> None:
    remember("canary-of-the-command")
    script(tmp_path, 'echo "login with $TOKEN failed"; exit 1')
    with pytest.raises(Undelivered) as raised:
        tell(["./tell"], tmp_path, TOKEN="canary-of-the-command")
    assert raised.value.message == f"./tell ended with exit 1: login with {MASK} failed"


@pytest.mark.parametrize("name", ["./nothing", "nothing-of-that-name", "./plain", "."])
def test_one_that_can_not_be_started(tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").write_text("no program")
    with pytest.raises(Undelivered, match="can't be started"):
        tell([name], tmp_path)


def alive(pid: int) -> bool:
    """A zombie that nobody has waited for yet is dead."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_one_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    # Both hold the pipes open, and neither listens to a polite word.
    script(tmp_path, "trap '' TERM HUP INT\n(trap '' TERM HUP; sleep 1000) &\necho $$ $! >pids\nsleep 1000")
    for seconds in (0.5, 5.0, 50.0):  # on a machine that is slow to begin, it has not started anything yet
        with pytest.raises(Undelivered, match=rf"did not end within {seconds:g} s, and was killed"):
            tell(["./tell"], tmp_path, seconds=seconds)
        if (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2:
            break
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    until = time.monotonic() + GENEROUS
    while any(alive(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.01)
    assert [pid for pid in pids if alive(pid)] == []


def test_one_in_hand_when_the_process_is_to_end_is_killed(tmp_path: Path) -> None:
    script(tmp_path, "echo $$ >shell; exec sleep 1000")
    began = tmp_path / "shell"
    with pytest.raises(Undelivered, match="had to end"):
        run(["./tell"], b"{}", folder=tmp_path, variables={}, seconds=GENEROUS, ending=lambda: bool(_read(began)))
    assert not alive(int(_read(began)))


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def test_what_it_leaves_behind_on_purpose_is_not_waited_for(tmp_path: Path) -> None:
    script(tmp_path, "sleep 30 & echo $! >left")
    tell(["./tell"], tmp_path, seconds=GENEROUS)
    left = int((tmp_path / "left").read_text())
    assert alive(left)
    os.kill(left, 9)


def test_a_program_of_the_site_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site/bin").mkdir(parents=True)
    script(tmp_path / "site/bin", "pwd >../site/where || pwd >where")
    monkeypatch.chdir("/")
    tell(["bin/tell"], tmp_path / "site")
    assert (tmp_path / "site/where").read_text().strip() == str(tmp_path / "site")
    assert stat.S_IMODE((tmp_path / "site/bin/tell").stat().st_mode) == 0o755
