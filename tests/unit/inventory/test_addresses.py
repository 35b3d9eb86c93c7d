from __future__ import annotations

import pytest

from mainstay.inventory.addresses import forbidden


@pytest.mark.parametrize(
    "ip",
    [
        "169.254.169.254",
        "169.254.170.2",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "fd00:ec2::254",
        "FD00:EC2::254",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "not an address",
        "",
    ],
)
def test_what_nothing_may_lead_to(ip: str) -> None:
    assert forbidden(ip)


@pytest.mark.parametrize(
    "ip",
    [
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.9",
        "127.0.0.1",
        "::1",
        "8.8.8.8",
        "2001:db8::1",
        "fd12:3456::1",
        "100.64.0.1",
    ],
)
def test_what_may_be_asked(ip: str) -> None:
    assert forbidden(ip) == ""


def test_says_whose_metadata_it_is() -> None:
    assert (
        forbidden("169.254.169.254") == "it is a cloud's metadata address (EC2, Google, Azure, DigitalOcean, OpenStack)"
    )
