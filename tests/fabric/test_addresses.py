"""Addresses that nothing may be pointed at, also in disguise."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from selvedge.fabric import is_inside, read_address, why_forbidden

FORBIDDEN = {
    "metadata": (
        "168.63.129.16",
        "100.100.100.200",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd20:ce::254",
    ),
    "link-local": (
        "169.254.169.254",
        "169.254.170.2",
        "fe80::1",
        "::ffff:169.254.169.254",
        "::ffff:0:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::1",
    ),
    "unspecified": ("0.0.0.0", "0.1.2.3", "::", "::ffff:0.0.0.0"),
    "multicast": ("224.0.0.1", "239.255.255.255", "ff02::1"),
    "reserved": ("240.0.0.1", "255.255.255.255"),
}


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_where_nothing_may_connect(kind: str) -> None:
    for text in FORBIDDEN[kind]:
        why = why_forbidden(ip_address(text))
        assert why is not None, text
        assert kind in why


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("172.32.0.1", False),
        ("192.168.255.255", True),
        ("fd12::1", True),
        ("8.8.8.8", False),
        ("100.64.0.1", False),
        ("2606:4700::1111", False),
    ],
)
def test_what_is_inside(text: str, inside: bool) -> None:
    assert why_forbidden(ip_address(text)) is None
    assert is_inside(ip_address(text)) is inside


def test_reading_a_host() -> None:
    assert read_address("[::1]") == ip_address("::1")
    assert read_address("fe80::1%eth0") == ip_address("fe80::1")
    assert read_address("localhost") is None
    assert read_address("2852039166") is None  # a resolver reads it, and is judged by its answer
