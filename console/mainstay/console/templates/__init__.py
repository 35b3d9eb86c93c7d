"""What `mainstay init` writes: a site that works, with comments."""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from mainstay.inventory.errors import UsageError

# Names in a wheel can't begin with a dot without being lost by some tools.
_DOTTED = {"gitignore": ".gitignore", "gitkeep": ".gitkeep"}


def write_site(directory: Path, name: str | None = None) -> list[Path]:
    """Write a new site and give the files that were made. name: the folder's where it is not given.

    Raises UsageError where there is a site already, or a file in the way; nothing is overwritten.
    """
    root = directory.expanduser().resolve()
    if (root / "mainstay.yml").exists():
        raise UsageError(f"{root} is a site already", hint="Look at it with: mainstay check")
    wanted = [(root / path, content) for path, content in _contents(files(__package__) / "site", Path())]
    for path, _ in wanted:
        if path.exists():
            raise UsageError(f"{path} is there already, and nothing is overwritten", hint="Choose another folder.")
    title = re.sub(r"[^A-Za-z0-9_-]+", "-", name or root.name).strip("-_") or "site"
    try:
        for path, content in wanted:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content.replace("SITE_NAME", title).replace(*_key()), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{root} can't be written: {error.strerror}") from error
    return [path for path, _ in wanted]


def _key() -> tuple[str, str]:
    """The key that this user has, so that the new site reaches hosts at once; the line stays a comment without one."""
    line = "# key: file:~/.ssh/id_ed25519"
    for kind in ("ed25519", "ecdsa", "rsa"):
        path = Path(f"~/.ssh/id_{kind}")
        if path.expanduser().is_file():
            return line, f"key: file:{path}".ljust(len(line))
    return line, line


def _contents(folder: Traversable, place: Path) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            found += _contents(entry, place / entry.name)
        else:
            found.append((place / _DOTTED.get(entry.name, entry.name), entry.read_text(encoding="utf-8")))
    return found
