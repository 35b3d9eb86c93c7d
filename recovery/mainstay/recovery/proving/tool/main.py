"""The tool's command line, as the documentation of `tool` says."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from mainstay.inventory.errors import MainstayError, UsageError
from mainstay.recovery.proving import scratch
from mainstay.recovery.proving.attempt import Attempt, Tried, Untried
from mainstay.recovery.proving.scratch import Place
from mainstay.recovery.proving.tool.handed import HandedAttempt, Order
from mainstay.recovery.proving.tool.holding import Signalled, hold, signals
from mainstay.recovery.proving.tool.watcher import watch
from mainstay.recovery.proving.trying import try_dump, untried
from mainstay.runner.verdict import Verdict

USAGE, BUG, UNCLEAN, NO_PROGRAM = 64, 70, 71, 127


def main(argv: Sequence[str]) -> int:
    os.umask(0o077)
    try:
        with signals():
            return _run(list(argv))
    except Signalled as error:
        return 128 + error.number
    except UsageError as error:
        return _said(error.message, USAGE)
    except scratch.Unclean as error:
        return _said(error.message, UNCLEAN)
    except Exception:
        traceback.print_exc()
        return BUG


def _run(argv: list[str]) -> int:
    match argv:
        case ["sweep", root]:
            for name in scratch.sweep(_root(root)):
                _print({"removed": name})
            return 0
        case ["prove", order]:
            return _prove(Path(order))
        case ["watch", place, listed, noted] if listed.isdecimal():
            return watch(Place(Path(place)), int(listed), Path(noted))
        case ["hold", root, name, "--", *program] if program:
            if name in ("", ".", "..") or "/" in name:
                raise UsageError(f"{name!r} is no name of a folder")
            try:
                return hold(_root(root), name, program)
            except FileNotFoundError:
                return _said(f"there is no program {program[0]}", NO_PROGRAM)
        case _:
            raise UsageError(
                "it is one of: sweep ROOT; prove ORDER.json; watch PLACE BYTES NOTED; hold ROOT NAME -- ARGV…"
            )


def _root(text: str) -> Path:
    """All that is in it is taken for ours: so it must be."""
    root = Path(text)
    if not root.is_absolute():
        raise UsageError(f"{text} is no absolute path")
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = root.lstat()
    except OSError as error:
        raise UsageError(f"{root}: {error.strerror}") from None
    if root.is_symlink() or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise UsageError(f"{root} is no folder of ours alone (0700)")
    return root


def _prove(path: Path) -> int:
    attempt = HandedAttempt.of(Order.read(path))
    os.chdir(attempt.place.folder)  # where whoever cleans the place looks for us
    limit = False
    try:
        try:
            tried = try_dump(attempt)
        finally:
            attempt.place.leave()
    except Untried as error:
        limit, tried = error.limit, untried(attempt.unit, error)
    except MainstayError as error:
        tried = Tried(Verdict.FAILED, error.message)
    _print(_answer(attempt, tried, limit))
    return 0


def _answer(attempt: Attempt, tried: Tried, limit: bool) -> dict[str, object]:
    return {
        "verdict": tried.verdict.value,
        "reason": tried.reason,
        "scope": tried.scope,
        "left_out": list(tried.left_out),
        "roles": list(tried.roles),
        "measures": attempt.end(),
        "limit": limit,
    }


def _print(data: dict[str, object]) -> None:
    print(json.dumps(data), flush=True)


def _said(message: str, status: int) -> int:
    print(message, file=sys.stderr)
    return status
