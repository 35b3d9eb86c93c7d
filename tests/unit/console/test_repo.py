"""`mainstay repo`: what people do at repositories, and what the daemon does there by itself."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection
from datetime import UTC
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.unit.console.conftest import Mainstay, until
from tests.unit.console.fakes import NOW
from tests.unit.console.keeping import RUN, SITE, ago, backed_up, point
from tests.unit.console.repositories import HOSTS, Keeping, again, keeping, made

from mainstay.console import tending
from mainstay.console.errand_ends import ended
from mainstay.console.render import repositories as render
from mainstay.console.render.spans import plain
from mainstay.recovery.points.contract import Tended, Vault
from mainstay.recovery.retention.strays import IN_VAIN
from mainstay.runner.record import HostPart, Step
from mainstay.runner.state.contract import RunRow
from mainstay.runner.verdict import Verdict


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeping:
    return keeping(tmp_path, monkeypatch)


def test_every_repository_is_listed_and_a_key_that_is_nowhere_else_is_said(app: Keeping, mainstay: Mainstay) -> None:
    app.points.note_vault(Vault("main", "web1", "0123456789abcdef", ago(24), "R1", ago(1), "anna@ops1"))
    app.points.note_tended(Tended("main", "web1", "prune", "", "failed", "R2", ago(2), "failed", "locked"))
    out = mainstay("repo").out
    assert out.splitlines()[0].split()[:3] == ["repository", "host", "id"]
    assert "01234567" in out
    assert "failed" in out
    assert "mainstay repo key export" in out
    found = {(one["repository"], one["host"]): one for one in mainstay("repo", "list", "--json").json}
    assert set(found) == {(name, host) for name in ("main", "offsite") for host in HOSTS}
    assert found["main", "web1"]["escrow_by"] == "anna@ops1"
    assert found["main", "web2"]["id"] is None
    assert found["main", "web1"]["tended"][0]["part"] == "failed"


def test_init_asks_for_a_run_at_each_repository_of_the_plan(app: Keeping, mainstay: Mainstay) -> None:
    result = mainstay("repo", "init", "nightly", "--yes")
    assert result.code == 0
    asked = [(one.kind, one.operation["repository"], one.errand, len(one.hosts)) for one in app.runs.requests]
    assert asked == [("init", "main", True, 4), ("init", "offsite", True, 4)]


def test_an_unlock_behind_a_run_that_nobody_works_on_says_how_that_one_goes_on(
    app: Keeping, mainstay: Mainstay
) -> None:
    app.state.add_run(RunRow(id=RUN, kind="prune", plan="nightly", state="running", request={}, started_at=ago(1)))
    app.state.take_slots(RUN, "web1", {"errand:web1": 1})
    app.left, said = {RUN}, threading.Event()
    known = app.left_behind

    def left_behind(runs: Collection[str]) -> set[str]:
        said.set()
        return known(runs)

    app.left_behind = left_behind  # type: ignore[method-assign]  # what it says, and that it was asked
    app.during = lambda run: until(said)
    told = " ".join(mainstay("repo", "unlock", "nightly", "--repository", "main").err.split())

    assert f"waits for run {RUN}" in told and f"mainstay runs resume {RUN} brings it to its end" in told


def test_who_makes_a_repository_over_points_that_are_known_is_told(app: Keeping, mainstay: Mainstay) -> None:
    new = mainstay("repo", "init", "nightly", "--repository", "main", "--yes")
    assert "Points are known" not in new.err
    app.points.add_point(point("web1", 5))
    again = mainstay("repo", "init", "nightly", "--repository", "main", "--no-input")
    assert again.code == 2
    assert "Points are known in main of web1." in again.err
    assert "Make the repositories of main for 4 hosts?" in again.err


def test_an_export_into_the_site_is_to_be_moved_away(app: Keeping, mainstay: Mainstay, tmp_path: Path) -> None:
    made(app, *HOSTS)
    inside = app.site.root / "keys.json"
    assert "never commit it" in mainstay("repo", "key", "export", "nightly", "--to", str(inside)).err
    outside = tmp_path / "keys.json"
    assert "never commit it" not in mainstay("repo", "key", "export", "nightly", "--to", str(outside)).err


def test_nothing_is_made_where_nobody_says_yes(app: Keeping, mainstay: Mainstay) -> None:
    assert mainstay("repo", "init", "nightly", "--no-input").code == 2
    assert app.runs.requests == []


def test_retention_is_shown_point_by_point_and_nothing_is_done(app: Keeping, mainstay: Mainstay) -> None:
    made(app, *HOSTS)
    result = mainstay("repo", "retention", "nightly", "--repository", "main", "--hosts", "web1", "-n")
    assert result.code == 0
    assert "the plan has no retention:, so that everything is kept" in result.out
    assert result.out.splitlines()[-1] == "Nothing was changed."
    assert app.runs.requests == []


def test_retention_that_removes_nothing_asks_nothing_and_says_so(app: Keeping, mainstay: Mainstay) -> None:
    made(app, *HOSTS)
    result = mainstay("repo", "retention", "nightly", "--repository", "main", "--hosts", "web1", "--no-input")
    assert result.code == 0
    assert result.err.splitlines()[-1] == "Nothing is to go, so nothing was done."
    assert "Nothing was changed." not in result.err
    assert app.runs.requests == []


def test_of_many_hosts_only_what_goes_is_shown() -> None:
    def look(*items: tuple[str, str, str]) -> Any:
        return SimpleNamespace(forecast=SimpleNamespace(items=items, notes=()), error="")

    stays, leaves = ("etc aaa", "2026-12-01T01:30:00Z", "daily"), ("etc bbb", "2026-11-01T01:30:00Z", "")
    found = {f"web{number}": look(stays, leaves) if number == 7 else look(stays) for number in range(1, 41)}
    out = plain(render.preview("retention", "main", found, 100, ZoneInfo("Europe/Berlin"), dry=False)).splitlines()
    assert out == [
        "retention at main",
        "  web7  2 → 1 point",
        "    -   etc bbb   Sun 2026-11-01 02:30   goes",
        "  web1, web2, web3, web4, web5, web6, web8, web9, web10, web11, … (39 hosts): nothing goes",
    ]
    assert plain(render.preview("prune", "main", {"web1": look(), "web2": look()}, 100, UTC)).splitlines() == [
        "prune at main",
        "  web1, web2: would free the space of what retention has removed",
        "Nothing was changed.",
    ]
    held = look(("0a1b2c", "of root on web1, process 4711, which has ended", ""), ("ffeedd", "", "stays"))
    assert plain(render.preview("lock", "main", {"web1": held}, 100, UTC)).splitlines()[2:4] == [
        "        ffeedd                                                    stays",
        "    -   0a1b2c   of root on web1, process 4711, which has ended   goes",
    ]


def test_the_list_fits_on_a_screen(app: Keeping, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    made(app, *HOSTS)
    out = mainstay("repo", "list").out
    assert max(map(len, out.splitlines())) <= 100, out
    assert "mainstay repo key export nightly --to FILE" in " ".join(out.split())


def test_what_a_verb_can_not_do_is_said_before_anything(app: Keeping, mainstay: Mainstay) -> None:
    wrong = mainstay("repo", "prune", "patch-web")
    assert wrong.code == 2
    assert "patch-web is of the kind patch" in wrong.err
    unknown = mainstay("repo", "prune", "nightly", "--repository", "man")
    assert unknown.code == 2
    assert 'Did you mean "main"?' in unknown.err
    two = mainstay("repo", "check", "nightly", "--json")
    assert two.code == 2
    assert "Name it: --repository NAME" in two.out + two.err
    assert app.runs.requests == []


def test_a_key_that_was_exported_and_read_back_is_confirmed(app: Keeping, mainstay: Mainstay, tmp_path: Path) -> None:
    made(app, *HOSTS)
    file = tmp_path / "keys.json"
    assert mainstay("repo", "key", "export", "nightly", "--to", str(file)).code == 0
    assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(file.read_text())["passwords"][0]["password"] == "the word of db1"
    result = mainstay("repo", "key", "confirm", "nightly", "--from", str(file))
    assert (result.code, result.err.splitlines()[0]) == (0, "8 passwords are confirmed.")
    vault = app.points.vault("main", "db1")
    assert vault is not None
    assert vault.escrow_by == "anna@ops1"
    assert "the word of" not in result.out + result.err


def test_an_export_never_writes_over_a_file(app: Keeping, mainstay: Mainstay, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text("mine")
    result = mainstay("repo", "key", "export", "nightly", "--to", str(file))
    assert result.code == 2
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda entries: entries.pop(0), "it is not in the file"),
        (lambda entries: entries[0].update(password="old"), "the file has another password than the one in use"),
    ],
    ids=["left out", "another one"],
)
def test_a_key_that_is_not_the_one_in_use_is_not_confirmed(
    app: Keeping, mainstay: Mainstay, tmp_path: Path, change: Any, why: str
) -> None:
    made(app, *HOSTS)
    file = tmp_path / "keys.json"
    mainstay("repo", "key", "export", "nightly", "--to", str(file))
    data = json.loads(file.read_text())
    change(data["passwords"])
    file.write_text(json.dumps(data))
    result = mainstay("repo", "key", "confirm", "nightly", "--from", str(file))
    assert result.code == 1
    assert f"not confirmed: main of db1: {why}" in result.err
    assert app.points.vault("main", "db1") is None
    assert app.points.vault("main", "web2") is not None


def test_a_key_that_opens_nothing_is_not_confirmed(app: Keeping, mainstay: Mainstay, tmp_path: Path) -> None:
    made(app, "web1", "web2", "web10")
    file = tmp_path / "keys.json"
    mainstay("repo", "key", "export", "nightly", "--to", str(file))
    result = mainstay("repo", "key", "confirm", "nightly", "--from", str(file))
    assert result.code == 1
    assert "not confirmed: main of db1: there is no such repository yet" in result.err


@pytest.mark.parametrize("text", ["", "[]", '{"passwords": 1}', "\x00"])
def test_a_file_that_is_no_export_is_refused(app: Keeping, mainstay: Mainstay, tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(text)
    result = mainstay("repo", "key", "confirm", "nightly", "--from", str(file))
    assert result.code == 2
    assert "is no export of passwords" in result.err


def test_what_a_failed_backup_left_is_in_the_diff_and_removed_with_it(app: Keeping, mainstay: Mainstay) -> None:
    """The run that made it is looked up; of one that is at work nothing goes."""
    site = SITE["schedules/backup.yml"] + "    retention: {last: 2}\n"
    app = again(app, **{"schedules/backup.yml": site})
    made(app, "web1")
    plan = tending.backup_plans(app)[0]
    there = app.memory.make(app.depot.access(plan.repositories["main"], "web1", "maintain"))
    tags = ["mainstay", f"run={RUN}", "plan=nightly", "source=etc"]
    stray = there.back_up({"/etc/x": b"x"}, host="web1", tags=tags, at=ago(50))
    newer = point("web1", 5, id=there.back_up({"/etc/x": b"x"}, host="web1", tags=["mainstay"], at=ago(5)), run="R9")
    app.points.add_point(newer)
    backed_up(app, RUN, {"web1": Verdict.FAILED}, launched)
    errand = tending.errands(app)["retention"](tending.by_hand(app, plan, "retention", "main", "web1", app.asking()))
    found = errand.preview(app.targets(plan, "web1")[0], NOW.timestamp())
    assert (f"no point: etc {stray[:12]}", ago(50), "") in found.items
    lines = render.preview("retention", "main", {"web1": SimpleNamespace(forecast=found, error="")}, 200, UTC)  # type: ignore[dict-item]
    shown = "\n".join("".join(getattr(part, "text", str(part)) for part in line) for line in lines)
    assert "1 → 1 point; 1 → 0 snapshots that are no points" in shown
    live = there.back_up({"/etc/x": b"x"}, host="web1", tags=["mainstay", "run=R8", *tags[2:]], at=ago(50))
    app.state.add_run(RunRow(id="R8", kind="backup", plan="nightly", state="running", request={}, started_at=ago(51)))
    errand = tending.errands(app)["retention"](tending.by_hand(app, plan, "retention", "main", "web1", app.asking()))
    found = errand.preview(app.targets(plan, "web1")[0], NOW.timestamp())
    assert {name: bool(stays) for name, _, stays in found.items if name.startswith("no point")} == {
        f"no point: etc {stray[:12]}": False,
        f"no point: etc {live[:12]}": True,
    }


def test_points_of_a_plan_that_is_no_more_are_named_by_retention_alone(app: Keeping, mainstay: Mainstay) -> None:
    made(app, *HOSTS)
    for hours in (50, 26):
        app.points.add_point(point("web1", hours, plan="night"))
    app.points.add_point(point("web1", 5))
    said = mainstay("repo", "retention", "nightly", "--repository", "main", "--hosts", "web1", "-n").err
    assert "Points of a plan that is no more: night: 2 points of web1 in main. They stay for ever." in said
    assert "renamed_from: night" in said
    assert "mainstay repo retention night --before DATE -n" in said
    assert "no more" not in mainstay("repo", "retention", "nightly", "--repository", "offsite", "-n").err


def test_points_of_a_plan_and_a_host_that_are_no_more_can_be_removed(app: Keeping, mainstay: Mainstay) -> None:
    made(app, "web1")
    declared = tending.backup_plans(app)[0].repositories["main"]
    (app.site.root / "keys" / "gone").touch(0o600)
    (app.site.root / "keys" / "gone").write_text("the word of gone\n")
    for host in ("web1", "gone"):
        there = app.memory.make(app.depot.access(declared, host, "maintain"))
        for days in (60, 40, 1):
            id = there.back_up({"/x": b"x"}, host=host, tags=["mainstay"], at=ago(days=days))
            app.points.add_point(point(host, days * 24, id=id, plan="night"))
    none = mainstay("repo", "retention", "night", "-n")
    assert none.code == 2 and "mainstay repo retention night --before 2026-11-20 -n" in none.err
    asked = ("repo", "retention", "night", "--before", ago(days=30)[:10])
    seen = mainstay(*asked, "-n", "--json").json
    assert [one["host"] for one in seen["hosts"]] == ["gone", "web1"]
    assert [{when: bool(why) for _, when, why in one["items"]} for one in seen["hosts"]] == [
        {ago(days=60): False, ago(days=40): False, ago(days=1): True}
    ] * 2
    assert app.runs.requests == []
    done = mainstay(*asked, "--confirm=night")
    assert done.code == 0 and "3 → 1 point" in done.err
    (request,) = app.runs.requests
    assert (request.kind, request.plan, request.errand, request.window) == ("retention", "night", True, None)
    assert [host.name for host in request.hosts] == ["gone", "web1"]
    errand = tending.errands(app)["retention"](request)
    assert len([1 for *_, why in errand.preview(request.hosts[0], NOW.timestamp()).items if not why]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nightly", "--before", "2026-01-01", "-n"), "is a plan of the site"),
        (("night", "--before", "2026-01-01"), "--confirm=night removes it, for good"),
        (("night", "--before", "2026-01-01", "--confirm=nigth"), "--confirm=nigth is not the name that is meant"),
        (("nigth", "--before", "2026-01-01", "-n"), 'Did you mean "night"'),
        (("night", "--before", "someday", "-n"), "is no time"),
        (("night", "--before", "2126-01-01", "-n"), "is in the future"),
        (("night", "--before", "2026-01-01", "--hosts", "web1", "-n"), "leave --hosts out"),
        (("night", "--before", "2026-01-01", "--repository", "offsite", "-n"), "are in main alone"),
        (("nightly", "--all", "-n"), "with --before alone"),
    ],
)
def test_what_is_asked_of_a_plan_that_is_no_more_in_a_wrong_way_is_an_error(
    app: Keeping, mainstay: Mainstay, words: tuple[str, ...], said: str
) -> None:
    made(app, "web1")
    app.points.add_point(point("web1", 50, plan="night"))
    result = mainstay("repo", "retention", *words)
    assert result.code == 2
    assert said in result.err
    assert app.runs.requests == []


def launched(host: str, verdict: Verdict) -> HostPart:
    step = Step(name="apply.launch", verdict=Verdict.SUCCEEDED, started_at=ago(50), finished_at=ago(50))
    return HostPart(host=host, verdict=verdict, steps=(step,))


def test_a_run_that_began_no_job_has_left_nothing(app: Keeping) -> None:
    """Runs of one schedule have the same ids on every controller: of one that was refused, the snapshot is another's good one."""
    runs = {f"R{number}": verdict for number, verdict in enumerate(IN_VAIN)}
    for run, verdict in runs.items():
        backed_up(app, run, {"web1": verdict}, lambda host, verdict: HostPart(host=host, verdict=verdict))
    backed_up(app, "R9", {"web1": Verdict.FAILED, "web2": Verdict.SUCCEEDED}, launched)
    of = ended(app)
    assert {of(run, "web1") for run in runs} == {None}
    assert (of("R9", "web1"), of("R9", "web2")) == (Verdict.FAILED, Verdict.SUCCEEDED)
