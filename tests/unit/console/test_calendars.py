"""What the command line tells of calendars that can't be had. They lie at loopback, where nobody listens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.ports import closed_port
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import NOW, FakeApplication, write_site

from mainstay.console import bootstrap
from mainstay.console.doctor.calendars import examine
from mainstay.runner.steps import rfc3339
from mainstay.schedules.calendars.adapters.files import FileShelf
from mainstay.schedules.calendars.contract import Kept

EMPTY = "BEGIN:VCALENDAR\nEND:VCALENDAR\n"


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port of loopback that is taken, and where nobody listens."""
    with closed_port() as port:
        yield port


@pytest.fixture
def app(tmp_path: Path, nobody: int, monkeypatch: pytest.MonkeyPatch) -> FakeApplication:
    schedules = f"freezes: [http://127.0.0.1:{nobody}/private.ics]\nplans: {{patch-web: {{targets: role=web}}}}\n"
    found = FakeApplication(write_site(tmp_path / "site", **{"schedules/web.yml": schedules}))
    monkeypatch.setattr(bootstrap, "load", lambda given: found)
    return found


def keep(app: FakeApplication, kept: Kept) -> None:
    (source,) = app.loaded.freezes.sources
    FileShelf(app.stores.directory / "calendars").save(source, kept)


def test_status_fetches_nothing_and_tells_what_is_known(app: FakeApplication, mainstay: Mainstay) -> None:
    assert "calendar" not in mainstay("status").out
    assert not (app.stores.directory / "calendars").exists(), "nobody has looked"
    at = rfc3339(NOW)
    keep(app, Kept(text=EMPTY, fetched_at=at, tried_at=at, tries=1, fault="cal.example answers with HTTP 503"))
    told = " ".join(mainstay("status").out.split())
    assert "can't be had since 2026-12-11T01:30:00.000Z, and its last content is used" in told
    assert "private" not in told
    nagios = mainstay("status", "--nagios")
    assert nagios.code != 0
    assert "HTTP 503" in nagios.out


def test_doctor_looks_where_nobody_has(app: FakeApplication) -> None:
    (found,) = examine(app)
    assert found.health == "wrong"
    assert "was never had: 127.0.0.1 can't be reached" in found.message
    assert "private" not in found.message


def test_doctor_is_content_with_what_was_fetched(app: FakeApplication) -> None:
    at = rfc3339(NOW)
    keep(app, Kept(text=EMPTY, fetched_at=at, tried_at=at))
    (found,) = examine(app)
    assert (found.health, found.message) == ("well", "1 calendar fetched")


def test_a_site_without_urls_opens_nothing(tmp_path: Path) -> None:
    plain = FakeApplication(write_site(tmp_path / "plain"))
    assert list(examine(plain)) == []
    assert plain.freezes.trouble(NOW) == []


def test_serve_looks_at_calendars_again_and_again(app: FakeApplication) -> None:
    chore = next(chore for chore in app.chores if chore.name == "calendars")
    assert chore.every == 900
    chore.work()
    (source,) = app.loaded.freezes.sources
    assert FileShelf(app.stores.directory / "calendars").load(source).tries == 1
