"""What the processes that serve are asked with: `serve` and `worker`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--threads",
        type=click.IntRange(1, 500),
        metavar="N",
        help="At most so many hosts in hand at once (PostgreSQL); 50.",
    ),
    click.option("--grace", default="30s", metavar="DURATION", help="How long steps in hand may take to end; 30s."),
    click.option(
        "--when-lost",
        type=click.Choice(["restart", "exit"]),
        default="restart",
        help="When the hold on the database is lost: begin anew, or exit with 1 for a supervisor to start it again.",
    ),
)


def serving(command: F) -> F:
    """Adds --threads, --grace and --when-lost."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
