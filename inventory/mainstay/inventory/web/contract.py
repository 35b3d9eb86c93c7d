"""What asking a URL gives, and how it goes wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mainstay.inventory.errors import MainstayError


@dataclass(frozen=True, slots=True)
class Answer:
    """headers: names in lower case. body: as it came, not decompressed."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class WebError(MainstayError):
    """Nothing usable came back. The message holds no part of the URL but the host: a URL may be a secret."""

    kind = "web"


class Forbidden(WebError):
    """It leads where nothing of a site may lead; nothing was sent."""


class Web(Protocol):
    def __call__(
        self,
        method: str,
        url: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        seconds: float = 10.0,
        largest: int = 65536,
    ) -> Answer:
        """One request, no redirect followed (a 3xx is an answer as any other), no proxy, certificates checked. seconds: for
        all of it to the last byte (a resolver that hangs takes as long as it is set to). Raises WebError; a body longer
        than `largest` is one."""
