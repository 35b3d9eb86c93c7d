"""Addresses that nothing a site names may lead to: what answers there speaks for the machine that asks, not for a stranger."""

from __future__ import annotations

import ipaddress

_METADATA = {
    "169.254.169.254": "EC2, Google, Azure, DigitalOcean, OpenStack",
    "169.254.170.2": "ECS",
    "fd00:ec2::254": "EC2",
    "fd20:ce::254": "Google",
    "100.100.100.200": "Alibaba",
    "168.63.129.16": "Azure",
    "192.0.0.192": "Oracle",
}
"""Where a cloud tells a machine its own secrets, without asking who wants to know. As their documentation names them."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""RFC 6052: an IPv4 address in the last 32 bits."""


def forbidden(ip: str) -> str:
    """Why nothing may be fetched from, or sent to, this address; empty where it may. Ask it of every address that a name
    resolves to, and connect to the address that was asked about: a second look-up may say something else.

    Private networks and this machine itself are allowed: calendars and monitoring live there.
    """
    try:
        found = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return "it is no IP address"
    if isinstance(found, ipaddress.IPv6Address):
        inside = found.ipv4_mapped or found.sixtofour
        if inside is None and found in _NAT64:
            inside = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inside is not None:
            return forbidden(str(inside))
    if str(found) in _METADATA:
        return f"it is a cloud's metadata address ({_METADATA[str(found)]})"
    if found.is_link_local:
        return "it is a link-local address"
    if found.is_unspecified:
        return "it is no address of a machine"
    if found.is_multicast or (isinstance(found, ipaddress.IPv4Address) and found.is_reserved):
        return "it is no address of one machine"
    return ""
