"""What a host said, made fit for a sentence of ours."""

from __future__ import annotations

import re

from mainstay.inventory.redaction import redact

_ESCAPES = re.compile(r"\x1b(?:\][^\x07\x1b]*(?:\x07|\x1b\\)?|\[[0-9;?]*[ -/]*[@-~]|.)?", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]+")


def printable(data: bytes | str, limit: int = 300) -> str:
    """One line without control characters, escape sequences and direction marks, at most `limit` characters long,
    of bytes from their end. Secrets are gone from it: nothing could find one of which a part was cut off."""
    text = data if isinstance(data, str) else redact(data)[-8 * limit :].decode("utf-8", "replace")
    text = redact(_CONTROLS.sub(" ", _ESCAPES.sub("", text)).strip())
    return text if len(text) <= limit else text[: limit - 1] + "…"
