"""A repository as a host can make it up that has its key: a file that lists one byte and gives out as much as one likes."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

from tests.unit.recovery.snapshots import _MASTER, _clamped, _put, _sealed

PIECE = bytes(4 << 20)


def make_up(repository: Path, pieces: int) -> str:
    """Into one that `snapshots.make` has made: /a, of so many times PIECE. Returns the snapshot's id.

    Format: https://restic.readthedocs.io/en/stable/design.html#pack-format.
    """
    key = _clamped(_MASTER)
    piece = hashlib.sha256(PIECE).hexdigest()
    node = {"name": "a", "type": "file", "mode": 0o600, "size": 1, "content": [piece] * pieces}
    times = dict.fromkeys(("mtime", "atime", "ctime"), "2026-01-01T00:00:00Z")
    tree = json.dumps({"nodes": [{**node, **times}]}).encode() + b"\n"
    pack, header, blobs = b"", b"", []
    for number, (kind, text) in enumerate((("data", PIECE), ("tree", tree))):
        sealed, id = _sealed(key, text), hashlib.sha256(text).hexdigest()
        blobs.append({"id": id, "type": kind, "offset": len(pack), "length": len(sealed)})
        header += struct.pack("<BI", number, len(sealed)) + bytes.fromhex(id)
        pack += sealed
    header = _sealed(key, header)
    pack += header + struct.pack("<I", len(header))
    name = hashlib.sha256(pack).hexdigest()
    (repository / "data" / name[:2]).mkdir(exist_ok=True)
    (repository / "data" / name[:2] / name).write_bytes(pack)
    index = {"packs": [{"id": name, "blobs": blobs}]}
    _put(repository / "index", json.dumps(index).encode(), key)
    snapshot = {"time": "2026-01-01T00:00:00Z", "tree": blobs[1]["id"], "paths": ["/a"], "hostname": "web1"}
    return _put(repository / "snapshots", json.dumps(snapshot).encode(), key)
