"""The options that each part of the bench takes: its sizes, and --quick for small ones."""

from __future__ import annotations

import argparse
from collections.abc import Mapping


def options(doc: str | None, *, quick: Mapping[str, int], **sizes: int) -> argparse.Namespace:
    """sizes: option → how much by default. quick: the same for --quick, which shows that all works and measures little."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small: shows that it works, measures nothing")
    for name in sizes:
        parser.add_argument(f"--{name}", type=int)
    chosen = parser.parse_args()
    for name, size in sizes.items():
        if getattr(chosen, name) is None:
            setattr(chosen, name, quick.get(name, size) if chosen.quick else size)
    return chosen
