"""Settings of TLS, peers and proxies: what contradicts itself does not start."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest

from selvedge.fabric import BadSetting
from selvedge.pop.settings import Settings, is_loopback
from selvedge.wire import TrustedProxies
from tests.pop.test_settings import load, with_

PLAIN = {"peer_plaintext_loopback": True}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"tls_cert_file": "a"}, "tls_cert_file: needs tls_key_file beside it; name both or"),
        ({"tls_key_file": "a"}, "tls_key_file: needs tls_cert_file beside it; name both or"),
        ({"peer_listen": "8444"}, "peer_listen: '8444' is not host:port, as '127.0.0.1:8101'"),
        (PLAIN | {"peer_listen": "[::1]:1"}, "peer_listen: is for mutual TLS; drop it, or drop"),
        (PLAIN | {"listen": "0.0.0.0:1"}, "'0.0.0.0:1' is not an address of loopback; give"),
        (PLAIN | {"listen": "localhost:1"}, "'localhost:1' is not an address of loopback"),
        (PLAIN | {"peer_addresses": {"fra": "192.0.2.1:1"}}, "'192.0.2.1:1' is not an address"),
        ({"trusted_hops": -1}, "setting trusted_hops: Expected `int` >= 0"),
        ({"trusted_hops": 33}, "setting trusted_hops: Expected `int` <= 32"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, "trusted_proxies: 10.0.0.1/8 has host bits set; as"),
        ({"trusted_proxies": ["proxy"]}, "trusted_proxies: 'proxy' does not appear to be an"),
        ({"trusted_header": "x-real-ip"}, "setting trusted_header: Invalid enum value 'x-real-ip'"),
        ({"tls_handshake_ms_max": 0}, "setting tls_handshake_ms_max: Expected `int` >= 1"),
    ],
)
def test_what_is_refused(tmp_path: Path, more: dict[str, object], words: str) -> None:
    with pytest.raises(BadSetting) as caught:
        load(tmp_path, with_(**more))
    assert words in str(caught.value)


def test_what_is_taken(tmp_path: Path) -> None:
    loopback = {"listen": "[::1]:8101", "peer_addresses": {"fra": "127.3.2.1:1"}}
    assert load(tmp_path, with_(**PLAIN, **loopback)).address == ("::1", 8101)
    networks = ["10.0.0.0/8", "2001:db8::/32"]
    made = load(tmp_path, with_(trusted_proxies=networks, trusted_header="forwarded"))
    expected = tuple(ip_network(one) for one in networks)
    assert made.proxies == TrustedProxies(0, expected, "forwarded")
    assert not load(tmp_path).proxies.any
    from_environment = load(tmp_path, environment={"SELVEDGE_TRUSTED_PROXIES": '["::1/128"]'})
    assert from_environment.trusted_proxies == ["::1/128"]
    pair = load(tmp_path, with_(tls_cert_file="a", tls_key_file="b"))
    assert msgspec.structs.replace(pair) == pair
    assert isinstance(pair, Settings)


@pytest.mark.parametrize(
    ("host", "told"), [("127.0.0.1", True), ("::1", True), ("10.0.0.1", False), ("", False)]
)
def test_loopback(host: str, told: bool) -> None:
    assert is_loopback(host) is told
