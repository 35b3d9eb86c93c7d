"""A step's output is kept whole up to a cap; above it, its beginning and its end, and a line that says what is missing."""

from __future__ import annotations

import os
import re
from typing import BinaryIO

HEAD = 6 * 1024 * 1024
TAIL = 4 * 1024 * 1024
OUTPUT_CAP = HEAD + TAIL


def trim(data: bytes) -> bytes:
    """At most OUTPUT_CAP bytes of it, and the marker."""
    if len(data) <= OUTPUT_CAP:
        return data
    return data[:HEAD] + marker(len(data) - OUTPUT_CAP) + data[-TAIL:]


def trim_file(file: BinaryIO) -> bytes:
    """The same of a file's content, without reading what is left out."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size <= OUTPUT_CAP:
        return file.read()
    head = file.read(HEAD)
    file.seek(-TAIL, os.SEEK_END)
    return head + marker(size - OUTPUT_CAP) + file.read()


def marker(dropped: int) -> bytes:
    return f"\n[mainstay: {dropped} bytes left out here]\n".encode()


def is_trimmed(content: bytes) -> bool:
    middle = content[HEAD : len(content) - TAIL]
    return len(content) > OUTPUT_CAP and re.fullmatch(rb"\n\[mainstay: \d+ bytes left out here\]\n", middle) is not None
