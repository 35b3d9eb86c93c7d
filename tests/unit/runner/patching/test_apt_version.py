"""Debian's order of versions, held against dpkg itself where it is there, and its grammar."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.runner.patching.apt.version import compare, valid

ORDERED = [
    "0~~", "0~", "0", "0+b1", "1.0~beta1~svn1", "1.0~beta1", "1.0", "1.0-1", "1.0-1+deb12u1", "1.0-1.1", "1.0-2",
    "1.0a", "1.0+dfsg", "1.2", "1.10", "1:0.1", "2:0~",
]  # fmt: skip
VERSIONS = st.from_regex(r"\A(?:[0-3]:)?[0-9][0-9a-b.+~]{0,6}(?:-[0-9a-b.+~]{1,4})?\Z")


def test_versions_in_their_order() -> None:
    for index, left in enumerate(ORDERED):
        for other, right in enumerate(ORDERED):
            assert compare(left, right) == (index > other) - (index < other), (left, right)


@given(VERSIONS, VERSIONS, VERSIONS)
def test_it_is_an_order(a: str, b: str, c: str) -> None:
    assert compare(a, a) == 0
    assert compare(a, b) == -compare(b, a)
    if compare(a, b) <= 0 and compare(b, c) <= 0:
        assert compare(a, c) <= 0


@settings(max_examples=60, deadline=None)
@given(VERSIONS, VERSIONS)
def test_it_is_dpkgs_order(a: str, b: str) -> None:
    less = subprocess.run(["dpkg", "--compare-versions", a, "lt", b], check=False, capture_output=True).returncode == 0
    assert (compare(a, b) < 0) == less


@pytest.mark.parametrize("name", ["libc6", "libc6:i386", "g++", "libstdc++6", "0ad", "python3.11"])
def test_names_that_are(name: str) -> None:
    assert valid(name, "1:2.3~rc1-4+b1")


@pytest.mark.parametrize(
    "name", ["", "-y", "x", "a b", "a;b", "a=1", "A", "../x", "a\n", "a$(b)", "a/b", "a*", "a:b c", "ä1", "ab:-x"]
)
def test_names_that_are_not(name: str) -> None:
    assert not valid(name, "1")


@pytest.mark.parametrize("version", ["", "-1", " 1", "1 ", "1;2", "1/2", "1\n", "$(x)", "1:2:3", "1*"])
def test_versions_that_are_not(version: str) -> None:
    assert not valid("demo-web", version)
