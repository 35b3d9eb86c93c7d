"""What a backup's verdict is: how it ended, what the repository has and what was expected, together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.recovery.anomalies import Past
from mainstay.recovery.expectations import Expectations
from mainstay.recovery.judging import (
    KEPT,
    NAMED,
    Dump,
    Ending,
    Found,
    Judgement,
    found_of,
    judge,
    together,
)
from mainstay.recovery.restic.messages import BackupSummary, Said, Unreadable
from mainstay.runner.verdict import Verdict

NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
WELL = Found(
    ending="done", code=0, in_repository=True, files=1000, bytes=10**9, added=10**6, new=3, changed=7, unmodified=990,
    seconds=60.0, restic="0.18.0",
)  # fmt: skip


def past(days: int, **more: Any) -> Past:
    return Past(**{"at": (NOW - timedelta(days=days)).isoformat(), "files": 1000, "bytes": 10**9, "changed": 10} | more)


HISTORY = [past(days) for days in range(1, 8)]


def judged(history: list[Past] = HISTORY, expect: Expectations = Expectations(), **found: Any) -> Judgement:  # noqa: B008  # frozen
    return judge("etc", WELL.model_copy(update=found), history, expect, NOW)


def test_what_is_whole_and_as_usual_has_succeeded() -> None:
    assert judged() == Judgement(source="etc", verdict=Verdict.SUCCEEDED)


S, D, F, U = Verdict.SUCCEEDED, Verdict.DEGRADED, Verdict.FAILED, Verdict.UNKNOWN
ENDINGS: dict[str, tuple[Verdict, Verdict, Verdict]] = {
    # ending: the snapshot is in the repository, is not, nobody could be asked
    "done": (S, F, U),
    "partial": (D, F, U),
    "failed": (F, F, F),
    "no-repository": (F, F, F),
    "locked": (F, F, F),
    "wrong-password": (F, F, F),
    "interrupted": (D, F, U),
    "lost": (D, U, U),
}


def test_every_ending_is_in_the_table() -> None:
    assert set(ENDINGS) == set(get_args(Ending))


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_exit_status_is_believed_without_the_repository(ending: str) -> None:
    found = [judged(ending=ending, in_repository=there) for there in (True, False, None)]
    assert tuple(one.verdict for one in found) == ENDINGS[ending]
    assert all(one.reasons for one in found if one.verdict is not S)


ROWS: dict[str, tuple[dict[str, Any], Verdict, str]] = {
    "no repository": ({"ending": "no-repository", "code": 10, "in_repository": False}, F, "no repository"),
    "locked": ({"ending": "locked", "code": 11, "in_repository": False}, F, "locked"),
    "wrong password": ({"ending": "wrong-password", "code": 12, "in_repository": None}, F, "password"),
    "unreadable child": (
        {"ending": "partial", "code": 3, "unreadable": (Unreadable(item="/etc/shadow", message="permission denied"),)},
        D,
        "could not be read: /etc/shadow (permission denied)",
    ),
    "one of two sources missing, which restic 0.18 ends with 0": (
        {"missing": ("/srv/gone",)},
        F,
        "not there: /srv/gone",
    ),
    "the same of 0.19, which ends with 3": ({"ending": "partial", "missing": ("/srv/gone",)}, F, "/srv/gone"),
    "all sources missing": ({"ending": "failed", "code": 1, "in_repository": False, "message": "no"}, F, "failed"),
    "a producer that dies half way, and restic ends with 0": ({"dump": Dump(producer=137, trailer=False)}, F, "137"),
    "a producer that wrote nothing; an empty snapshot is saved": (
        {"ending": "partial", "code": 3, "files": 1, "bytes": 0, "dump": Dump(producer=0)},
        F,
        "0 bytes",
    ),
    "a command that fails, and no snapshot": (
        {"ending": "failed", "code": 1, "in_repository": False, "dump": Dump(producer=4)},
        F,
        "ended with 4",
    ),
    "a dump without its end": ({"dump": Dump(producer=0, trailer=False)}, F, "does not end as a whole one"),
    "a dump in a format without one": ({"dump": Dump(producer=0, trailer=None)}, S, ""),
    "SIGTERM": ({"ending": "interrupted", "code": 130, "in_repository": False}, F, "interrupted"),
    "no file": ({"files": 0, "bytes": 0}, F, "no file"),
    "no file, whatever the bytes": ({"files": 0, "bytes": 7}, F, "no file"),
    "how much it holds is not known": ({"files": None, "bytes": None}, U, "not known"),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_restic_does_is_judged_as(row: str) -> None:
    found, verdict, words = ROWS[row]
    one = judged(**found)
    assert one.verdict is verdict
    assert words in one.reason


def test_what_is_certain_comes_first() -> None:
    one = judged(in_repository=None, missing=("/srv/a",), unreadable=(Unreadable(item="/srv/b"),))
    assert one.verdict is Verdict.FAILED  # and not unknown: the source is missing, whatever the repository has
    assert ["/srv/a" in one.reasons[0], "asked" in one.reasons[1], "/srv/b" in one.reasons[2]] == [True] * 3


def test_nothing_is_said_twice() -> None:
    assert len(judged(ending="partial", missing=("/srv/gone",)).reasons) == 1
    assert len(judged(files=0, bytes=0).reasons) == 1  # and not also how much less that is
    assert judged(files=0, bytes=0).anomalies == ()


def test_what_a_failed_backup_left_is_said_not_to_count() -> None:
    assert "not counted" in judged(ending="failed", code=1).reason
    assert "not counted" not in judged(ending="failed", code=1, in_repository=False).reason


def test_many_unreadable_files_are_named_up_to_a_bound_and_counted() -> None:
    many = tuple(Unreadable(item=f"/data/{number}") for number in range(2 * KEPT))
    one = judged(ending="partial", unreadable=many, unreadable_count=12345)
    assert (len(one.unreadable), one.unreadable_count) == (KEPT, 12345)
    assert one.reason.endswith(f"/data/4 and {12345 - NAMED:,} more")


def test_what_restic_and_file_names_say_can_not_write_on_a_terminal() -> None:
    one = judged(ending="partial", unreadable=(Unreadable(item="/a\x1b[2J\nb", message="\x1b]0;x\x07no\n"),))
    two = judged(ending="failed", message="Fatal: \x1b[31mred\nline")
    assert (one.reason + two.reason).isprintable()


def test_an_old_restic_is_refused_by_its_version_and_nothing_it_saved_is_believed() -> None:
    one = judged(restic="0.14.0", in_repository=False)
    assert (one.verdict, "0.14.0" in one.reason, "0.17.1" in one.reason) == (Verdict.REFUSED, True, True)
    assert judged(restic="0.14.0").verdict is Verdict.FAILED
    assert judged(restic="0.17.0").verdict is Verdict.FAILED
    assert judged(restic="whatever").verdict is Verdict.FAILED
    assert judged(restic="0.17.1").verdict is judged(restic="0.19.1-dev").verdict is judged(restic=None).verdict is S


@pytest.mark.parametrize(
    ("expect", "found", "verdict"),
    [
        ({"may_be_empty": True}, {"files": 0, "bytes": 0}, S),
        ({"may_be_empty": True}, {"files": None, "bytes": 0}, U),
        ({"min_size": "1GB"}, {}, S),
        ({"min_size": "1001MB"}, {}, F),
        ({"min_size": "2GB", "too_small": "degraded"}, {}, D),
        ({"min_files": 1000}, {}, S),
        ({"min_files": 1001}, {}, F),
        ({"min_files": 1001, "too_small": "degraded"}, {}, D),
        ({"max_time": "60s"}, {}, S),
        ({"max_time": "59s"}, {}, D),
    ],
)
def test_expectations(expect: dict[str, Any], found: dict[str, Any], verdict: Verdict) -> None:
    assert judged(expect=Expectations.model_validate(expect), **found).verdict is verdict


@pytest.mark.parametrize(
    "wrong",
    [
        {"drop": 90},
        {"drop": "0%"},
        {"drop": "101%"},
        {"drop": "nan%"},
        {"drop": True},
        {"usually": "none"},
        {"usually": "96%"},
        {"min_size": 5.5},
        {"min_files": 0},
        {"max_time": "0"},
        {"max_time": 30},
        {"history": 0},
        {"may_be_empty": True, "min_files": 1},
        {"dropped": "90%"},
    ],
)
def test_expectations_that_can_not_be_meant_are_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Expectations.model_validate(wrong)


def test_expectations_go_to_json_and_back() -> None:
    one = Expectations.model_validate({"drop": "50%", "changed": "none", "min_size": "3GiB", "max_time": "2h"})
    assert (one.drop, one.changed, one.max_time) == (50.0, None, 7200.0)
    assert Expectations.from_json(one.to_json()) == one


def test_what_restic_said_becomes_what_was_found_and_the_repository_is_believed_first() -> None:
    printed = BackupSummary(files=5, bytes=50, added=3, files_new=1, files_changed=2, files_unmodified=2, seconds=4.0)
    said = Said(summary=printed, unreadable=(Unreadable(item="/x"),), unreadable_count=7, missing=("/b",), code=3)
    one = found_of(said, "partial", True, missing=["/a", "/b"])
    assert (one.code, one.files, one.bytes, one.new, one.changed, one.seconds) == (3, 5, 50, 1, 2, 4.0)
    assert (one.unreadable_count, one.missing) == (7, ("/a", "/b"))
    assert found_of(said, "done", True, summary=BackupSummary(files=6)).files == 6
    lost = found_of(Said(), "lost", None)
    assert (lost.files, lost.bytes, lost.new, lost.seconds) == (None, None, None, None)
    assert found_of(Said(fatal="no space"), "failed", False).message == "no space"


# --- anomalies


def test_the_first_backup_has_nothing_to_be_compared_with_and_says_so() -> None:
    one = judged([], files=3, bytes=5, new=3, changed=0)
    assert (one.verdict, one.anomalies) == (S, ())
    assert "no earlier good point" in one.remarks[0]
    assert judged(HISTORY[:1]).remarks == ()


@pytest.mark.parametrize(("size", "anomalous"), [(100_000_001, False), (100_000_000, True), (1, True)])
def test_a_source_that_dropped_by_nine_tenths_is_an_anomaly(size: int, anomalous: bool) -> None:
    one = judged(bytes=size)
    assert (one.verdict, bool(one.anomalies)) == ((D, True) if anomalous else (S, False))
    assert one.reasons == one.anomalies
    assert not anomalous or "usual" in one.reason


def test_so_is_one_with_so_many_files_less() -> None:
    assert "90 files" in judged(files=90, new=0, changed=1).anomalies[0]


def test_one_bad_night_among_good_ones_does_not_set_what_is_usual() -> None:
    assert judged([past(1, bytes=10), *HISTORY[1:]], bytes=10**8).anomalies
    assert judged(bytes=10**8, expect=Expectations(drop=None)).verdict is S


def test_an_anomaly_says_nothing_of_what_is_usual_until_acknowledged_and_then_is_the_first_of_what_is() -> None:
    shrank = [past(days, bytes=10**7, anomalous=True) for days in (1, 2, 3, 4, 5)]
    assert judged([*shrank, *HISTORY[5:]], bytes=10**7).anomalies
    seen = [past(2, bytes=10**7, anomalous=True, acknowledged=True), *HISTORY[2:]]
    assert judged(seen, bytes=10**7).verdict is S  # not three nights of alarms until the median has followed
    assert judged(seen, bytes=10**6).anomalies


def test_a_point_from_the_future_says_nothing_of_what_is_usual() -> None:
    assert judged([past(-1, bytes=10**12)]).remarks
    assert judged([past(-1, bytes=10**12), *HISTORY]).verdict is S


ENCRYPTED: dict[str, Any] = {"new": 960, "changed": 0, "unmodified": 40}


def test_everything_changed_at_once_where_little_did_before_is_an_anomaly() -> None:
    assert "encrypted" in judged(**ENCRYPTED).anomalies[0]
    assert "encrypted" in judged(new=100, changed=860).anomalies[0]
    assert judged(new=0, changed=950).verdict is S
    assert judged(**ENCRYPTED, expect=Expectations(changed=None)).verdict is S


def test_where_all_of_it_changes_every_night_it_is_none() -> None:
    assert judged([past(days, changed=1000) for days in range(1, 8)], **ENCRYPTED).verdict is S
    assert judged([past(days, changed=200) for days in range(1, 8)], **ENCRYPTED).verdict is S
    assert judged([past(days, changed=199) for days in range(1, 8)], **ENCRYPTED).anomalies


def test_a_dump_changes_every_night_and_a_handful_of_files_means_nothing() -> None:
    few: dict[str, Any] = {"files": 1, "bytes": 10**9, "new": 1, "changed": 0}
    assert judged([past(days, files=1, changed=0) for days in range(1, 8)], **few).verdict is S


def test_the_first_point_to_which_all_was_new_says_nothing_of_what_usually_changes() -> None:
    first, second = past(2, changed=1000), past(1)
    assert judged([first], **ENCRYPTED).anomalies == ()
    assert judged([second, first], **ENCRYPTED).anomalies


# --- properties

FOUND = st.builds(
    Found,
    ending=st.sampled_from(get_args(Ending)),
    in_repository=st.sampled_from([True, False, None]),
    files=st.sampled_from([None, 0, 1, 9, 10, 1000]),
    bytes=st.sampled_from([None, 0, 1, 10**9]),
    new=st.sampled_from([None, 0, 1000]),
    changed=st.sampled_from([None, 0, 1000]),
    seconds=st.sampled_from([None, 0.0, 1e9]),
    unreadable=st.sampled_from([(), (Unreadable(item="/x"),)]),
    missing=st.sampled_from([(), ("/gone",)]),
    dump=st.none()
    | st.builds(Dump, producer=st.sampled_from([None, 0, 1]), trailer=st.sampled_from([None, True, False])),
    restic=st.sampled_from([None, "0.14.0", "0.18.0"]),
)
EXPECT = st.sampled_from(
    [Expectations(), Expectations(may_be_empty=True), Expectations(min_size=5), Expectations(too_small="degraded")]
)


@given(found=FOUND, expect=EXPECT, history=st.sampled_from([[], HISTORY, HISTORY[:1]]))
def test_nothing_is_green_that_is_not_in_the_repository_whole(
    found: Found, expect: Expectations, history: list[Past]
) -> None:
    one = judge("etc", found, history, expect, NOW)
    if one.verdict is S:
        assert found.in_repository is True
        assert found.ending == "done"
        assert not (found.missing or found.unreadable or found.restic == "0.14.0")
        assert found.dump is None or (not found.dump.producer and found.dump.trailer is not False)
        assert found.files is not None
        assert found.bytes is not None
        assert expect.may_be_empty or (found.files > 0 and found.bytes > 0)
    if one.is_point:  # also degraded: there is something to restore
        assert found.in_repository is True
        assert not found.missing
        assert expect.may_be_empty or (found.files and found.bytes)
    assert (one.verdict is S) == (not one.reasons)
    assert set(one.anomalies) <= set(one.reasons)
    assert Judgement.from_json(one.to_json()) == one


# --- a host


def of(name: str, verdict: Verdict) -> Judgement:
    return Judgement(source=name, verdict=verdict, reasons=() if verdict is S else ("why",))


@pytest.mark.parametrize(
    ("verdicts", "host"),
    [
        ([S, S], S),
        ([S, D], D),
        ([S, D, F], F),
        ([F, U], U),
        ([Verdict.REFUSED, Verdict.REFUSED], Verdict.REFUSED),
        ([S, Verdict.REFUSED], F),
        ([], F),
    ],
)
def test_a_host_is_as_well_as_its_worst_source(verdicts: list[Verdict], host: Verdict) -> None:
    found, reason = together([of(str(number), verdict) for number, verdict in enumerate(verdicts)])
    assert found is host
    assert (found is S) == (not reason)


def test_a_declared_source_that_nobody_has_taken_makes_the_host_failed() -> None:
    verdict, reason = together([of("etc", S)], ["etc", "db"])
    assert (verdict, reason) == (F, "db: was not backed up")
