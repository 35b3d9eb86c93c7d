"""Which updates are taken, and why each of the others is left."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.runner.patching.apt.version import compare
from mainstay.runner.patching.contract import Offer, Upgradable
from mainstay.runner.patching.selection import Selection, age, rfc3339, select, span
from mainstay.runner.plan import Updates

NOW = 1_800_000_000.0
DAY = 86400.0


def ago(days: float) -> str:
    return rfc3339(NOW - days * DAY)


def offer(version: str, *, security: bool = True, **more: Any) -> Offer:
    return Offer(version=version, security=security, **more)


def package(name: str = "openssl", installed: str = "1", *offers: Offer, **more: Any) -> Upgradable:
    offers = offers or (offer("2"),)
    fields = {"candidate": offers[0].version, "taken": True, "arch": "amd64", **more}
    return Upgradable(name=name, installed=installed, offers=offers, **fields)


def chosen(found: Selection) -> dict[str, str]:
    return {choice.name: choice.version for choice in found.choices}


def left(found: Selection) -> dict[str, str]:
    return {one.item: one.reason for one in found.left_out}


def ask(*packages: Upgradable, sightings: dict[tuple[str, str], str] | None = None, **updates: Any) -> Selection:
    return select(packages, Updates.model_validate(updates), sightings or {}, NOW, compare)


@pytest.mark.parametrize(
    ("made", "updates", "takes", "leaves"),
    [
        (package(), {}, {"openssl": "2"}, {}),
        (package("x", "1", offer("2", security=False)), {}, {}, {"x": "not-security"}),
        (package("x", "1", offer("2", security=False)), {"select": "all"}, {"x": "2"}, {}),
        (package(held=True, taken=False), {}, {}, {"openssl": "held"}),
        (package(candidate="1", taken=False), {}, {}, {"openssl": "pinned"}),
        (package(candidate=None, taken=False), {}, {}, {"openssl": "pinned"}),
        (package(taken=False), {}, {}, {"openssl": "kept-back"}),
        (package(taken=False), {"allow_remove": ["old-*"]}, {"openssl": "2"}, {}),
        (package("linux-image-amd64"), {"exclude": ["linux-image-*"]}, {}, {"linux-image-amd64": "excluded"}),
        (package("libc6:i386"), {"exclude": ["libc6"]}, {}, {"libc6:i386": "excluded"}),
        (package(), {"only": ["nginx*"]}, {}, {"openssl": "excluded"}),
        (package(), {"only": ["openss?"]}, {"openssl": "2"}, {}),
        (package("x", "1", offer("3", phased=40), taken=False), {}, {}, {"x": "phased"}),
        (package("x", "1", offer("3", phased=40), taken=True), {}, {"x": "3"}, {}),
        (package("x", "1", offer("3", phased=40), taken=False), {"phased": "take"}, {"x": "3"}, {}),
        (package("x", "1", offer("3", phased=40), taken=True), {"phased": "skip"}, {}, {"x": "phased"}),
        (package("web", "1.0", offer("1.5"), offer("1.2")), {"packages": {"web": "1.2"}}, {"web": "1.2"}, {}),
        (package("web", "1.4", offer("1.5")), {"packages": {"web": "1.2"}}, {}, {"web": "newer"}),
        (package("web", "1.4", offer("1.5")), {"packages": {"web": "1.4"}}, {}, {"web": "excluded"}),
        (package("web", "1", held=True), {"packages": {"web": "2"}}, {}, {"web": "held"}),
        (package("web", "1"), {"packages": {"web": "2"}, "only": ["other"]}, {"web": "2"}, {}),
    ],
)
def test_policy(made: Upgradable, updates: dict[str, Any], takes: dict[str, str], leaves: dict[str, str]) -> None:
    found = ask(made, **updates)

    assert (chosen(found), left(found)) == (takes, leaves)
    assert all(one.detail for one in found.left_out)


def test_a_fix_below_a_newer_version_of_another_pocket_is_still_taken() -> None:
    made = package("x", "1", offer("3", security=False), offer("2"))

    assert chosen(ask(made)) == {"x": "2"}
    assert chosen(ask(made, select="all")) == {"x": "3"}
    assert ask(made, select="all").choices[0].security, "3 closes what 2 closes"


def test_nothing_above_what_the_hosts_pins_allow_is_taken() -> None:
    assert chosen(ask(package("x", "1", offer("3"), offer("2"), candidate="2"))) == {"x": "2"}


def test_a_young_version_waits_until_it_is_old_enough_and_says_who_dated_it() -> None:
    seen = {("openssl", "2"): ago(2)}

    found = ask(package(), min_age="3d", sightings=seen)

    only = found.left_out[0]
    assert (only.reason, only.until) == ("too-young", rfc3339(NOW + DAY))
    assert only.detail.startswith("2 d old (first seen by mainstay") and only.detail.endswith("plan asks 3 d")
    assert chosen(ask(package(), min_age="2d", sightings=seen)) == {"openssl": "2"}
    assert chosen(ask(package(), min_age="3d", min_age_except=["openssl"], sightings=seen)) == {"openssl": "2"}


def test_the_earlier_of_sighting_and_repository_counts() -> None:
    dated = package("openssl", "1", offer("2", dated=ago(5), dated_by="dated by the signed Release"))

    assert chosen(ask(dated, min_age="3d", sightings={("openssl", "2"): ago(1)})) == {"openssl": "2"}
    assert chosen(ask(dated, min_age="6d", sightings={("openssl", "2"): ago(7)})) == {"openssl": "2"}
    assert "dated by the signed Release" in ask(dated, min_age="6d").left_out[0].detail


def test_a_version_that_nobody_has_seen_is_new() -> None:
    found = ask(package(), min_age="3d").left_out[0]

    assert (found.reason, found.until) == ("too-young", rfc3339(NOW + 3 * DAY))
    assert "never seen before" in found.detail


def test_an_older_fix_is_taken_while_the_newest_is_too_young() -> None:
    made = package("x", "1", offer("3", dated=ago(1)), offer("2", dated=ago(20)))

    found = ask(made, min_age="3d")

    assert (chosen(found), left(found)) == ({"x": "2"}, {"x": "too-young"})
    assert found.left_out[0].version == "3"


@pytest.mark.parametrize(
    ("seen", "since"),
    [
        ({"4": 1}, 1),  # alone
        ({"4": 1, "3": 3}, 3),  # replaced another within min_age
        ({"4": 1, "3": 3, "2": 6}, 6),  # and that one yet another: the oldest open fix counts
        ({"4": 1, "3": 10}, 1),  # the one before was old enough on its own
        ({"4": 1, "1": 2}, 1),  # what is installed is no open fix
        ({"4": 1, "5": 2}, 1),  # a newer one replaces nothing
    ],
)
def test_a_fix_that_replaces_another_within_min_age_is_as_old_as_the_oldest_open(
    seen: dict[str, float], since: float
) -> None:
    sightings = {("x", version): ago(days) for version, days in seen.items()}
    made = package("x", "1", offer("4"))

    assert age(made, made.offers[0], sightings, compare, 4 * DAY).since == ago(since)


def test_no_inheritance_for_what_is_no_security_fix() -> None:
    sightings = {("x", "4"): ago(1), ("x", "3"): ago(3)}
    made = package("x", "1", offer("4", security=False))

    assert age(made, made.offers[0], sightings, compare, 4 * DAY).since == ago(1)


def test_spans_are_told_in_one_unit() -> None:
    assert [span(seconds) for seconds in (0, 59, 60, 7200, DAY, 3.9 * DAY)] == [
        "0 s",
        "59 s",
        "1 min",
        "2 h",
        "1 d",
        "3 d",
    ]


OFFERS = st.lists(
    st.builds(
        Offer,
        version=st.sampled_from(["2", "3", "4"]),
        security=st.booleans(),
        dated=st.none() | st.floats(0, 10).map(ago),
        phased=st.none() | st.integers(0, 99),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one.version,
).map(lambda offers: tuple(sorted(offers, key=lambda one: one.version, reverse=True)))
PACKAGES = st.builds(
    Upgradable,
    name=st.sampled_from(["a", "b", "c"]),
    arch=st.just("amd64"),
    installed=st.just("1"),
    offers=OFFERS,
    candidate=st.sampled_from([None, "1", "2", "3", "4"]),
    taken=st.booleans(),
    held=st.booleans(),
)
UPDATES = st.builds(
    Updates,
    select=st.sampled_from(["security", "all"]),
    exclude=st.sampled_from([(), ("a",)]),
    only=st.sampled_from([(), ("b", "c")]),
    min_age=st.sampled_from([0.0, 3 * DAY]),
    phased=st.sampled_from(["follow", "take", "skip"]),
)


@given(st.lists(PACKAGES, max_size=3, unique_by=lambda one: one.name), UPDATES)
def test_every_upgradable_package_is_taken_or_has_its_reason(packages: list[Upgradable], updates: Updates) -> None:
    found = select(packages, updates, {}, NOW, compare)
    named = {one.name: one for one in packages}

    assert set(chosen(found)) | set(left(found)) == set(named)
    for choice in found.choices:
        made = named[choice.name]
        assert not made.held and choice.name not in updates.exclude
        assert compare(choice.version, made.installed) > 0
        assert made.candidate is not None and compare(choice.version, made.candidate) <= 0
        taken = next(one for one in made.offers if one.version == choice.version)
        assert updates.select == "all" or taken.security
    assert all(one.detail and one.version for one in found.left_out)
