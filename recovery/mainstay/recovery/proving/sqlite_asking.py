"""One question to a SQLite file, asked by a program of its own. It has the standard library alone, nothing that is secret in its
memory, and has given up its rights before it opens the file: that is what a host has sent, and may be made to break the library.

`python3 -I -S -c SOURCE [UID GID]`, with one JSON object on stdin: file (quoted as in a URI), query, rows (at most so many). It
prints one too: rows, the first column of each as text or null; or error.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

LACKS = 69
"""It ends with that where this Python has no sqlite3."""
LONGEST = 10_000
"""Characters of an answer."""
_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522


def main() -> None:
    asked = json.load(sys.stdin)
    try:  # all of it as long as we may read it
        import ctypes
        import resource
        import sqlite3
    except ImportError as error:
        print(error, file=sys.stderr)
        sys.exit(LACKS)
    drop(ctypes, resource, *map(int, sys.argv[1:3]))
    answer: dict[str, Any]
    try:
        rows = _rows(sqlite3, asked)
        answer = {"rows": [None if row[0] is None else str(row[0])[: LONGEST // asked["rows"]] for row in rows]}
    except sqlite3.Error as error:
        answer = {"error": str(error)[:LONGEST]}
    print(json.dumps(answer))


def drop(ctypes: Any, resource: Any, uid: int | None = None, gid: int | None = None) -> None:
    """For good: no program gives them back, nothing else is started, and no core of this one is written."""
    if uid is not None and gid is not None:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    libc = ctypes.CDLL(None, use_errno=True)
    # Who is not root may have been given some of root's rights all the same, as by a unit's AmbientCapabilities=
    if libc.capset((ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0), (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "this kernel lets no program give up its rights")
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "this kernel can't keep a program from new rights")
    for limit in (resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))


def _rows(sqlite3: Any, asked: dict[str, Any]) -> list[tuple[Any, ...]]:
    database = sqlite3.connect(f"file:{asked['file']}?mode=ro&immutable=1", uri=True, isolation_level=None)
    database.execute("PRAGMA trusted_schema = OFF")
    database.execute("PRAGMA query_only = ON")
    return list(database.execute(asked["query"]).fetchmany(asked["rows"]))


if __name__ == "__main__":
    main()
