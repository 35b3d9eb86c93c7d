"""Which kernel is newer, as Debian orders versions and never across flavours."""

from __future__ import annotations

import itertools

import pytest

from mainstay.runner.kernels import compare, newest_of_flavour, split


@pytest.mark.parametrize(
    ("release", "version", "flavour"),
    [
        ("6.1.0-18-amd64", "6.1.0-18", "amd64"),
        ("6.1.0-18-cloud-amd64", "6.1.0-18", "cloud-amd64"),
        ("5.15.0-91-generic", "5.15.0-91", "generic"),
        ("6.8.0-1004-aws", "6.8.0-1004", "aws"),
        ("6.12.38+deb13-amd64", "6.12.38+deb13", "amd64"),
        ("6.1.0-0.deb11.13-amd64", "6.1.0-0.deb11.13", "amd64"),
        ("6.6.20+rpt-rpi-v8", "6.6.20+rpt", "rpi-v8"),
        ("6.1.0-rpi7-rpi-v8", "6.1.0-rpi7", "rpi-v8"),
        ("6.9-rc3-amd64", "6.9-rc3", "amd64"),
        ("6.6.58-0-lts", "6.6.58-0", "lts"),
        ("5.14.0-362.8.1.el9_3.x86_64", "5.14.0-362.8.1.el9_3.x86_64", ""),
        ("5.14.0-362.8.1.el9_3.x86_64+rt", "5.14.0-362.8.1.el9_3.x86_64", "rt"),
        ("6.18.44", "6.18.44", ""),
        ("", "", ""),
    ],
)
def test_version_and_flavour(release: str, version: str, flavour: str) -> None:
    assert split(release) == (version, flavour)


def test_numbers_are_numbers_and_a_tilde_comes_before_the_end() -> None:
    ordered = [
        "5.10.0-9",
        "5.10.0-18",
        "6.1~rc1",
        "6.1",
        "6.1.0-9",
        "6.1.0-18",
        "6.1.0-101",
        "6.12.38+deb13",
        "6.12.41+deb13",
    ]

    for (i, a), (j, b) in itertools.product(enumerate(ordered), repeat=2):
        assert compare(a, b) == (i > j) - (i < j), (a, b)


def test_the_newest_is_of_the_running_ones_flavour() -> None:
    installed = ["6.1.0-9-amd64", "6.1.0-18-amd64", "6.1.0-21-cloud-amd64", "6.9.0-1-rt-amd64"]

    assert newest_of_flavour("6.1.0-9-amd64", installed) == "6.1.0-18-amd64"
    assert newest_of_flavour("6.1.0-9-cloud-amd64", installed) == "6.1.0-21-cloud-amd64"
    assert newest_of_flavour("6.18.44-fc-v669", installed) is None
