"""Canary secrets: values that may be found nowhere, and the search through all that a run leaves behind."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import sqlite3
import tarfile
import threading
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fleet import Host

HEADER = 65
"""Bytes before the compressed part of an artifact."""


def forms(value: str) -> set[bytes]:
    """The value plain, quoted for shell, URL and JSON, and as base64 wherever in a longer text it begins."""
    data = value.encode()
    texts = {
        value,
        shlex.quote(value)[1:-1] if shlex.quote(value) != value else value,
        urllib.parse.quote(value, safe=""),
    }
    texts |= {
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        value.replace("'", "'\\''"),
        data.hex(),
    }
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + data).decode()
        texts.add(encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6])
    return {text.encode() for text in texts}


@dataclass
class Canaries:
    """Values by name. `hits`: what a search has found, in words."""

    values: dict[str, str]
    _pattern: re.Pattern[bytes] = field(init=False)
    _names: dict[bytes, str] = field(init=False)

    def __post_init__(self) -> None:
        self._names = {form: name for name, value in self.values.items() for form in forms(value)}
        self._pattern = re.compile(b"|".join(re.escape(form) for form in sorted(self._names, key=len, reverse=True)))

    def hits(self, where: str, data: bytes) -> list[str]:
        return [
            f"{where}: {self._names[found[0]]} in {data[max(0, found.start() - 60) : found.end() + 20]!r}"
            for found in self._pattern.finditer(data)
        ]

    def in_tree(self, folder: Path, *, but: Iterable[Path] = ()) -> list[str]:
        """In every file below the folder, in what is packed in it too; in names of files as well."""
        left_out = {path.resolve() for path in but}
        found: list[str] = []
        for path in sorted(folder.rglob("*")):
            found += self.hits("the name", str(path.relative_to(folder)).encode())
            if path.is_file() and not path.is_symlink() and path.resolve() not in left_out:
                found += self.in_file(str(path), path.read_bytes())
        return found

    def in_file(self, name: str, data: bytes) -> list[str]:
        found = self.hits(name, data)
        for inner, content in unpacked(data):
            found += self.in_file(f"{name} › {inner}", content)
        return found


def unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    """What lies in a file that is packed: an artifact, a gzipped one, an archive, a database (long values lie in pieces)."""
    if data[HEADER - 1 : HEADER + 1] == b"\n\x78" and re.fullmatch(rb"[0-9a-f]{64}", data[: HEADER - 1]):
        yield "content", zlib.decompress(data[HEADER:])
    elif data[:2] == b"\x1f\x8b":
        yield "content", zlib.decompressobj(wbits=31).decompress(data)
    elif data[:16] == b"SQLite format 3\0":
        with closing(sqlite3.connect(":memory:")) as database:
            # In write-ahead mode only a file of its own could be opened; the log beside it is searched as it is.
            database.deserialize(data[:18] + b"\1\1" + data[20:])
            yield "rows", "\n".join(database.iterdump()).encode()
    elif data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None:
                    yield member.name, content.read()


class Watch:
    """Looks at the command line and the environment of every process of this machine, hosts' included, again and again.

    own: a process with one of these in its command line may have a canary in its environment, where it was put."""

    def __init__(self, canaries: Canaries, own: Iterable[str]) -> None:
        self._canaries = canaries
        self._own = [word.encode() for word in own]
        self._ended = threading.Event()
        self.seen: set[bytes] = set()
        self.found: set[str] = set()
        self.looks = 0

    @contextmanager
    def looking(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.15):
            self.look()

    def look(self) -> None:
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                self._look_at(process)
        self.looks += 1

    def _look_at(self, process: Path) -> None:
        try:
            line, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes()
        except OSError:
            return  # gone meanwhile
        self.seen.add(line)
        self.found.update(self._canaries.hits("a command line", line))
        if not any(word in line for word in self._own):
            self.found.update(self._canaries.hits(f"the environment of {line!r}", environment))


def on_host(canaries: Canaries, host: Host, *, but: Iterable[str] = ()) -> list[str]:
    """In everything that was written on its disk since it was made, and in its journal."""
    found = canaries.in_tree(host.path / "upper", but=[host.path / "upper" / path.lstrip("/") for path in but])
    found += canaries.in_tree(host.root / "var/lib/mainstay")
    # `export` gives every field as it is; JSON would make lists of numbers of what is no plain text.
    journal = host.exec(["journalctl", "--no-pager", "-o", "export"])
    return [f"{host.name}: {hit}" for hit in [*found, *canaries.hits("its journal", journal.encode())]]
