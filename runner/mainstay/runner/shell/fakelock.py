"""Owner, fence and lock of a fake host: the rules of scripts.py once more, in Python."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass(slots=True)
class FakeLock:
    """What the files `owner`, `lock` and `fence` hold; a test may set them as another controller would have."""

    site: str = ""
    state: str = ""
    last_run: str = ""
    run: str = ""
    since: str = ""
    fence: int = 0
    _alone: threading.Lock = field(default_factory=threading.Lock)

    def text(self) -> str:
        """As scripts.READ_LOCK prints it."""
        lines = []
        if self.state:
            lines += [f"owner site={self.site}", f"owner state={self.state}", f"owner run={self.last_run}"]
        if self.run:
            lines += [f"lock run={self.run}", f"lock since={self.since}"]
        return "\n".join([*lines, f"fence {self.fence}"]) + "\n"

    def check(self, number: int, state: str, run: str) -> list[str]:
        """Why a fenced command is refused, as the host's words; empty where it isn't. Notes the number."""
        with self._alone:
            if not self.state:
                return ["unowned"]
            if self.state != state:
                return ["owner", self.site, self.state, self.last_run]
            if number < self.fence:
                return ["old", str(self.fence), self.run]
            if self.run != run:
                return ["lock", self.run, self.since]
            self.fence = number
            return []

    def change(self, words: list[str]) -> str:
        """As scripts.CHANGE_LOCK: its parameters → what it prints."""
        action, _, number, state, run, site, *stale = words
        with self._alone:
            before = "\t".join([self.site, self.state, self.last_run, self.run, str(self.fence)])
            refused = self._refused(action, int(number), state, run, stale)
            if refused:
                return "\t".join(["mainstay-lock refused", *refused]) + "\n"
            self._apply(action, int(number), state, run, site)
            return f"mainstay-lock ok\n{before}\n"

    def _refused(self, action: str, number: int, state: str, run: str, stale: list[str]) -> list[str]:
        other = bool(self.state) and self.state != state
        if other and action == "acquire":
            return ["owner", self.site, self.state, self.last_run]
        concerned = {"acquire": True, "release": self.run == run and not other, "adopt": not other}[action]
        if concerned and number < self.fence:
            return ["old", str(self.fence), self.run]
        if action == "acquire" and self.run and self.run != run and self.run not in stale:
            return ["lock", self.run, self.since]
        return []

    def _apply(self, action: str, number: int, state: str, run: str, site: str) -> None:
        if action == "adopt":
            self.site, self.state, self.last_run, self.run, self.fence = site, state, run, "", number
        elif action == "acquire":
            self.site, self.state, self.run, self.fence = site, state, run, number
            self.since = "2026-01-01T00:00:00Z"
        elif self.run == run and self.state == state:
            self.last_run, self.run = run, ""
