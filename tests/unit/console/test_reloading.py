"""A site that is edited while it is served is taken whole and right, or not at all; who serves what is said."""

from __future__ import annotations

import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import NOW, SITE, FakeApplication, write_site

from mainstay.console import gating, reloading
from mainstay.console.bootstrap import Application
from mainstay.console.reloading import SiteWatch, fingerprint, trouble
from mainstay.inventory.errors import UsageError
from mainstay.runner.steps import rfc3339
from mainstay.schedules.check import LoadedSite, check_site
from mainstay.schedules.clock.sweeping import HEARTBEAT
from mainstay.schedules.freezes import Freezes

PLANS = "schedules/web.yml"
RIGHT = (
    'windows:\n  night: {on: daily, start: "02:00", duration: 3h}\n'
    "plans:\n  patch-night: {targets: role=web, window: night}\n"
)
EDITED = RIGHT.replace("02:00", "03:00")
WRONG = RIGHT.replace("3h", "3x")


def serve_finding(mainstay: Mainstay) -> dict[str, str]:
    found = mainstay("doctor", "--controller", "--json").json["findings"]
    (one,) = (each for each in found if each["topic"] == "serve")
    return dict(one)


@pytest.fixture
def root(app: FakeApplication) -> Path:
    key = app.site.root / "key"
    key.write_text("")
    write_site(app.site.root, **{PLANS: RIGHT})
    return app.site.root


@pytest.fixture
def taken() -> list[LoadedSite]:
    return []


@pytest.fixture
def watch(app: FakeApplication, root: Path, taken: list[LoadedSite]) -> SiteWatch:
    def take(loaded: LoadedSite) -> None:
        app.take(loaded)
        taken.append(loaded)

    return SiteWatch(app, take)


def edit(root: Path, **texts: str) -> None:
    """As an editor does: another file in its place."""
    for name, text in texts.items():
        draft = root / f".{os.getpid()}.draft"
        draft.write_text(text)
        draft.rename(root / name)


def test_an_edit_is_taken_once(watch: SiteWatch, root: Path, taken: list[LoadedSite], app: FakeApplication) -> None:
    assert not watch.look()
    edit(root, **{PLANS: EDITED})
    assert watch.look()
    assert not watch.look()
    assert [one.windows["night"].start for one in taken] == ["03:00"]
    assert app.loaded is taken[0]


def test_what_does_not_pass_the_check_is_not_taken_and_that_is_said(
    watch: SiteWatch, root: Path, taken: list[LoadedSite], app: FakeApplication, mainstay: Mainstay
) -> None:
    app.schedule_store.set_mark(HEARTBEAT, rfc3339(NOW))
    before = app.loaded
    edit(root, **{PLANS: WRONG})
    assert not watch.look()
    assert (taken, app.loaded) == ([], before)
    said = trouble(app)
    assert said.startswith(
        f"mainstay serve on {os.uname().nodename} works from the site as it was before 2026-12-11T01:30:00"
    )
    assert "schedules/web.yml:2" in said and '"3x" is no duration' in said
    assert f"look  {said}" in mainstay("status").out.replace("\n      ", " ")
    assert "3x" in mainstay("status", "--nagios").out
    finding = serve_finding(mainstay)
    assert (finding["health"], finding["message"]) == ("wrong", said)
    edit(root, **{PLANS: EDITED})
    assert watch.look()
    assert trouble(app) == ""
    assert serve_finding(mainstay)["health"] == "well"


def test_another_that_is_well_hides_no_trouble(
    watch: SiteWatch, root: Path, app: FakeApplication, taken: list[LoadedSite]
) -> None:
    edit(root, **{PLANS: WRONG})
    watch.look()
    said = trouble(app)
    assert said
    SiteWatch(app, taken.append)._say("")  # as one does that starts on another machine
    assert not watch.look() and trouble(app) == said
    edit(root, **{PLANS: EDITED})
    assert watch.look() and trouble(app) == ""


def test_what_is_written_just_now_is_looked_at_when_it_is_whole(
    watch: SiteWatch, root: Path, taken: list[LoadedSite], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = check_site

    def meanwhile(directory: Path) -> object:
        found = real(directory)
        edit(root, **{"inventory/hosts.yml": SITE["inventory/hosts.yml"].replace("web10", "web11")})
        return found

    edit(root, **{PLANS: EDITED})
    monkeypatch.setattr(reloading, "check_site", meanwhile)
    assert not watch.look()
    assert taken == []
    monkeypatch.setattr(reloading, "check_site", real)
    assert watch.look()
    assert "web11" in [host.name for host in taken[0].site.hosts]


@pytest.mark.parametrize(
    ("line", "word"),
    [("site: beta", "name"), ("site: acme\nstate: sqlite:///elsewhere/mainstay.db", "state url")],
)
def test_what_it_stands_on_takes_a_restart(
    watch: SiteWatch, root: Path, taken: list[LoadedSite], app: FakeApplication, line: str, word: str
) -> None:
    edit(root, **{"mainstay.yml": SITE["mainstay.yml"].replace("site: acme", line)})
    assert not watch.look()
    assert taken == []
    assert f"{word} changed: that takes a restart of mainstay serve" in trouble(app)


def test_asked_for_it_looks_again_where_nothing_has_changed(watch: SiteWatch, taken: list[LoadedSite]) -> None:
    assert watch.look(asked=True)
    assert len(taken) == 1


def test_what_cannot_be_taken_leaves_the_old_one_and_is_tried_again(app: FakeApplication, root: Path) -> None:
    tries: list[LoadedSite] = []

    def take(loaded: LoadedSite) -> None:
        tries.append(loaded)
        raise OSError("the database is away")

    watch = SiteWatch(app, take)
    edit(root, **{PLANS: EDITED})
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            watch.look()
    assert len(tries) == 2


def test_it_looks_by_itself_and_when_it_is_told_to(app: FakeApplication, root: Path) -> None:
    took = threading.Semaphore(0)
    watch = SiteWatch(app, lambda loaded: took.release(), every=3600.0)
    watch.start()
    watch.now()
    assert took.acquire(timeout=60)
    watch.stop()
    watch = SiteWatch(app, lambda loaded: took.release(), every=0.02)
    watch.start()
    edit(root, **{PLANS: EDITED})
    assert took.acquire(timeout=60)
    watch.stop()


def test_a_fault_in_looking_ends_no_watch(app: FakeApplication, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    took, failed = threading.Event(), threading.Event()
    watch = SiteWatch(app, lambda loaded: took.set(), every=0.02)
    real = fingerprint

    def sometimes(path: Path) -> str:
        if not failed.is_set():
            failed.set()
            raise PermissionError("no")
        return real(path)

    monkeypatch.setattr(reloading, "fingerprint", sometimes)
    watch.start()
    assert failed.wait(60)
    edit(root, **{PLANS: EDITED})
    assert took.wait(60)
    watch.stop()


def test_only_the_sites_own_files_count(root: Path) -> None:
    before = fingerprint(root)
    (root / "state").mkdir()
    (root / "state" / "mainstay.db").write_text("x")
    (root / "inventory" / ".hosts.yml.swp").write_text("x")
    (root / "inventory" / ".git").mkdir()
    (root / "inventory" / ".git" / "index").write_text("x")
    assert fingerprint(root) == before
    (root / "freezes.ics").write_text("x")
    with_calendar = fingerprint(root)
    assert with_calendar != before
    (root / "freezes.ics").unlink()
    assert fingerprint(root) == before


def test_runs_in_flight_find_hosts_that_have_left_the_site(app: FakeApplication, root: Path, watch: SiteWatch) -> None:
    assert app._host("web2").address == "10.9.0.12"
    edit(
        root,
        **{
            "inventory/hosts.yml": SITE["inventory/hosts.yml"].replace(
                "  web2: {address: 10.9.0.12, tags: {role: web, env: prod}}\n", ""
            )
        },
    )
    assert watch.look()
    assert app._host("web2").address == "10.9.0.12"
    with pytest.raises(UsageError):
        app._host("web9")


def test_freezes_that_were_being_made_while_another_site_was_taken_are_not_kept(
    app: FakeApplication, root: Path, watch: SiteWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = gating.freezes

    def slowly(app: Application, loaded: LoadedSite) -> Freezes:
        monkeypatch.setattr(gating, "freezes", real)
        made = real(app, loaded)
        edit(root, **{PLANS: RIGHT + "freezes: [2026-12-01/2027-01-07]\n"})
        assert watch.look()
        return made

    monkeypatch.setattr(gating, "freezes", slowly)
    assert app.freezes.at("patch-night", None, NOW) is None, "of the site as it was"
    assert app.freezes.at("patch-night", None, NOW) is not None


def test_that_nobody_keeps_the_clock_is_said_by_status_and_doctor(app: FakeApplication, mainstay: Mainstay) -> None:
    assert serve_finding(mainstay)["health"] == "look"
    assert "nobody keeps the clock" not in mainstay("status").out
    app.schedule_store.set_mark(HEARTBEAT, rfc3339(NOW - timedelta(seconds=100)))
    assert serve_finding(mainstay)["health"] == "well"
    app.schedule_store.set_mark(HEARTBEAT, rfc3339(NOW - timedelta(seconds=200)))
    assert serve_finding(mainstay)["health"] == "wrong"
    assert "nobody keeps the clock: no mainstay serve was heard of since" in mainstay("status").out


def test_that_a_wall_clock_was_ahead_is_said(app: FakeApplication, mainstay: Mainstay) -> None:
    app.schedule_store.set_mark(HEARTBEAT, rfc3339(NOW))
    app.schedule_store.begin("patch-night/night", rfc3339(NOW + timedelta(seconds=200)))
    app.schedule_store.begin("gone/night", rfc3339(NOW + timedelta(days=900)))
    assert "a wall clock was ahead" not in mainstay("status").out
    app.schedule_store.advance("patch-night/night", rfc3339(NOW + timedelta(days=90)))
    assert "a wall clock was ahead: patch-night/night has been put down up to" in mainstay("status").out


def test_serve_is_made_as_asked(app: FakeApplication, mainstay: Mainstay, monkeypatch: pytest.MonkeyPatch) -> None:
    from mainstay.console import serve, worker

    made: list[dict[str, object]] = []

    class Played:
        word = "daemon"

        def __init__(self, app: object, **settings: object) -> None:
            made.append(settings)

        def serve(self) -> str:
            return "stopped"

    monkeypatch.setattr(serve, "Serve", Played)
    monkeypatch.setattr(worker, "leave", lambda code: code)  # whoever runs the tests has threads of its own
    assert mainstay("serve", "--threads", "4", "--grace", "2m").code == 0
    assert mainstay("serve").code == 0
    assert made == [{"threads": 4, "grace": 120.0}, {"threads": None, "grace": 30.0}]
    assert mainstay("serve", "--grace", "soon").code == 2
