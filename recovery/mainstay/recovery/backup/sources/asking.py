"""How the sources ask a host what it has."""

from __future__ import annotations

from collections.abc import Callable

from mainstay.inventory.errors import MainstayError
from mainstay.runner.shell.contract import Output

Ask = Callable[[tuple[str, ...], str], Output]
"""(argv, user) → what came of it."""


class Unasked(MainstayError):
    """A source could not be asked what it holds."""

    kind = "failed"
