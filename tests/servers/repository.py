"""A restic repository that opens at once: whole and encrypted as restic's own, but its key is derived in no time.

restic takes half a second to derive a key from a password, on purpose, each time; and three to make a repository. Where a test is
about something else it is better spent otherwise. Real restic reads and writes these as any other.
Source: https://restic.readthedocs.io/en/stable/design.html#keys-encryption-and-mac
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB
from cryptography.hazmat.primitives.poly1305 import Poly1305

POLYNOMIAL = "3da3358b4dc173"
SCRYPT = {"N": 2, "r": 1, "p": 1}


def make_repository(folder: Path, password: str) -> str:
    """Make one in a folder that is not there yet (or empty), as `restic init` does. Returns its id, another one each time."""
    for name in ("index", "keys", "locks", "snapshots", *(f"data/{number:02x}" for number in range(256))):
        (folder / name).mkdir(parents=True)
    master = os.urandom(64)
    id = os.urandom(32).hex()
    config = {"version": 2, "id": id, "chunker_polynomial": POLYNOMIAL}
    (folder / "config").write_bytes(_sealed(master, json.dumps(config).encode()))
    add_key(folder, password, master)
    return id


def add_key(folder: Path, password: str, master: bytes) -> None:
    salt = os.urandom(64)
    derived = hashlib.scrypt(password.encode(), salt=salt, n=SCRYPT["N"], r=SCRYPT["r"], p=SCRYPT["p"], dklen=64)
    secret = {"mac": {"k": _text(master[32:48]), "r": _text(master[48:])}, "encrypt": _text(master[:32])}
    data = _text(_sealed(derived, json.dumps(secret).encode()))
    about = {"created": "2026-01-01T00:00:00Z", "username": "root", "hostname": "tests", "kdf": "scrypt"}
    key = json.dumps({**about, **SCRYPT, "salt": _text(salt), "data": data}).encode()
    (folder / "keys" / hashlib.sha256(key).hexdigest()).write_bytes(key)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _sealed(key: bytes, plain: bytes) -> bytes:
    """key: 32 bytes for AES-256, 16 + 16 for Poly1305-AES."""
    nonce = os.urandom(16)
    stream = Cipher(AES(key[:32]), CTR(nonce)).encryptor()
    hidden = stream.update(plain) + stream.finalize()
    block = Cipher(AES(key[32:48]), ECB()).encryptor()  # one block: that is how Poly1305-AES is made
    once = key[48:] + block.update(nonce) + block.finalize()
    return nonce + hidden + Poly1305.generate_tag(once, hidden)
