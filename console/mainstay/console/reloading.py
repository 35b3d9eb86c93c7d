"""A site that is edited while it is served: taken where it passes the check, otherwise the last good one stays."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from logging import INFO, WARNING
from pathlib import Path
from typing import TYPE_CHECKING

from mainstay.inventory.errors import Problem
from mainstay.inventory.site import FOLDERS, MAIN, Site
from mainstay.inventory.value import digest
from mainstay.runner.log.events import tell
from mainstay.runner.steps import rfc3339
from mainstay.schedules.check import LoadedSite, check_site

if TYPE_CHECKING:
    from mainstay.console.bootstrap import Application

LOOK_EVERY = 5.0
"""Seconds between two looks at the site's files."""
TROUBLE = "serve.site.trouble"
"""Mark: why the site as it is now is not what is served (JSON: since, message, on); empty where it is."""
FIXED = ("name", "state_url", "state_dir", "state_password", "ledger_key", "known_hosts", "anchors", "health")
"""What a process that serves stands on: another value of it takes a restart."""


class SiteWatch:
    """take: makes another site the one that is served; what it raises leaves the old one. reloading: entered around a try."""

    def __init__(
        self,
        app: Application,
        take: Callable[[LoadedSite], None],
        *,
        every: float = LOOK_EVERY,
        reloading: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._app = app
        self._take = take
        self._every = every
        self._reloading = reloading
        self._seen = fingerprint(app.site.root)
        self._told, self._mark = "", ""
        self._wanted, self._stopped = threading.Event(), threading.Event()

    def start(self) -> None:
        self._say("")
        threading.Thread(target=self._watch, name="site-watch", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()
        self._wanted.set()

    def now(self) -> None:
        """Look at once, whether anything has changed or not (SIGHUP). Safe to call from a signal's handler."""
        self._wanted.set()

    def _watch(self) -> None:
        while not self._stopped.is_set():
            asked = self._wanted.wait(self._every)
            self._wanted.clear()
            if self._stopped.is_set():
                return
            try:
                self.look(asked=asked)
            except Exception as error:  # whatever it is, the last good site is served on
                tell(WARNING, "site could not be looked at", fault=error)

    def look(self, *, asked: bool = False) -> bool:
        """Whether another site was taken."""
        found = fingerprint(self._app.site.root)
        if found == self._seen and not asked:
            self._say_again()
            return False
        with self._reloading():
            loaded, problems, _ = check_site(self._app.site.root)
            if fingerprint(self._app.site.root) != found:
                return False  # somebody is writing it just now: the next look sees the whole
            trouble = _in_words(problems) if loaded is None else _fixed(self._app.site, loaded.site)
            if loaded is not None and not trouble:
                self._take(loaded)
                tell(INFO, "site taken", site=loaded.site.name, plans=len(loaded.plans), hosts=len(loaded.site.hosts))
            self._say(trouble)
            self._seen = found
        return not trouble

    def _say(self, trouble: str) -> None:
        if trouble == self._told and trouble:
            return
        self._told = trouble
        if not trouble:
            if self._app.schedule_store.mark(TROUBLE):
                self._app.schedule_store.set_mark(TROUBLE, "")
            return
        tell(WARNING, "site not taken", reason=trouble, served="the last one that was right")
        body = {"since": rfc3339(self._app.clock.now()), "message": trouble, "on": os.uname().nodename}
        self._mark = json.dumps(body)
        self._app.schedule_store.set_mark(TROUBLE, self._mark)

    def _say_again(self) -> None:
        """The mark is one for all that serve: another, whose site is well, may have taken it away."""
        if self._told and not self._app.schedule_store.mark(TROUBLE):
            self._app.schedule_store.set_mark(TROUBLE, self._mark)


def trouble(app: Application) -> str:
    """Why what is served is not the site as it is now, in one sentence; empty where it is, or nobody has served."""
    said = app.schedule_store.mark(TROUBLE)
    if not said:
        return ""
    body = json.loads(said)
    return f"mainstay serve on {body['on']} works from the site as it was before {body['since']}: {body['message']}"


def fingerprint(root: Path) -> str:
    """Of the site's own files: another one where any was changed. Reads no content: names, sizes, times and inodes."""
    return digest([[str(path.relative_to(root)), *_stat(path)] for path in sorted(_files(root))])


def _files(root: Path) -> Iterator[Path]:
    yield root / MAIN
    yield from root.glob("*.ics")
    for folder in FOLDERS:
        for here, folders, names in os.walk(root / folder, followlinks=False):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (Path(here, name) for name in names if not name.startswith("."))


def _stat(path: Path) -> list[int]:
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_mtime_ns, found.st_size, found.st_ino]


def _in_words(problems: list[Problem]) -> str:
    first = str(problems[0])
    return first if len(problems) == 1 else f"{first} (and {len(problems) - 1} more: mainstay check)"


def _fixed(old: Site, new: Site) -> str:
    changed = [word for word in FIXED if getattr(old, word) != getattr(new, word)]
    return f"{', '.join(changed).replace('_', ' ')} changed: that takes a restart of mainstay serve" if changed else ""
