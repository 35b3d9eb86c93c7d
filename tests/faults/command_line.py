"""The command line in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str


SEVERAL = """
import contextlib, io, json, sys
from mainstay.console import cli
done = []
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run(words)
    done.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(done))
"""


def mainstay(site: Path, *commands: tuple[str, ...], env: Mapping[str, str] | None = None) -> list[Done]:
    """Several command lines, one after the other, in a process of their own: its start is what takes long."""
    words = json.dumps([["--site", str(site), *command] for command in commands])
    argv = [sys.executable, "-c", SEVERAL, words]
    one = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=250,
        env={**os.environ, **(env or {})},
        check=False,
    )
    assert one.returncode == 0, one.stderr
    results = [Done(*each) for each in json.loads(one.stdout)]
    for result in results:
        assert "Traceback" not in result.err and "Something went wrong inside" not in result.err, result.err
    return results
