"""When nothing may start: from a site's YAML to the answer that a gate gets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.effort import counted

from mainstay.inventory.errors import ConfigError
from mainstay.inventory.host import Host
from mainstay.inventory.value import Value
from mainstay.schedules.calendars.contract import CalendarFault
from mainstay.schedules.calendars.keeping import Calendars
from mainstay.schedules.calendars.memory import MemoryShelf, ToldFetcher
from mainstay.schedules.check import check_site, load_checked
from mainstay.schedules.freeze_entries import FreezeEntry, IcsCalendar, check_url
from mainstay.schedules.freezes import Freeze, Freezes

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MAIN = "site: acme\ntimezone: Europe/Berlin\n"
HOSTS = "hosts:\n  web1: {address: 10.0.0.1, tags: {role: web}}\n  db1: {address: 10.0.0.2, tags: {role: db}}\n"
PLANS = "plans:\n  web: {targets: role=web}\n  db: {targets: role=db}\n  every: {targets: all}\n"
EPSILON = timedelta(microseconds=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


class Site:
    """One written for a test, with a clock that stands."""

    def __init__(self, root: Path, schedules: str, files: dict[str, str] | None = None, **answers: bytes) -> None:
        self.root = root
        wanted = {"mainstay.yml": MAIN, "inventory/hosts.yml": HOSTS, "schedules/web.yml": schedules, **(files or {})}
        for name, content in wanted.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
        self.now = NOW
        self.fetcher = ToldFetcher({f"https://cal.example/{name}.ics": [answer] for name, answer in answers.items()})
        self.loaded = load_checked(root)
        calendars = Calendars(root, BERLIN, MemoryShelf(), self.fetcher, lambda: self.now)
        self.freezes = Freezes(self.loaded.freezes, self.loaded.site, self.loaded.plans, calendars)

    def host(self, name: str) -> Host:
        found = self.loaded.site.inventory.host(name)
        assert found is not None
        return found

    def over(self, days: int = 60, plan: str = "web", host: str | None = None) -> list[Freeze]:
        return self.freezes.over(plan, self.host(host) if host else None, NOW, NOW + timedelta(days=days))


Make = Callable[..., Site]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def _make(schedules: str, files: dict[str, str] | None = None, **answers: bytes) -> Site:
        return Site(tmp_path, schedules + PLANS, files, **answers)

    return _make


def event(*lines: str) -> str:
    return "\r\n".join(["BEGIN:VEVENT", *lines, "END:VEVENT"])


def ics(*events: str) -> str:
    return "\r\n".join(["BEGIN:VCALENDAR", *events, "END:VCALENDAR", ""])


def test_a_date_is_a_day_of_the_sites_zone(make: Make) -> None:
    (freeze,) = make("freezes: [2026-12-24]\n").over()
    assert freeze == Freeze("2026-12-24", "schedules/web.yml:1", utc("2026-12-23T23:00"), utc("2026-12-24T23:00"))


def test_a_span_of_dates_holds_on_its_last_day(make: Make) -> None:
    site = make("freezes: [2026-12-20/2027-01-06]\n")
    assert site.freezes.at("web", None, berlin("2026-12-19T23:59:59")) is None
    assert site.freezes.at("web", None, berlin("2026-12-20T00:00")) is not None
    assert site.freezes.at("web", None, berlin("2027-01-06T23:59:59")) is not None
    assert site.freezes.at("web", None, berlin("2027-01-07T00:00")) is None


def test_a_day_of_the_clock_change_is_as_long_as_it_is(make: Make) -> None:
    site = make("freezes: [2027-03-28, {rrule: 'FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU', name: long}]\n")
    short, long = (freeze.ends_at - freeze.starts_at for freeze in site.over(days=400))
    assert (short, long) == (timedelta(hours=23), timedelta(hours=25))


def test_a_rule_without_a_time_means_whole_days_but_for_its_exceptions(make: Make) -> None:
    site = make("freezes: [{rrule: 'FREQ=MONTHLY;BYMONTHDAY=-1', name: month's end, except: [2026-12-31]}]\n")
    found = [(freeze.name, freeze.starts_at, freeze.ends_at) for freeze in site.over(days=75)]
    assert found == [
        ("month's end", utc("2026-11-29T23:00"), utc("2026-11-30T23:00")),
        ("month's end", utc("2027-01-30T23:00"), utc("2027-01-31T23:00")),
    ]


def test_a_rule_with_a_time_has_its_own_zone(make: Make) -> None:
    entry = (
        "{on: last friday, start: 22:00, duration: 30h, timezone: America/New_York, except: [2026-12-20/2026-12-31]}"
    )
    (freeze,) = make(f"freezes: [{entry}]\n").over(days=50)
    assert (freeze.starts_at, freeze.ends_at) == (utc("2026-11-28T03:00"), utc("2026-11-29T09:00"))


def test_cron_and_an_end_on_the_next_day(make: Make) -> None:
    text = "freezes:\n  - {cron: '0 22 24 12 *', duration: 6h}\n  - {on: weekdays, start: 22:00, end: '02:00'}\n"
    site = make(text)
    assert site.freezes.at("web", None, berlin("2026-12-25T03:59")) is not None
    assert site.freezes.at("web", None, berlin("2026-12-25T04:00")) is None
    friday = site.freezes.at("web", None, berlin("2026-12-05T01:59"))
    assert friday is not None
    assert friday.source == "schedules/web.yml:3"
    assert site.freezes.at("web", None, berlin("2026-12-06T01:59")) is None


def test_freezes_of_some_plans_and_some_hosts(make: Make) -> None:
    text = (
        "freezes:\n  - {dates: 2026-12-01, name: plan, plans: [web, every]}\n"
        "  - {dates: 2026-12-02, name: hosts, targets: role=db}\n"
        "  - {dates: 2026-12-03, name: both, plans: every, targets: role=web}\n  - {dates: 2026-12-04, name: site}\n"
    )
    site = make(text)

    def names(plan: str, host: str | None) -> list[str]:
        return [freeze.name for freeze in site.over(plan=plan, host=host)]

    assert names("web", None) == ["plan", "site"]
    assert names("db", None) == ["site"]
    assert names("web", "web1") == ["plan", "site"]
    assert names("db", "db1") == ["hosts", "site"]
    assert names("every", "web1") == ["plan", "both", "site"]
    assert names("every", "db1") == ["plan", "hosts", "site"]


def test_a_calendar_of_the_site(make: Make) -> None:
    calendar = ics(event("DTSTART;VALUE=DATE:20261224", "SUMMARY:Christmas \x1b[31m"), event("DTSTART:20261225"))
    text = "freezes: [freezes.ics, {ics: freezes.ics, name: shop, plans: web}]\n"
    site = make(text, {"freezes.ics": calendar})
    assert [freeze.name for freeze in site.over()] == [
        "Christmas \\x1b[31m",
        "shop: Christmas \\x1b[31m",
        "freezes.ics",
        "shop",
    ]
    assert [freeze.name for freeze in site.over(plan="db")] == ["Christmas \\x1b[31m", "freezes.ics"]
    assert site.freezes.trouble(NOW) == []
    assert site.freezes.usable("web", NOW) == ""


def test_of_several_the_one_that_lasts_longest_is_named(make: Make) -> None:
    site = make("freezes: [2026-12-24, {dates: 2026-12-20/2027-01-06, name: year-end close}, 2026-12-24/2026-12-26]\n")
    found = site.freezes.at("web", None, berlin("2026-12-24T12:00"))
    assert found is not None
    assert found.name == "year-end close"


REMOTE = "freezes: [{ics: https://cal.example/f.ics, name: board, max_age: 2d, targets: role=db}]\n"


def test_a_plan_depends_on_calendars_that_concern_its_hosts(make: Make) -> None:
    site = make(REMOTE)
    assert site.freezes.usable("web", NOW) == ""
    assert site.fetcher.asked == []
    for plan in ("db", "every"):
        assert site.freezes.usable(plan, NOW).startswith("the calendar board (https://cal.example) was never had: ")
    assert site.freezes.trouble(NOW) == [site.freezes.usable("db", NOW)]


def test_a_calendar_older_than_its_limit_refuses(make: Make) -> None:
    site = make(REMOTE, f=ics(event("DTSTART;VALUE=DATE:20261224", "SUMMARY:x")).encode())
    assert site.freezes.usable("db", NOW) == ""
    assert [freeze.name for freeze in site.over(plan="db", host="db1")] == ["board: x"]
    site.fetcher.answers["https://cal.example/f.ics"] = [CalendarFault("away")]
    site.now += timedelta(days=2)
    assert site.freezes.usable("db", site.now) == ""
    assert "its last content is used: away" in site.freezes.trouble(site.now)[0]
    site.now += timedelta(seconds=1)
    assert "older than its limit of 2d" in site.freezes.usable("db", site.now)
    assert site.freezes.usable("web", site.now) == ""


def test_one_chore_looks_at_all(make: Make) -> None:
    text = "freezes: [https://cal.example/f.ics]\ncalendars: {open: https://cal.example/o.ics, file: file.ics}\n"
    site = make(text, {"file.ics": ics()}, f=ics().encode(), o=ics().encode())
    site.freezes.refresh()
    assert [place for place, _, _ in site.fetcher.asked] == ["https://cal.example/f.ics", "https://cal.example/o.ics"]


BUSINESS = ics(
    event(
        "DTSTART;TZID=Europe/Berlin:20260105T090000",
        "DTEND;TZID=Europe/Berlin:20260105T170000",
        "RRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR",
        "EXDATE;TZID=Europe/Berlin:20261224T090000",
    )
)


def test_a_business_calendar_is_an_allow_list(tmp_path: Path) -> None:
    plans = "plans: {web: {targets: role=web, calendar: [business, open]}, db: {targets: role=db}}\n"
    text = "calendars: {business: business.ics, open: {ics: https://cal.example/o.ics, max_age: 1d}}\n" + plans
    always = ics(event("DTSTART;VALUE=DATE:20260101", "RRULE:FREQ=DAILY"))
    site = Site(tmp_path, text, {"business.ics": BUSINESS}, o=always.encode())
    web, db = site.loaded.plans["web"], site.loaded.plans["db"]
    assert site.freezes.allows(web, berlin("2026-12-01T09:00")) == ""
    assert site.freezes.allows(db, berlin("2026-12-01T03:00")) == ""
    no = "no event of calendar business at Tue 2026-12-01 17:00 CET"
    assert site.freezes.allows(web, berlin("2026-12-01T17:00")) == no
    assert "Thu 2026-12-24" in site.freezes.allows(web, berlin("2026-12-24T10:00"))
    assert site.freezes.over("web", None, NOW, NOW + timedelta(days=60)) == [], "it freezes nothing"
    far = berlin("2027-11-02T10:00")
    assert site.freezes.allows(web, far) == "", "how old it is is judged by the clock, not by what is looked at"
    assert site.freezes.usable("web", NOW) == ""
    assert "older than" in site.freezes.usable("web", NOW + timedelta(days=2))
    assert site.freezes.usable("db", NOW + timedelta(days=2)) == ""


def test_a_calendar_that_was_never_had_allows_nothing(tmp_path: Path) -> None:
    plans = "plans: {web: {targets: role=web, calendar: open}}\n"
    site = Site(tmp_path, "calendars: {open: https://cal.example/o.ics}\n" + plans)
    assert "was never had" in site.freezes.allows(site.loaded.plans["web"], NOW)
    gone = site.loaded.plans["web"].model_copy(update={"calendar": ("closed",)})
    assert site.freezes.allows(gone, NOW) == 'there is no calendar "closed" any more'


def test_what_can_not_be_worked_out_freezes_and_allows_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "freezes: [b.ics]\ncalendars: {business: b.ics}\nplans: {web: {targets: role=web, calendar: business}}\n"
    site = Site(tmp_path, text, {"b.ics": BUSINESS})
    assert site.freezes.usable("web", NOW) == ""
    monkeypatch.setattr("mainstay.schedules.calendars.events.MOST_SPANS", 5)
    moment = berlin("2026-12-01T10:00")
    frozen = site.freezes.at("web", None, moment)
    assert frozen is not None
    assert frozen.name.startswith("unknown: the calendar has more than 5 events")
    assert site.freezes.allows(site.loaded.plans["web"], moment) == frozen.name


def test_a_plan_that_the_site_has_no_more_depends_on_all(make: Make) -> None:
    site = make(REMOTE)
    assert "never had" in site.freezes.usable("gone", NOW)


@pytest.mark.parametrize(
    ("content", "line", "told"),
    [
        ("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n", 2, "breaks off"),
        (ics(event("DTSTART:20261201T100000Z", "RRULE:FREQ=SECONDLY")), 4, "too often"),
        ("<html>", 1, "is no calendar"),
    ],
)
def test_check_names_the_file_and_the_line(tmp_path: Path, content: str, line: int, told: str) -> None:
    Site(tmp_path, "freezes: [freezes.ics]\n" + PLANS, {"freezes.ics": ics()})
    (tmp_path / "freezes.ics").write_text(content)
    loaded, errors, _ = check_site(tmp_path)
    assert loaded is None
    (problem,) = errors
    assert (problem.file, problem.line) == ("freezes.ics", line)
    assert told in problem.message


def test_check_opens_the_files_of_a_calendars_secrets(tmp_path: Path) -> None:
    entry = "{ics: 'https://cal.example/f.ics', user: a, password: 'file:p', header: {X-Key: 'file:k'}}"
    Site(tmp_path, f"freezes: [{entry}]\ncalendars: {{open: {{ics: 'file:url'}}}}\n" + PLANS, {"k": "x"})
    (tmp_path / "k").chmod(0o644)
    _, errors, _ = check_site(tmp_path)
    assert [(problem.key, problem.line) for problem in errors] == [
        ("freezes.0.password", 1),
        ("freezes.0.header.X-Key", 1),
        ("calendars.open.ics", 2),
    ]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Site:
    text = (
        "freezes:\n  - 2026-12-20/2027-01-06\n  - {on: weekdays, start: 22:00, end: '02:00'}\n"
        "  - {rrule: 'FREQ=MONTHLY;BYMONTHDAY=-1', except: [2026-12-31]}\n  - {ics: f.ics, targets: role=db}\n"
    )
    calendar = ics(
        event("DTSTART;TZID=Europe/Berlin:20261001T013000", "DURATION:PT1H", "RRULE:FREQ=DAILY", "SUMMARY:nightly"),
        event("UID:2", "DTSTART;VALUE=DATE:20270324", "DTEND;VALUE=DATE:20270330", "SUMMARY:Easter"),
    )
    return Site(tmp_path_factory.mktemp("many"), text + PLANS, {"f.ics": calendar})


_BOUNDS = [
    berlin(text)
    for text in ("2026-12-20T00:00", "2027-01-07T00:00", "2026-12-01T02:00", "2027-03-28T03:00", "2026-11-30T00:00")
]


@settings(max_examples=150, deadline=None)
@given(
    moment=st.one_of(
        st.datetimes(datetime(2026, 10, 1), datetime(2027, 6, 1)).map(lambda at: at.replace(tzinfo=UTC)),
        st.sampled_from(_BOUNDS).flatmap(lambda at: st.integers(-2, 2).map(lambda n: at.astimezone(UTC) + n * EPSILON)),
    ),
    plan=st.sampled_from(["web", "db", "every"]),
    name=st.sampled_from([None, "web1", "db1"]),
    length=st.timedeltas(timedelta(microseconds=1), timedelta(days=200)),
)
def test_at_and_over_say_the_same(many: Site, moment: datetime, plan: str, name: str | None, length: timedelta) -> None:
    host = many.host(name) if name else None
    found = many.freezes.at(plan, host, moment)
    now = many.freezes.over(plan, host, moment, moment + EPSILON)
    assert (found is not None) is bool(now)
    assert found is None or found in now
    assert all(freeze.starts_at <= moment < freeze.ends_at for freeze in now)
    longer = many.freezes.over(plan, host, moment, moment + length)
    assert set(now) <= set(longer)
    assert longer == sorted(longer, key=lambda freeze: freeze.starts_at)
    assert all(freeze.starts_at < moment + length and moment < freeze.ends_at for freeze in longer)
    halfway = moment + length / 2
    both = {*many.freezes.over(plan, host, moment, halfway), *many.freezes.over(plan, host, halfway, moment + length)}
    assert both == set(longer)


def test_of_a_secret_that_is_no_url_nothing_is_told() -> None:
    with pytest.raises(ValueError, match="is no URL") as told:
        check_url("hunter2:swordfish")
    assert "hunter2" not in str(told.value)


def test_asking_for_each_host_is_cheap(many: Site) -> None:
    """Once a stretch of time has been worked out, the tenth host costs what the thousandth does."""
    host = many.host("db1")
    moment = berlin("2026-12-24T12:00")
    many.freezes.at("db", host, moment)
    calls, found = counted(lambda: many.freezes.at("db", host, moment))
    assert found is not None
    assert calls < 1500


@pytest.mark.parametrize("model", [FreezeEntry, IcsCalendar], ids=lambda model: model.__name__)
def test_every_key_is_described(model: type[Value]) -> None:
    page = (Path(__file__).parents[3] / "docs/reference/plans.md").read_text()
    assert [name for name, field in model.model_fields.items() if f"`{field.alias or name}`" not in page] == []


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{on: daily, start: 10:00}", "exactly one of duration and end"),
        ("{on: daily, start: 10:00, duration: 36h}", "overlaps itself"),
        ("{cron: '61 * * * *', duration: 1h}", "is not between"),
        ("{on: frobday}", "no word for days"),
        ("9999-12-31", "not between the years 1900 and 2199"),
        ("0001-01-01", "not between the years 1900 and 2199"),
        ("{dates: 2026-12-20/9999-12-31}", "not between the years 1900 and 2199"),
        ("{on: fri, except: 9999-12-31}", "not between the years 1900 and 2199"),
        ("file:///srv/freezes.ics", "is no URL to fetch a calendar from"),
        ("{on: daily, rrule: 'FREQ=DAILY'}", "exactly one of ics, dates, on, rrule and cron"),
    ],
)
def test_a_rule_that_is_wrong(make: Make, entry: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make(f"freezes: [{entry}]\n")
