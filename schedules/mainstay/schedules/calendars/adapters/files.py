"""What was fetched, kept in a folder of the state: one file for each calendar, that only its owner can read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mainstay.schedules.calendars.contract import LARGEST, CalendarSource, Kept


class FileShelf:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, source: CalendarSource) -> Kept:
        try:
            with self._path(source).open("rb") as handle:
                return Kept.model_validate_json(handle.read(8 * LARGEST))
        except (OSError, ValueError):  # what can't be read is fetched again
            return Kept()

    def save(self, source: CalendarSource, kept: Kept) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(kept.model_dump_json().encode("utf-8", "backslashreplace"))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path(source))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def stamp(self, source: CalendarSource) -> object:
        try:
            found = self._path(source).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _path(self, source: CalendarSource) -> Path:
        return self._folder / f"{source.key}.json"
