"""What a restore's job has printed. Pure; hostile or cut off, every list has a bound."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from mainstay.recovery.restic.messages import count_of, text_of
from mainstay.runner.shell.printable import printable

MOST = 200_000
_NUMBER = re.compile(r"[0-9]{1,15}", re.ASCII)
"""All that follows the word of a marker; what is none is none of the job's."""


@dataclass(slots=True)
class PieceSaid:
    restored: int | None = None
    """restic's exit status; None: not known."""
    verified: bool = False
    """That restic ended well, and had read again what it wrote: nothing more was looked at."""
    files: int = 0
    """That it counted, with folders."""
    bytes: int = 0
    compared: int | None = None
    same: int = 0
    """Files that the second restic found to be as in the repository."""
    other: set[str] = field(default_factory=set)
    """Paths that it would still touch; folders and symlinks are always among them."""
    errors: list[str] = field(default_factory=list)
    percent: float = 0.0
    seconds: int = 0
    """By the host's clock, with the second look; below 0 where it has not ended."""


@dataclass(slots=True)
class JobSaid:
    pieces: dict[int, PieceSaid] = field(default_factory=dict)
    unready: bool = False
    stopped: bool = False
    """It was told to stop, because the run is cancelled, and had not done it all."""
    done: bool = False
    stays: bool = False
    """The new database is not whole, and could not be dropped."""
    aside: bool = False
    """The database that was there could not be given its name again."""
    database: tuple[int, int, int] | None = None
    """Exit status of restic and of the server's program, and how many bytes went from the one to the other."""
    last: str = ""


def read(output: bytes, token: str) -> JobSaid:
    said, now, compares = JobSaid(), PieceSaid(), False
    marker = re.compile(rb"@mainstay " + re.escape(token.encode()) + rb" (.*)")
    for line in output.split(b"\n"):
        if found := marker.fullmatch(line):
            words = found[1].decode("utf-8", "replace").split()
            if not all(map(_NUMBER.fullmatch, words[1:])):
                continue
            match words:
                case ["unready"]:
                    said.unready = True
                case ["stopped"]:
                    said.stopped = True
                case ["stays"]:
                    said.stays = True
                case ["aside"]:
                    said.aside = True
                case ["done"]:
                    said.done = True
                case ["begin", number, at]:
                    now, compares = said.pieces.setdefault(int(number), PieceSaid()), False
                    now.seconds = -int(at)
                case ["restored", _, code]:
                    now.restored, compares = int(code), True
                case ["verified", _, at]:
                    now.verified = True
                    now.seconds += int(at)
                case ["compared", _, code, same, at]:
                    now.compared, now.same = int(code), int(same)
                    now.seconds += int(at)
                case ["database", dumped, taken, count]:
                    said.database = int(dumped), int(taken), int(count)
                case _:
                    pass
            continue
        _line(said, now, line, compares)
    return said


def _line(said: JobSaid, now: PieceSaid, line: bytes, compares: bool) -> None:
    try:
        data = json.loads(line) if line.startswith(b"{") and len(line) < 1 << 20 else None
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        if line.strip():
            said.last = printable(line, 300)
        return
    kind = data.get("message_type")
    if kind == "verbose_status" and compares and len(now.other) < MOST:
        now.other.add(text_of(data.get("item")))
    elif kind == "summary" and not compares:
        now.files = count_of(data.get("total_files")) + count_of(data.get("files_skipped"))
        now.bytes = count_of(data.get("total_bytes")) + count_of(data.get("bytes_skipped"))
    elif kind == "status" and isinstance(done := data.get("percent_done"), (int, float)) and 0 <= done <= 1:
        now.percent = float(done) * 100
    elif kind == "error" and len(now.errors) < 100:
        error = data.get("error")
        text = text_of(error.get("message")) if isinstance(error, dict) else ""
        now.errors.append(printable(f"{text_of(data.get('item'))[:4096]}: {text}", 300))
    elif kind == "exit_error":
        said.last = printable(text_of(data.get("message")), 300)
