"""A repository of snapshots with any times, written without restic in no time: restic's own way would take a second for each.

Format: restic's doc/design.rst. A file is IV, AES-256-CTR, Poly1305-AES; keys come from scrypt, which is made cheap here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

PASSWORD = "only for tests"
_SALT = bytes(range(64))
_MASTER = bytes(range(64, 128))
"""32 bytes for AES-256, 16 for AES-128 of the MAC's nonce, 16 for its r."""


def _sealed(key: bytes, text: bytes) -> bytes:
    iv = hashlib.sha256(text).digest()[:16]
    encryptor = Cipher(algorithms.AES(key[:32]), modes.CTR(iv)).encryptor()
    cipher = encryptor.update(text) + encryptor.finalize()
    nonce = (
        Cipher(algorithms.AES(key[32:48]), modes.ECB()).encryptor().update(iv)
    )  # one block, as Poly1305-AES asks for
    return iv + cipher + Poly1305.generate_tag(key[48:] + nonce, cipher)


def _clamped(key: bytes) -> bytes:
    mask = bytes.fromhex("0ffffffc0ffffffc0ffffffc0fffffff")[::-1]
    return key[:48] + bytes(one & bit for one, bit in zip(key[48:], mask, strict=True))


def _put(folder: Path, text: bytes, key: bytes) -> str:
    data = _sealed(key, text)
    name = hashlib.sha256(data).hexdigest()
    (folder / name).write_bytes(data)
    return name


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def make(root: Path) -> Path:
    """An empty repository with the password PASSWORD."""
    for name in ("data", "index", "keys", "locks", "snapshots"):
        (root / name).mkdir(parents=True)
    master = _clamped(_MASTER)
    config = {"version": 2, "id": "5" * 64, "chunker_polynomial": "3DA3358B4DC173"}
    (root / "config").write_bytes(_sealed(master, json.dumps(config).encode()))
    user = _clamped(hashlib.scrypt(PASSWORD.encode(), salt=_SALT, n=2, r=1, p=1, dklen=64))
    inner = {"encrypt": _text(master[:32]), "mac": {"k": _text(master[32:48]), "r": _text(master[48:])}}
    key = {
        "created": "2026-01-01T00:00:00Z",
        "username": "test",
        "hostname": "test",
        "kdf": "scrypt",
        "N": 2,
        "r": 1,
        "p": 1,
        "salt": _text(_SALT),
        "data": _text(_sealed(user, json.dumps(inner).encode())),
    }
    content = json.dumps(key).encode()
    (root / "keys" / hashlib.sha256(content).hexdigest()).write_bytes(content)
    return root


def fill(root: Path, times: Sequence[str]) -> list[str]:
    """Snapshots of these times (RFC 3339) and no others. Returns their ids."""
    folder = root / "snapshots"
    shutil.rmtree(folder)
    folder.mkdir()
    master = _clamped(_MASTER)
    return [
        _put(folder, json.dumps({"time": at, "tree": "0" * 64, "paths": ["/x"], "hostname": "h"}).encode(), master)
        for at in times
    ]
