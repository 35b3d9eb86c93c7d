"""The one base of everything that is written down: frozen, closed, plain JSON in both directions."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

Json = dict[str, Any]
"""A JSON object. Values are None, bool, int, float, str, list and Json."""


class Value(BaseModel):
    """Frozen, refuses unknown keys, and goes to JSON and back without loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> Json:
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, data: Json) -> Self:
        return cls.model_validate(data)


def canonical(data: Any) -> bytes:
    """One spelling for one value: sorted keys, no blanks, UTF-8. What is hashed is always this."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair (from a host's output that is no UTF-8) has no UTF-8; `\\udce4` is JSON's own word for it.
    return text.encode("utf-8", "backslashreplace")


def digest(data: Any) -> str:
    """SHA-256 of the canonical form, in hex."""
    return hashlib.sha256(canonical(data)).hexdigest()
