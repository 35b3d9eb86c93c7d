"""preview and why: what a run would do and what it would leave out."""

from __future__ import annotations

import re

from tests.unit.console.conftest import Mainstay
from tests.unit.console.fakes import HOSTILE, FakeApplication, forecast, left_out, part, seal
from tests.unit.console.test_runs import RUN

from mainstay.inventory.facts import Facts
from mainstay.runner.forecasting import HostForecast


def test_preview(app: FakeApplication, mainstay: Mainstay) -> None:
    held = left_out("nginx", "held", "held by apt-mark")
    young = [left_out(f"p{number}", "too-young", "2 d old, plan asks 3 d") for number in range(3)]
    app.forecasts["web2"] = forecast(
        app.select("web2")[0], 3, left_out=(held, *young), reversible=2, irreversible=(("perl", f"gone {HOSTILE}"),),
        reboot="likely",
    )  # fmt: skip
    out = mainstay("preview", "patch-web").out
    assert out == (
        "patch-web · security updates · 3 hosts in 2 waves (1 · 2)\n"
        "\n"
        "  host    updates   can go back   reboot   left out\n"
        "  web1          2        2 of 2       no   –\n"
        "  web2          3        2 of 3   likely   1 held (nginx), 3 too young (p0, p1 …)\n"
        "         ! perl: gone [/bold]<script>\\nweb9: succeeded\n"
        "  web10         2        2 of 2       no   –\n"
        "\n"
        "  libssl3 3.0.20-1 → 3.0.22-1 (3 hosts) · openssl 3.0.20-1 → 3.0.22-1 (3 hosts) · perl 5.36.0-7 →\n"
        "  5.36.0-8 (1 host)\n"
        "\n"
        "If it goes wrong: at most 3 of 3 hosts fail before it stops (budget 1, 5 at once); in wave 1 at most\n"
        "1, and then none beyond it.\n"
        "Nothing was changed.\n"
    )
    whole = mainstay("preview", "patch-web", "--all").out
    assert re.search(r"^  web2 +nginx +1\.2-3 +held: held by apt-mark$", whole, re.M)
    assert mainstay("run", "patch-web", "-n").out == out
    assert app.runs.requests == []


def test_preview_as_json(app: FakeApplication, mainstay: Mainstay) -> None:
    body = mainstay("preview", "patch-web", "--hosts", "web1", "--json").json
    assert body["plan"] == "patch-web"
    assert body["waves"] == [1]
    assert body["hosts"][0]["items"][0] == {"name": "libssl3", "before": "3.0.20-1", "after": "3.0.22-1"}
    assert {"wave", "cohort", "count", "reversible", "reboot", "left_out", "refused", "error"} <= body["hosts"][
        0
    ].keys()


def test_a_preview_of_which_no_host_could_be_asked_is_no_answer(app: FakeApplication, mainstay: Mainstay) -> None:
    hosts = app.select("all")
    app.forecasts = {host.name: HostForecast(host, error="unreachable: no route", unreachable=True) for host in hosts}
    for verb in (["preview", "patch-web"], ["run", "patch-web", "-n"]):
        result = mainstay(*verb, "--json")
        assert result.code == 5 and result.json["hosts"][0]["unreachable"]
    (one,) = app.select("web1")
    app.forecasts[one.name] = HostForecast(one, Facts(os_id="debian", os_version="12"), error="dpkg is broken")
    assert mainstay("preview", "patch-web").code == 0, "that is an answer"


def test_preview_estimates_from_what_such_runs_took(app: FakeApplication, mainstay: Mainstay) -> None:
    assert mainstay("preview", "patch-web", "--json").json["estimate_seconds"] is None
    seal(app, RUN, [part("web1")])
    assert mainstay("preview", "patch-web", "--json").json["estimate_seconds"] == 48.0
    assert "Would take about 48 s." in mainstay("preview", "patch-web").out


def test_why(app: FakeApplication, mainstay: Mainstay) -> None:
    web1 = app.select("web1")[0]
    young = left_out("tzdata", "too-young", "2 d, plan asks 3 d", "2026-12-12T01:00:00Z")
    app.forecasts["web1"] = forecast(web1, 1, left_out=(left_out("nginx", "held", HOSTILE), young))
    result = mainstay("why", "web1")
    assert result.code == 0
    assert (
        "web1 · plan patch-web   not fully patched: 1 update waiting for the plan's next run, 2 left out" in result.out
    )
    flat = " ".join(result.out.split())
    assert "next chance Sat 2026-12-12 02:00 CET" in flat
    assert "apt-mark unhold nginx" in flat
    assert "\x1b" not in result.out
    one = mainstay("why", "web1", "tzdata", "--json").json
    assert [entry["item"] for entry in one["plans"][0]["left_out"]] == ["tzdata"]
    assert one["plans"][0]["waiting"] == []
    assert "no patch plan targets it" in mainstay("why", "db1").out
