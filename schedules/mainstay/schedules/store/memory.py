"""What the clock remembers, in memory: for tests and for trying things out. Held to the same suite as the real one."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping

from mainstay.schedules.store.contract import Approval, Carried, Notice, Vote, incredible


class MemorySchedules:
    """Implements ScheduleStore; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watermarks: dict[str, str] = {}
        self._carried: dict[tuple[str, str], Carried] = {}
        self._approvals: dict[tuple[str, str], Approval] = {}
        self._votes: dict[tuple[str, str, str], Vote] = {}
        self._notices: dict[str, Notice] = {}
        self._marks: dict[str, str] = {}
        self._leases: dict[str, tuple[str, str]] = {}

    def begin(self, schedule: str, at: str) -> str:
        with self._lock:
            return self._watermarks.setdefault(schedule, at)

    def begin_all(self, schedules: Collection[str], at: str) -> None:
        for schedule in schedules:
            self.begin(schedule, at)

    def watermarks(self) -> dict[str, str]:
        with self._lock:
            return dict(sorted(self._watermarks.items()))

    def advance(self, schedule: str, to: str) -> None:
        with self._lock:
            self._watermarks[schedule] = max(self._watermarks.get(schedule, to), to)

    def advance_all(self, to: Mapping[str, str]) -> None:
        for schedule, moment in to.items():
            self.advance(schedule, moment)

    def carry(self, carried: Carried) -> None:
        with self._lock:
            self._carried.setdefault((carried.plan, carried.host), carried)

    def carried(self, plan: str | None = None) -> list[Carried]:
        with self._lock:
            found = [one for one in self._carried.values() if plan is None or one.plan == plan]
        return sorted(found, key=lambda one: (one.at, one.plan, one.host))

    def settle(self, plan: str, host: str) -> None:
        with self._lock:
            self._carried.pop((plan, host), None)

    def ask(self, approval: Approval) -> None:
        with self._lock:
            for key, one in self._approvals.items():
                if one.run == approval.run and one.hash != approval.hash and one.withdrawn_at is None:
                    self._approvals[key] = one.model_copy(update={"withdrawn_at": approval.asked_at})
            there = self._approvals.get((approval.run, approval.hash))
            if there is None:
                self._approvals[approval.run, approval.hash] = approval
            elif there.withdrawn_at is not None:
                self._approvals[approval.run, approval.hash] = there.model_copy(update={"withdrawn_at": None})

    def approval(self, run: str) -> Approval | None:
        standing = [one for one in self.approvals() if one.run == run and one.withdrawn_at is None]
        return standing[0] if standing else None

    def approvals(self, *, open_at: str | None = None) -> list[Approval]:
        with self._lock:
            found = sorted(self._approvals.values(), key=lambda one: (one.asked_at, one.run, one.hash))
        if open_at is None:
            return found
        return [one for one in found if one.withdrawn_at is None and one.expires_at > open_at]

    def vote(self, vote: Vote) -> None:
        with self._lock:
            self._votes.setdefault((vote.run, vote.hash, vote.by), vote)

    def votes(self, run: str) -> list[Vote]:
        with self._lock:
            found = [one for one in self._votes.values() if one.run == run]
        return sorted(found, key=lambda one: (one.at, one.hash, one.by))

    def put_notice(self, notice: Notice) -> None:
        with self._lock:
            self._notices.setdefault(notice.id, notice)

    def due_notices(self, now: str) -> list[Notice]:
        return [one for one in self.undelivered() if one.next_try_at <= now]

    def undelivered(self) -> list[Notice]:
        with self._lock:
            found = [one for one in self._notices.values() if one.delivered_at is None]
        return sorted(found, key=lambda one: (one.made_at, one.id))

    def note_try(self, id: str, *, at: str, error: str = "", next_try_at: str = "") -> None:
        with self._lock:
            there = self._notices.get(id)
            if there is None or there.delivered_at is not None:
                return
            new = {
                "tries": there.tries + 1,
                "error": error,
                "next_try_at": next_try_at,
                "delivered_at": None if error else at,
            }
            self._notices[id] = there.model_copy(update=new)

    def mark(self, name: str) -> str | None:
        with self._lock:
            return self._marks.get(name)

    def marks(self, prefix: str) -> dict[str, str]:
        with self._lock:
            return {name: value for name, value in sorted(self._marks.items()) if name.startswith(prefix)}

    def set_mark(self, name: str, value: str) -> None:
        with self._lock:
            self._marks[name] = value

    def raise_mark(self, name: str, value: str) -> bool:
        with self._lock:
            there = self._marks.get(name)
            if there is not None and there >= value:
                return False
            self._marks[name] = value
            return True

    def lease(self, name: str, holder: str, *, now: str, until: str) -> bool:
        with self._lock:
            there = self._leases.get(name)
            if there is not None and there[0] != holder and now < there[1] <= incredible(until):
                return False
            self._leases[name] = (holder, until)
            return True

    def close(self) -> None:
        return None
