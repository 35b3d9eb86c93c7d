"""The rules of retention mean what they mean to restic itself: the same histories, under the same policies."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.servers.restic import Name, restic
from tests.unit.recovery import snapshots

from mainstay.recovery.retention.policy import Policy, kept_by

pytestmark = pytest.mark.server

STEPS = [timedelta(minutes=20), timedelta(hours=1), timedelta(hours=11), timedelta(days=1), timedelta(days=6)]
STEPS += [timedelta(days=30), timedelta(days=170)]
ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "UTC"]).map(ZoneInfo)
COUNT = st.just(0) | st.integers(0, 6) | st.just("all")
RULES = ("last", "hourly", "daily", "weekly", "monthly", "yearly")


@st.composite
def histories(draw: st.DrawFn) -> list[datetime]:
    """Newest first, in one zone; years in which all kinds of periods begin and end, and clocks are changed."""
    at = draw(st.datetimes(datetime(2019, 1, 1), datetime(2020, 12, 31))).replace(microsecond=0, tzinfo=ZoneInfo("UTC"))
    found = [at]
    for step in draw(st.lists(st.sampled_from(STEPS), max_size=30)):
        found.append(found[-1] + step + timedelta(seconds=draw(st.integers(1, 900))))
    zone = draw(ZONES)
    return [moment.astimezone(zone) for moment in reversed(found) if moment.year < 2026]


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    wanted = {name: draw(COUNT) for name in RULES}
    hours = draw(st.just(0) | st.integers(1, 9000))
    if not hours and not any(wanted.values()):
        wanted["last"] = 1
    return Policy.model_validate({**wanted, "within": f"{hours}h" if hours else 0})


def asked(program: Path, root: Path, moments: list[datetime], policy: Policy) -> list[set[str]]:
    """The rules by which restic keeps each of them."""
    ids = snapshots.fill(root, [moment.isoformat() for moment in moments])
    argv: list[str | Path] = [
        program,
        "-r",
        root,
        "--no-cache",
        "forget",
        "--dry-run",
        "--no-lock",
        "--json",
        "--group-by",
        "",
    ]
    for name in RULES:
        count = getattr(policy, name)
        argv += [f"--keep-{name}", "unlimited" if count == "all" else str(count)] if count else []
    argv += ["--keep-within", f"{policy.within / 3600:.0f}h"] if policy.within else []
    environment = {"PATH": os.environ["PATH"], "RESTIC_PASSWORD": snapshots.PASSWORD, "HOME": str(root)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    groups, _ = json.JSONDecoder().raw_decode(done.stdout)
    kept = {one["snapshot"]["id"]: one["matches"] for group in groups for one in group["reasons"] or []}
    assert len(set(ids)) == len(moments) == sum(len(g["keep"] or []) + len(g["remove"] or []) for g in groups)
    return [{words(match) for match in kept.get(id, [])} for id in ids]


def words(match: str) -> str:
    if match.startswith("within"):
        return "within"
    rule = match.removesuffix(" snapshot")
    return f"{rule.removeprefix('oldest ')}, the oldest there is" if rule.startswith("oldest ") else rule


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return snapshots.make(tmp_path_factory.mktemp("restic") / "repository")


def moments(zone: str, *texts: str) -> list[datetime]:
    return [datetime.fromisoformat(text).astimezone(ZoneInfo(zone)) for text in texts]


CLOCKS_BACK = moments(
    "Europe/Berlin",
    "2024-10-27T01:45:00+00:00",
    "2024-10-27T01:15:00+00:00",
    "2024-10-27T00:45:00+00:00",
    "2024-10-26T23:30:00+00:00",
)
NEW_YEAR = moments("UTC", "2025-01-01T03:00:00+00:00", "2024-12-31T03:00:00+00:00", "2024-12-29T03:00:00+00:00")


@given(history=histories(), policy=policies())
@example(history=CLOCKS_BACK, policy=Policy(hourly=2))
@example(history=CLOCKS_BACK, policy=Policy(daily=2))
@example(history=NEW_YEAR, policy=Policy(weekly=1))
@example(history=NEW_YEAR, policy=Policy(weekly=2, yearly=5))
@example(history=CLOCKS_BACK, policy=Policy(within=3600.0))
@settings(max_examples=30)
def test_the_same_points_are_kept_by_the_same_rules(root: Path, history: list[datetime], policy: Policy) -> None:
    assert [set(rules) for rules in kept_by(policy, history)] == asked(restic(), root, history, policy)


@pytest.mark.long
@pytest.mark.parametrize("name", ["oldest", "newest"])
@given(history=histories(), policy=policies())
@settings(max_examples=500)
def test_many_more(root: Path, name: Name, history: list[datetime], policy: Policy) -> None:
    assert [set(rules) for rules in kept_by(policy, history)] == asked(restic(name), root, history, policy)
