"""Forwarding headers: the rightmost that can be true, and the socket's address for the rest."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.wire import ForwardedHeader, TrustedProxies, client_address, read_address
from selvedge.wire.forwarded import HOPS_MAX

PROXY = "10.0.0.1"
OURS = (ip_network("10.0.0.0/8"), ip_network("2001:db8:aa::/48"))
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


def hops(count: int, header: ForwardedHeader = "x-forwarded-for") -> TrustedProxies:
    return TrustedProxies(count, header=header)


def walk(header: ForwardedHeader = "x-forwarded-for") -> TrustedProxies:
    return TrustedProxies(networks=OURS, header=header)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("\t203.0.113.7 ", "203.0.113.7"),
        ("203.0.113.7:4711", "203.0.113.7"),
        ("203.0.113.7:_hidden", "203.0.113.7"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[fe80::1%25en0]:80", "fe80::1"),
        ("[fe80::1%en0]:80", "fe80::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:1", "203.0.113.7"),
        ("::1", "::1"),
        ("", None),
        ("unknown", None),
        ("_secret", None),
        ("203.0.113.7:", None),
        ("203.0.113.7:x", None),
        ("203.0.113.7:65536", None),
        ("203.0.113.07", None),
        ("203.0.113", None),
        ("203.0.113.7%eth0", None),
        ("[203.0.113.7]", None),
        ("[2001:db8::1", None),
        ("2001:db8::1]", None),
        ("[2001:db8::1]x", None),
        ("[2001:db8::1]:", None),
        ("fe80::1%", None),
        ("fe80::1%a b", None),
        (":::", None),
        ("٣.0.113.7", None),
        ("203.0.113.7\r\nx: y", None),
    ],
)
def test_an_address(text: str, address: str | None) -> None:
    found = read_address(text)
    assert (str(found) if found is not None else None) == address


@pytest.mark.parametrize(
    ("written", "count", "client"),
    [
        (None, 1, PROXY),
        ("203.0.113.7", 0, PROXY),
        ("203.0.113.7", 1, "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7", 1, "203.0.113.7"),
        ("6.6.6.6,203.0.113.7,10.0.0.9", 2, "203.0.113.7"),
        ("203.0.113.7", 2, PROXY),
        ("6.6.6.6, unknown", 1, PROXY),
        ("6.6.6.6, ", 1, PROXY),
        ("", 1, PROXY),
        ("[2001:db8::7]:443", 1, "2001:db8::7"),
    ],
)
def test_so_many_proxies(written: str | None, count: int, client: str) -> None:
    assert client_address(PROXY, written, hops(count)) == client


@pytest.mark.parametrize(
    ("peer", "written", "client"),
    [
        (PROXY, "6.6.6.6, 203.0.113.7, 10.2.3.4", "203.0.113.7"),
        ("2001:db8:aa::1", "203.0.113.7", "203.0.113.7"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("203.0.113.99", "6.6.6.6", "203.0.113.99"),
        (PROXY, "6.6.6.6, junk, 10.2.3.4", PROXY),
        (PROXY, "10.9.9.9, 10.2.3.4", "10.9.9.9"),
        (PROXY, ",".join(["10.0.0.2"] * (HOPS_MAX + 1)), PROXY),
        (PROXY, None, PROXY),
        ("", "203.0.113.7", ""),
        ("/run/pop.sock", "203.0.113.7", "/run/pop.sock"),
    ],
)
def test_proxies_by_network(peer: str, written: str | None, client: str) -> None:
    assert client_address(peer, written, walk()) == client


def test_both_a_count_and_networks() -> None:
    both = TrustedProxies(2, OURS)
    assert client_address(PROXY, "6.6.6.6, 203.0.113.7, 192.0.2.1", both) == "203.0.113.7"
    assert client_address("192.0.2.1", "6.6.6.6, 203.0.113.7, 192.0.2.1", both) == "192.0.2.1"


@pytest.mark.parametrize(
    ("written", "client"),
    [
        ("for=203.0.113.7", "203.0.113.7"),
        ("For=203.0.113.7;Proto=https ; by=10.0.0.1", "203.0.113.7"),
        ('for="[2001:db8::7]:4711"', "2001:db8::7"),
        (r'for="\[2001:db8::7\]"', "2001:db8::7"),
        ('for=6.6.6.6, proto="a,b;for=6.6.6.6";for=203.0.113.7', "203.0.113.7"),
        ("for=203.0.113.7, by=10.0.0.1", PROXY),
        ("for=6.6.6.6;for=203.0.113.7", PROXY),
        ("for=203.0.113.7 x", PROXY),
        ("for = 203.0.113.7", PROXY),
        ('for="203.0.113.7', PROXY),
        ('for=9.9.9.9, for=", for="[2001:db8::7]"', PROXY),
        ("for=203.0.113.7,", PROXY),
        ("for=203.0.113.7;", PROXY),
        ("for=unknown", PROXY),
        ("for=_hidden", PROXY),
        ("203.0.113.7", PROXY),
        ("", PROXY),
    ],
)
def test_the_standard_header(written: str, client: str) -> None:
    assert client_address(PROXY, written, hops(1, "forwarded")) == client
    assert client_address(PROXY, written, walk("forwarded")) == client


@given(st.text(max_size=200), st.integers(0, 3), st.booleans(), st.booleans())
def test_whatever_is_written_an_address_comes_out(
    written: str, count: int, by_network: bool, standard: bool
) -> None:
    header: ForwardedHeader = "forwarded" if standard else "x-forwarded-for"
    proxies = TrustedProxies(count, OURS if by_network else (), header)
    assert ip_address(client_address(PROXY, written, proxies))


@given(st.text(max_size=200), ADDRESSES, st.lists(ADDRESSES, max_size=4))
def test_a_client_cannot_choose_its_address(
    forged: str, client: object, between: list[object]
) -> None:
    """Whatever came before it, what the outermost proxy of ours saw is what is taken."""
    written = ", ".join([forged, str(client), *map(str, between)])
    expected = str(read_address(str(client)))
    assert client_address(PROXY, written, hops(len(between) + 1)) == expected


@given(ADDRESSES, st.integers(0, 65535), st.booleans())
def test_every_address_is_read_in_every_dress(address: object, port: int, ported: bool) -> None:
    text = str(address)
    dressed = f"[{text}]" if ":" in text else text
    dressed += f":{port}" if ported else ""
    plain = str(read_address(text))
    assert client_address(PROXY, dressed, hops(1)) == plain
    quoted = f'proto=https;for="{dressed}"'
    assert client_address(PROXY, quoted, hops(1, "forwarded")) == plain
