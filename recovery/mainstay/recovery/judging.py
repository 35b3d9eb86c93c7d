"""The verdict of a backup, from how it ended, what the repository says, and what was expected. Pure.

An exit status alone is not believed (restic 0.18 ends with 0 when one of two sources is missing, and saves an empty snapshot
of a dump that wrote nothing): a point is what the repository has, and is good when it is what it should be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from mainstay.inventory.names import clean
from mainstay.inventory.value import Value
from mainstay.recovery.anomalies import Past, find_anomalies, usual
from mainstay.recovery.expectations import Expectations, too_old
from mainstay.recovery.restic.exits import Meaning
from mainstay.recovery.restic.messages import BackupSummary, Said, Unreadable
from mainstay.recovery.words import counted, sized, span
from mainstay.runner.shell.printable import printable
from mainstay.runner.verdict import Verdict

Ending = Literal[Meaning, "lost"]
"""What restic's exit status means, or lost: nobody knows how it ended, or whether it has."""

NAMED = 5
"""So many of the unreadable are named in a reason."""
KEPT = 100
"""So many are kept in a judgement."""


class Dump(Value):
    """What is known of the program whose output was backed up."""

    producer: int | None = None
    """Its exit status; None: not known by itself (restic waited for it, and would have saved nothing)."""
    trailer: bool | None = None
    """Whether the end that this format has was seen. None: the format has none, or its end was not looked at."""


class Found(Value):
    """What is known after the backup of one source."""

    ending: Ending
    code: int | None = None
    """restic's exit status."""
    message: str = ""
    """The last that restic said of what went wrong."""
    in_repository: bool | None = None
    """Whether the repository has a snapshot of this run and source; None: it could not be asked."""
    files: int | None = None
    """All that were looked at; this and the following: None where not known."""
    bytes: int | None = None
    """Of the data, not of what was sent."""
    added: int | None = None
    """Bytes that were new to the repository."""
    new: int | None = None
    changed: int | None = None
    unmodified: int | None = None
    seconds: float | None = None
    unreadable: tuple[Unreadable, ...] = ()
    unreadable_count: int = Field(default=0, ge=0)
    """Where more than are listed."""
    missing: tuple[str, ...] = ()
    """Declared paths that are not there."""
    dump: Dump | None = None
    restic: str | None = None
    """Its version; None where it had been looked at before."""


def found_of(
    said: Said,
    ending: Ending,
    in_repository: bool | None,
    *,
    code: int | None = None,
    summary: BackupSummary | None = None,
    missing: Sequence[str] = (),
    dump: Dump | None = None,
    restic: str | None = None,
) -> Found:
    """From what restic said. summary: that of the snapshot in the repository, where there is one: it is believed before what
    was printed, which may have been lost. missing: declared paths that are known not to be there, beside those that restic
    named."""
    held = summary or said.summary
    return Found(
        ending=ending,
        code=code if code is not None else said.code,
        message=said.fatal or (said.words[-1] if said.words and ending != "done" else ""),
        in_repository=in_repository,
        files=held.files if held else None,
        bytes=held.bytes if held else None,
        added=held.added if held else None,
        new=held.files_new if held else None,
        changed=held.files_changed if held else None,
        unmodified=held.files_unmodified if held else None,
        seconds=held.seconds if held else None,
        unreadable=said.unreadable,
        unreadable_count=said.unreadable_count,
        missing=tuple(dict.fromkeys([*missing, *said.missing])),
        dump=dump,
        restic=restic,
    )


class Judgement(Value):
    """Of one source of one host."""

    source: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Why it is not succeeded, the gravest first."""
    remarks: tuple[str, ...] = ()
    """What does not speak against it."""
    anomalies: tuple[str, ...] = ()
    """Also among the reasons. They keep retention away until somebody has looked."""
    unreadable: tuple[Unreadable, ...] = ()
    """At most KEPT."""
    unreadable_count: int = 0

    @property
    def reason(self) -> str:
        return "; ".join(self.reasons)

    @property
    def is_point(self) -> bool:
        """Whether it counts as a recovery point."""
        return self.verdict in (Verdict.SUCCEEDED, Verdict.DEGRADED)


_Said = tuple[Verdict, str]
_GRAVEST = (Verdict.FAILED, Verdict.UNKNOWN, Verdict.DEGRADED)
"""Of one source: what has failed for certain is not made better by what else is not known."""

_NOT_DONE: Mapping[str, str] = {
    "failed": "restic failed",
    "no-repository": "there is no repository",
    "locked": "the repository is locked by somebody else",
    "wrong-password": "the password of the repository is wrong",
}


def judge(source: str, found: Found, history: Sequence[Past], expect: Expectations, now: datetime) -> Judgement:
    """source: its name in the plan. history: earlier points of the same host, plan and source, in any order.

    refused: its restic is too old and has saved nothing. failed: there is no point that could be relied on. unknown: it can't
    be known whether there is. degraded: there is, with something to look at.
    """
    old = too_old(found.restic) if found.restic is not None else None
    if old and found.in_repository is not True:
        return Judgement(source=source, verdict=Verdict.REFUSED, reasons=(old,))
    before = usual(history, now, expect.history)
    said: list[_Said] = [(Verdict.FAILED, old)] if old else []
    said += [*_ended(found), *_missing(found), *_dump(found)]
    anomalies: tuple[str, ...] = ()
    if found.in_repository is not False:
        said += [*_amount(found, expect), *_time(found, expect), *_unreadable(found)]
    if found.in_repository and not _empty(found):
        touched = None if found.new is None or found.changed is None else found.new + found.changed
        anomalies = tuple(find_anomalies(found.files, found.bytes, touched, before, expect))
        said += [(Verdict.DEGRADED, words) for words in anomalies]
    said.sort(key=lambda one: _GRAVEST.index(one[0]))
    remarks = () if before or not found.in_repository else ("there is no earlier good point to compare it with",)
    return Judgement(
        source=source,
        verdict=said[0][0] if said else Verdict.SUCCEEDED,
        reasons=tuple(words for _, words in said),
        remarks=remarks,
        anomalies=anomalies,
        unreadable=found.unreadable[:KEPT],
        unreadable_count=max(found.unreadable_count, len(found.unreadable)),
    )


def _ended(found: Found) -> Iterator[_Said]:
    there = found.in_repository
    if not_done := _NOT_DONE.get(found.ending):
        code = f" (exit status {found.code})" if found.code is not None else ""
        said = f": {printable(found.message)}" if found.message else ""
        yield Verdict.FAILED, f"{not_done}{code}{said}"
        if there:
            yield Verdict.FAILED, "what it left in the repository is not counted"
    elif there is None:
        yield Verdict.UNKNOWN, f"{_how(found)}, and the repository could not be asked for its snapshot"
    elif there:
        if found.ending in ("interrupted", "lost"):
            yield Verdict.DEGRADED, f"{_how(found)}; its snapshot is whole, what could not be read is not known"
        elif found.ending == "partial" and not (found.unreadable_count or found.unreadable or found.missing):
            yield Verdict.DEGRADED, "restic could not read everything, and did not say what"
    elif found.ending == "lost":
        yield Verdict.UNKNOWN, f"{_how(found)}, and the repository has no snapshot of it yet"
    else:
        yield Verdict.FAILED, f"{_how(found)}, and the repository has no snapshot of it"


def _how(found: Found) -> str:
    if found.ending == "interrupted":
        return "it was interrupted"
    if found.ending == "lost":
        return "how it ended is not known"
    return "restic said that it was done"


def _missing(found: Found) -> Iterator[_Said]:
    if found.missing:
        named = ", ".join(clean(path, 200) for path in found.missing[:NAMED])
        more = f" and {len(found.missing) - NAMED} more" if len(found.missing) > NAMED else ""
        yield Verdict.FAILED, f"declared, but not there: {named}{more}"


def _dump(found: Found) -> Iterator[_Said]:
    if found.dump is None:
        return
    if found.dump.producer:
        yield Verdict.FAILED, f"the program that writes the dump ended with {found.dump.producer}"
    if found.dump.trailer is False:
        yield Verdict.FAILED, "the dump does not end as a whole one does"


def _empty(found: Found) -> bool:
    return found.files == 0 or found.bytes == 0


def _amount(found: Found, expect: Expectations) -> Iterator[_Said]:
    if found.in_repository and (found.files is None or found.bytes is None):
        yield Verdict.UNKNOWN, "how much it holds is not known"
    if _empty(found) and not expect.may_be_empty:
        holds = "no file" if found.files == 0 else "0 bytes"
        yield Verdict.FAILED, f"it holds {holds} (may_be_empty: true, where that is as it should be)"
        return
    verdict = Verdict(expect.too_small)
    if expect.min_size is not None and found.bytes is not None and found.bytes < expect.min_size:
        yield verdict, f"{sized(found.bytes)}, and at least {sized(expect.min_size)} are expected"
    if expect.min_files is not None and found.files is not None and found.files < expect.min_files:
        yield verdict, f"{counted(found.files, 'file')}, and at least {expect.min_files:,} are expected"


def _time(found: Found, expect: Expectations) -> Iterator[_Said]:
    if expect.max_time is not None and found.seconds is not None and found.seconds > expect.max_time:
        yield Verdict.DEGRADED, f"it took {span(found.seconds)}, and at most {span(expect.max_time)} are expected"


def _unreadable(found: Found) -> Iterator[_Said]:
    count = max(found.unreadable_count, len(found.unreadable))
    if count:
        listed = found.unreadable[:NAMED]
        named = ", ".join(
            clean(one.item or "something", 200) + (f" ({printable(one.message, 100)})" if one.message else "")
            for one in listed
        )
        more = f" and {count - len(listed):,} more" if count > len(listed) else ""
        yield (
            Verdict.DEGRADED,
            f"could not be read: {named}{more}" if named else f"{counted(count, 'item')} could not be read",
        )


def together(judgements: Collection[Judgement], declared: Sequence[str] = ()) -> tuple[Verdict, str]:
    """A host's verdict and reason, from those of its sources. declared: names of all sources of its plan.

    What the plan promises is all of them: one that failed makes the host failed, however well the others went, and so does
    one that nothing is known to have been done about. Their points count all the same.
    """
    if judgements and all(one.verdict is Verdict.REFUSED for one in judgements):
        return Verdict.REFUSED, "; ".join(dict.fromkeys(one.reason for one in judgements))
    judged = {one.source for one in judgements}
    left = [name for name in declared if name not in judged]
    said = [(one.verdict, f"{one.source}: {one.reason}") for one in judgements]
    said += [(Verdict.FAILED, f"{name}: was not backed up") for name in left]
    if not said:
        return Verdict.FAILED, "nothing was backed up"
    order = (Verdict.UNKNOWN, Verdict.FAILED, Verdict.DEGRADED, Verdict.SUCCEEDED)
    said = [(Verdict.FAILED if verdict is Verdict.REFUSED else verdict, words) for verdict, words in said]
    said.sort(key=lambda one: order.index(one[0]))
    return said[0][0], "; ".join(words for verdict, words in said if verdict is not Verdict.SUCCEEDED)
