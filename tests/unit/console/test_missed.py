"""What was missed is told until it has been done."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import FakeApplication, part, seal, untouched

from mainstay.runner.verdict import Verdict
from mainstay.schedules.occurrences import run_id

NIGHT = datetime(2026, 12, 10, 21, tzinfo=UTC)
AGAIN = datetime(2026, 12, 10, 22, tzinfo=UTC)
DOWN = "the controller was down"


def miss(app: FakeApplication, at: datetime = NIGHT, plan: str = "patch-night", reason: str = DOWN) -> None:
    schedule = f"{plan}/night"
    seal(app, run_id(schedule, at), [untouched("web1", Verdict.MISSED, reason)], plan=plan, reason=reason)


def test_status_names_what_was_missed_until_it_has_been_done(app: FakeApplication, mainstay: Mainstay) -> None:
    miss(app)
    text = f"look  patch-night missed Thu 2026-12-10 22:00 CET: {DOWN}\n"
    assert mainstay("status").out.endswith(text)
    assert mainstay("status", "--json").err == text
    seal(app, "01KYB0000000000000000000K7", [part("web1", Verdict.FAILED)], plan="patch-night")
    assert text in mainstay("status").out
    seal(app, "01KYB0000000000000000000K8", [part("web1")], plan="patch-web")
    assert text in mainstay("status").out, "another plan is another work"
    seal(app, "01KYB0000000000000000000K9", [part("web1")], plan="patch-night", undoes="01KYB0000000000000000000K7")
    assert text in mainstay("status").out, "what was undone has not been done"
    seal(app, "01KYB0000000000000000000KB", [part("web1")], plan="patch-night", kind="stage")
    assert text in mainstay("status").out, "what was only downloaded has not been done"
    seal(app, "01KYB0000000000000000000KA", [part("web1")], plan="patch-night")
    assert "missed" not in mainstay("status").out


def test_of_a_plan_the_newest_is_told_alone(app: FakeApplication, mainstay: Mainstay) -> None:
    miss(app)
    miss(app, AGAIN)
    miss(app, plan="gone")
    told = [row for row in mainstay("status").out.splitlines() if row.startswith("look")]
    assert told == [f"look  patch-night missed Thu 2026-12-10 23:00 CET: {DOWN}"]


def test_monitoring_warns_of_it(app: FakeApplication, mainstay: Mainstay) -> None:
    for number, host in enumerate(app.select(None)):
        seal(app, f"01KYB0000000000000000000K{number}", [part(host.name)])
    assert mainstay("status", "--nagios").code == 0
    miss(app, reason="down | really")
    result = mainstay("status", "--nagios", "db1")
    assert result.code == 1
    assert "patch-night missed Thu 2026-12-10 22:00 CET: down / really" in result.out
