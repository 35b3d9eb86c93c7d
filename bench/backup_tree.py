"""The files that are backed up in the bench: made anew from their size alone, so that everybody reads the same bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

KINDS = ((1 << 14, 0.15), (3 << 20, 0.40), (256 << 20, 0.45))
"""(bytes of a file, share of the whole): small files, such as a mail spool's; larger ones; a few very large ones."""
_BLOCK = 1 << 20


def make(folder: Path, size: int) -> int:
    """Fill a folder that is not there yet. Half of the bytes can be compressed. Returns how many files there are now."""
    files = 0
    for kind, (each, share) in enumerate(KINDS):
        for number in range(max(1, round(size * share / each))):
            path = folder / f"kind{kind}" / f"{number // 500:03}" / f"{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            length = min(each, int(size * share))
            with path.open("wb") as file:
                file.writelines(_content(f"{kind}/{number}", length, text=number % 2 == 0))
            files += 1
    return files


def change(folder: Path, turn: int) -> int:
    """One in a hundred of the files is written anew, and of the very large ones the hundredth part. Returns bytes written."""
    written = 0
    for kind in range(len(KINDS)):
        files = sorted(path for path in (folder / f"kind{kind}").rglob("*") if path.is_file())
        for number, path in enumerate(files):
            length = path.stat().st_size
            large = kind == len(KINDS) - 1
            if not large and (number + turn) % 100:
                continue
            part = length // 100 if large else length
            with path.open("r+b") as file:
                file.seek((turn * 7919 * 4096) % max(1, length - part))
                file.writelines(_content(f"{kind}/{number}/{turn}", part, text=False))
            written += part
    return written


def _content(seed: str, length: int, *, text: bool) -> Iterator[bytes]:
    """No two pieces are alike. text: of letters that take half as much when they are compressed; otherwise nothing can be."""
    numbers = random.Random(seed)
    for left in range(length, 0, -_BLOCK):
        size = min(_BLOCK, left)
        yield numbers.randbytes(size // 2 + 1).hex()[:size].encode() if text else numbers.randbytes(size)
