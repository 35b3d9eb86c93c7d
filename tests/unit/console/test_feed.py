"""What comes, as a calendar that other programs read, printed or kept in a file."""

from __future__ import annotations

import stat
from datetime import datetime, timedelta
from pathlib import Path

import icalendar
import pytest
import recurring_ical_events
from tests.unit.console.coming import BEFORE, HOSTS, SCHEDULES, At, Site, site
from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import write_site

from mainstay.console import bootstrap
from mainstay.console.feeding import FRESH, feed
from mainstay.inventory.errors import UsageError
from mainstay.schedules.store.contract import Carried


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return site(tmp_path, monkeypatch)


HOSTILE_FREEZE = 'freezes:\n  - {name: "a; b, c\\\\n \\u202eDTEND:x", dates: 2026-12-11}\n'


def test_the_calendar_says_the_same_to_a_calendar_program(app: Site, mainstay: Mainstay) -> None:
    coming = mainstay("next", "--days", "120", "--json").json
    calendar = icalendar.Calendar.from_ical(mainstay("next", "--days", "120", "--ics").out)
    events = recurring_ical_events.of(calendar).between(BEFORE, BEFORE + timedelta(days=120))
    told = sorted((str(e["UID"]), e["DTSTART"].dt, e["DTEND"].dt, str(e["STATUS"])) for e in events)
    assert told == sorted(
        (
            f"{one['run']}@acme.mainstay",
            datetime.fromisoformat(one["starts_at"]),
            datetime.fromisoformat(one["ends_at"]),
            "CANCELLED" if one["state"] == "frozen" else "CONFIRMED",
        )
        for one in coming
    )
    assert "CANCELLED" in {status for *_, status in told}
    assert all("TZID" not in event["DTSTART"].params for event in events), "in UTC, by no zone of its own"


def test_an_event_keeps_its_uid(app: Site, mainstay: Mainstay) -> None:
    def uids(out: str) -> set[str]:
        return {str(event["UID"]) for event in icalendar.Calendar.from_ical(out).walk("VEVENT")}

    early = uids(mainstay("next", "patch-web", "--ics").out)
    app.__dict__["clock"] = At(BEFORE + timedelta(hours=3))
    assert uids(mainstay("next", "patch-web", "--ics").out) == early


def test_a_text_in_a_calendar_can_not_become_a_property(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mainstay: Mainstay
) -> None:
    start, end = SCHEDULES.index("freezes:"), SCHEDULES.index("plans:")
    site(tmp_path, monkeypatch, SCHEDULES[:start] + HOSTILE_FREEZE + SCHEDULES[end:])
    out = mainstay("next", "patch-web", "--ics").out
    (event,) = map(dict, icalendar.Calendar.from_ical(out).walk("VEVENT"))
    assert "a; b, c" in str(event["DESCRIPTION"])
    assert "\u202e" not in out
    assert event["DTEND"].to_ical() == b"20261211T040000Z"
    assert all(len(row.encode()) <= 75 for row in out.split("\r\n"))


def events(path: Path) -> int:
    return len(icalendar.Calendar.from_ical(path.read_bytes()).walk("VEVENT"))


@pytest.fixture
def fed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    (tmp_path / "www").mkdir()
    root = write_site(
        tmp_path / "site",
        **{
            "mainstay.yml": f"site: acme\ntimezone: Europe/Berlin\nssh: {{user: ops}}\nfeed: {tmp_path}/www/next.ics\n",
            "schedules/web.yml": SCHEDULES,
            "inventory/hosts.yml": HOSTS,
        },
    )
    application = Site(root)
    monkeypatch.setattr(bootstrap, "load", lambda given: application)
    return application


def test_the_feed_is_written_for_everybody_to_read(fed: Site) -> None:
    path = fed.site.feed
    assert path is not None
    feed(fed)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert events(path) > 26
    assert [one.name for one in path.parent.iterdir()] == ["next.ics"], "no draft is left"


def test_the_feed_is_written_anew_when_it_changes_or_gets_old_and_not_otherwise(fed: Site) -> None:
    path = fed.site.feed
    assert path is not None
    feed(fed)
    written = path.stat().st_ino

    def after(moment: datetime) -> bool:
        """Whether it was written anew."""
        nonlocal written
        fed.__dict__["clock"] = At(moment)
        feed(fed)
        before, written = written, path.stat().st_ino
        return before != written

    assert not after(BEFORE + timedelta(minutes=5))
    assert after(BEFORE + FRESH)
    fed.schedule_store.carry(Carried(plan="patch-web", host="web2", run="01K", at="2026-12-01T00:00:00Z", reason="r"))
    assert not after(BEFORE + FRESH + timedelta(minutes=5)), "no host is named in the feed"
    assert after(BEFORE + FRESH + timedelta(days=1)), "what is over is gone from it"


def test_a_file_of_somebody_else_is_left_alone(fed: Site) -> None:
    path = fed.site.feed
    assert path is not None
    theirs = b"BEGIN:VCALENDAR\r\nPRODID:-//bank//holidays//EN\r\nEND:VCALENDAR\r\n"
    path.write_bytes(theirs)
    with pytest.raises(UsageError, match="is left alone"):
        feed(fed)
    assert path.read_bytes() == theirs


def test_a_link_in_its_place_is_not_followed(fed: Site, tmp_path: Path) -> None:
    path = fed.site.feed
    assert path is not None
    secret = tmp_path / "other.ics"
    feed(fed)
    secret.write_bytes(path.read_bytes())
    before = secret.read_bytes()
    path.unlink()
    path.symlink_to(secret)
    fed.__dict__["clock"] = At(BEFORE + timedelta(days=1))
    feed(fed)
    assert not path.is_symlink()
    assert secret.read_bytes() == before


def test_a_folder_that_is_not_there_leaves_no_draft(fed: Site) -> None:
    path = fed.site.feed
    assert path is not None
    path.parent.rmdir()
    with pytest.raises(FileNotFoundError):
        feed(fed)


def test_a_site_without_a_feed_writes_none(app: Site) -> None:
    feed(app)
