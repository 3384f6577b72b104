"""The PoP's settings: one frozen value, one table of name, type, default and help.

File < environment (``SELVEDGE_<NAME>``) < flag. An unknown key stops the start. No setting holds a
secret: secrets are files, named here by path. How such a table is read, and rendered as
`docs/settings.md`, is in `setting_tables`.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from selvedge.fabric import BadSetting
from selvedge.pop.setting_tables import load_table
from selvedge.routing import NEAREST_MAX, POLICIES
from selvedge.wire import ForwardedHeader, ImageUrls, TrustedProxies

ENV_PREFIX: Final = "SELVEDGE_"

POLICIES_LIVE: Final = tuple(name for name, row in POLICIES.items() if not row.fresh)
"""Those that need no more than a PoP can know."""

Count = Annotated[int, Meta(ge=1)]
LeaseAway = Literal["last", "micro", "refuse"]


def _help(text: str) -> Meta:
    return Meta(description=text)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a PoP process can be told; see the table for meanings."""

    pop: Annotated[str, _help("Id of this PoP in the release.")]
    listen: Annotated[str, _help("`host:port` to serve clients on.")]
    state_dir: Annotated[str, _help("Directory of receipts, keys and the kept release.")]
    release_file: Annotated[str, _help("Signed release to watch; looked at each second.")]
    key_delta_file: Annotated[
        str | None,
        _help(
            "Signed file of keys revoked and added since the release; looked at four times a "
            "second. None: `key-delta.json` beside the release."
        ),
    ] = None
    operator_public_key: Annotated[str, _help("Ed25519 key, base64, that signs releases.")]
    pepper_file: Annotated[str, _help("File with the 32-byte pepper of key hashes, base64.")]
    peer_addresses: Annotated[
        dict[str, str],
        _help("PoP id -> `host:port`, where a peer is reached otherwise than the release says."),
    ] = {}
    peer_listen: Annotated[
        str | None,
        _help("`host:port` to serve other PoPs on, with mutual TLS 1.3; none: serve no peers."),
    ] = None
    peer_plaintext_loopback: Annotated[
        bool,
        _help("Speak to peers without TLS, on `listen`; every address must be of loopback."),
    ] = False
    tls_cert_file: Annotated[
        str | None,
        _help("PEM chain that clients are shown; looked at each second. None: no TLS."),
    ] = None
    tls_key_file: Annotated[str | None, _help("PEM key of `tls_cert_file`.")] = None
    tls_handshake_ms_max: Annotated[
        Count, _help("Time for a TLS handshake before the connection is closed, in ms.")
    ] = 5_000
    trusted_hops: Annotated[
        int,
        Meta(ge=0, le=32),
        _help("How many proxies of ours stand in front; the client is so far from the right."),
    ] = 0
    trusted_proxies: Annotated[
        list[str],
        _help("Networks (CIDR) of proxies in front; from elsewhere no forwarding header counts."),
    ] = []
    trusted_header: Annotated[
        ForwardedHeader,
        _help("The header that these proxies write: `x-forwarded-for` or `forwarded`."),
    ] = "x-forwarded-for"
    wan_emulated: Annotated[
        bool, _help("Say on `/health` that links to peers are emulated; changes nothing else.")
    ] = False
    core_dumps: Annotated[
        bool,
        _help(
            "Let a crash leave an image of memory, prompts and keys in it, and let others of the "
            "same user look into the process; for debugging with made-up data alone."
        ),
    ] = False
    body_bytes_max: Annotated[Count, _help("Largest request body, in bytes.")] = 10_000_000
    bodies_bytes_max: Annotated[
        Count, _help("Largest sum of request bodies held at once, in bytes; above it 503.")
    ] = 256_000_000
    answer_bytes_max: Annotated[
        Count, _help("Largest answer held for a client that does not stream, in bytes.")
    ] = 64_000_000
    idempotency_bytes_max: Annotated[
        int,
        Meta(ge=0),
        _help(
            "Bytes of answers kept, to give them again for their Idempotency-Key; 0: none. Several "
            "workers keep them together, as much as when the PoP was started."
        ),
    ] = 16_000_000
    idempotency_keys_max: Annotated[
        int,
        Meta(ge=1, le=1_048_576),
        _help(
            "Idempotency-Keys remembered. Several workers remember them together, as many as when "
            "the PoP was started."
        ),
    ] = 65_536
    idempotency_ttl_ms: Annotated[
        Count, _help("How long an Idempotency-Key stands for its request, in milliseconds.")
    ] = 86_400_000
    responses_bytes_max: Annotated[
        int,
        Meta(ge=0),
        _help(
            "Bytes on disk of answers kept for `/v1/responses`, to be read again and gone on from; "
            "what was used longest ago goes first. 0: none is kept."
        ),
    ] = 256_000_000
    responses_ttl_ms: Annotated[
        Count,
        _help("How long such an answer is kept after it was last gone on from, in milliseconds."),
    ] = 2_592_000_000
    cache_recall_ms_max: Annotated[
        Count,
        _help("Longest wait for the answer to a similar question, in ms; then an engine is asked."),
    ] = 40
    cache_bytes_max: Annotated[
        int,
        Meta(ge=2**20),
        _help("Bytes of kept answers of all classes; their files may take twice that."),
    ] = 2**30
    cache_memory_bytes_max: Annotated[
        int,
        Meta(ge=2**20),
        _help("Bytes that the cache's process holds of indexes; the bundled encoder takes 150 MB."),
    ] = 2**29
    cache_judge_in_flight_max: Annotated[
        int, Meta(ge=0), _help("Judgements by a model (`judge: engine:MODEL`) at once; 0: none.")
    ] = 2
    cache_judge_ms_max: Annotated[
        Count, _help("Longest time of one such question to the model, in ms.")
    ] = 10_000
    cache_embedder_url: Annotated[
        str | None,
        _help(
            "Base URL, ending in `/v1`, of an engine that makes the cache's vectors. None: "
            "all-MiniLM-L6-v2, bundled."
        ),
    ] = None
    cache_embedder_model: Annotated[str | None, _help("Its model there.")] = None
    cache_embedder_dims: Annotated[
        int, Meta(ge=0, le=8192), _help("How many numbers its vectors have.")
    ] = 0
    cache_embedder_key_env: Annotated[
        str | None, _help("Environment variable with its API key.")
    ] = None
    image_urls: Annotated[
        ImageUrls,
        _help(
            "What pictures, sound and files in messages may be: `data-only`, what the request "
            "itself brings; `https`, also URLs that an engine then fetches from the operator's "
            "network."
        ),
    ] = "data-only"
    deadline_ms_default: Annotated[
        Count, _help("Deadline of a request that names none, in milliseconds.")
    ] = 600_000
    deadline_ms_max: Annotated[
        Count, _help("Longest deadline a client may ask for, in milliseconds.")
    ] = 3_600_000
    connect_ms_max: Annotated[
        Count, _help("Time to connect to an engine or peer before the next attempt, in ms.")
    ] = 2_000
    cooling_ms: Annotated[
        Count, _help("How long an engine that just failed is ranked last, in milliseconds.")
    ] = 5_000
    routing_policy: Annotated[
        str,
        _help("What orders the PoPs that a request may go to: a row of docs/routing.md's table."),
    ] = "predictive"
    report_ms: Annotated[
        int,
        Meta(ge=50, le=10_000),
        _help("How often near PoPs with engines are asked for their report, in ms."),
    ] = 1_000
    reports_from_max: Annotated[
        int,
        Meta(ge=0, le=NEAREST_MAX),
        _help("How many of the nearest allowed PoPs are asked for reports; 0: none."),
    ] = NEAREST_MAX
    residency_shadow_one_in: Annotated[
        int,
        Meta(ge=0),
        _help(
            "One attempt in so many is asked again of the policy itself, beside the event loop; "
            "where that differs, an alarm, and the rule allows nothing here. 0: none."
        ),
    ] = 1_000
    residency_shadow_queue_max: Annotated[
        int, Meta(ge=1, le=65_536), _help("Such attempts that may wait; others are not asked.")
    ] = 64
    lease_away: Annotated[
        LeaseAway,
        _help(
            "What of limits a minute and at once may be used when leases have ended and the "
            "control plane is away: `last`, the last share; `micro`, one request a window; "
            "`refuse`, nothing."
        ),
    ] = "last"
    lease_away_ms: Annotated[
        Count, _help("How long `lease_away: last` goes on, in milliseconds; then as `micro`.")
    ] = 86_400_000
    output_tokens_estimate: Annotated[
        Count,
        _help(
            "Output tokens reserved for a request that names no maximum; settled by its receipt."
        ),
    ] = 512
    fsync_ms: Annotated[
        Count, _help("Receipts are synced to disk within this time, in milliseconds.")
    ] = 5
    segment_bytes_max: Annotated[Count, _help("Size of a receipt file before the next, bytes.")] = (
        64 * 1024 * 1024
    )
    ship_ms: Annotated[
        int,
        Meta(ge=10, le=60_000),
        _help("How often receipts are looked for that are to go to their collector, in ms."),
    ] = 1_000
    ship_bytes_per_s_max: Annotated[
        int,
        Meta(ge=65_536),
        _help("Bytes of receipt files read for collectors in a second, also to catch up."),
    ] = 8_000_000
    ship_batch_bytes_max: Annotated[
        int,
        Meta(ge=1, le=4 * 1024 * 1024),
        _help("Receipts sent to a collector at once, in bytes; the last may exceed it."),
    ] = 256 * 1024
    ship_batch_max: Annotated[
        int, Meta(ge=1, le=100_000), _help("Receipts sent to a collector at once.")
    ] = 1_000
    ship_personal: Annotated[
        bool, _help("Send the ciphertexts of personal fields along; their keys never leave.")
    ] = False
    receipts_kept_days: Annotated[
        int,
        Meta(ge=0),
        _help("Receipt files that every collector has are dropped after so many days; 0: never."),
    ] = 0
    log_tell_ms: Annotated[
        int,
        Meta(ge=100, le=3_600_000),
        _help("How often the jurisdiction's log is told the newest checkpoint of this PoP's, ms."),
    ] = 10_000
    connections_max: Annotated[Count, _help("Client and peer connections at once.")] = 10_000
    workers: Annotated[
        int, Meta(ge=1, le=64), _help("Processes that serve; limits hold for all together.")
    ] = 1
    connections_per_client_max: Annotated[
        Count, _help("Connections at once of one address (IPv6: one /64); above it 503.")
    ] = 5_000
    requests_running_max: Annotated[
        Count, _help("Requests served at once; above it 503 before the body is read.")
    ] = 10_000
    loop_turn_us_max: Annotated[
        Count,
        _help(
            "Longest turn of the event loop, in microseconds, before requests stand in line for it."
        ),
    ] = 1_000
    loop_wait_ms_max: Annotated[
        Count,
        _help("Longest wait in that line in a burst, in ms; what would wait longer gets 503."),
    ] = 50
    engine_connections_max: Annotated[
        Count, _help("Connections in use at once to one engine or peer; above it the next attempt.")
    ] = 4_096
    engine_idle_ms_max: Annotated[
        Count,
        _help(
            "Longest silence of an engine in an answer, progress included, before it is given up."
        ),
    ] = 120_000
    stream_ms_max: Annotated[
        Count, _help("Longest stream, in milliseconds; then it ends with an error event.")
    ] = 3_600_000
    ping_ms: Annotated[
        int,
        Meta(ge=0),
        _help("After such a silence a stream's client gets an SSE comment, in ms; 0: never."),
    ] = 15_000
    idle_ms_max: Annotated[
        Count, _help("Longest time a client's connection may stay idle between requests, in ms.")
    ] = 75_000
    head_ms_max: Annotated[
        Count, _help("Longest time for a request's head to arrive whole, in milliseconds.")
    ] = 10_000
    body_ms_max: Annotated[
        Count, _help("Longest time between two parts of a request's body, in milliseconds.")
    ] = 60_000
    write_ms_max: Annotated[
        Count, _help("Longest time a client may take nothing of what waits for it, in ms.")
    ] = 60_000
    client_buffer_bytes_max: Annotated[
        Count, _help("Unsent bytes of one client above which its engine is held back.")
    ] = 256 * 1024
    drain_notice_ms: Annotated[
        int,
        Meta(ge=0),
        _help("On SIGTERM: time between `/readyz` saying 503 and the socket closing, in ms."),
    ] = 0
    drain_ms: Annotated[
        Count, _help("On SIGTERM: time for running requests to finish, in milliseconds.")
    ] = 10_000
    worker_still_ms_max: Annotated[
        int,
        Meta(ge=1000),
        _help("A worker whose loop stands still for so long is killed; another takes its place."),
    ] = 20_000
    drain_idle_ms: Annotated[
        Count, _help("On SIGTERM: how long an idle connection may still ask, in milliseconds.")
    ] = 1_000

    def __post_init__(self) -> None:
        _check_listen("listen", self.listen)
        for peer, address in self.peer_addresses.items():
            if not address.rpartition(":")[2].isdigit():
                raise BadSetting("peer_addresses", f"{peer}: {address!r} is not host:port")
        self._check_peers()
        self._check_clients()
        named = self.cache_embedder_model and self.cache_embedder_dims
        if self.cache_embedder_url is not None and not named:
            words = "needs cache_embedder_model and cache_embedder_dims beside it"
            raise BadSetting("cache_embedder_url", words)
        if self.routing_policy not in POLICIES_LIVE:
            words = f"{self.routing_policy!r} is not one of {', '.join(POLICIES_LIVE)}"
            raise BadSetting("routing_policy", words)

    def _check_peers(self) -> None:
        if self.peer_listen is not None:
            _check_listen("peer_listen", self.peer_listen)
            if self.peer_plaintext_loopback:
                words = "is for mutual TLS; drop it, or drop peer_plaintext_loopback"
                raise BadSetting("peer_listen", words)
        if not self.peer_plaintext_loopback:
            return
        for address in (self.listen, *self.peer_addresses.values()):
            if not is_loopback(host_and_port(address)[0]):
                words = f"{address!r} is not an address of loopback; give peers a peer_listen"
                raise BadSetting("peer_plaintext_loopback", f"{words}, for mutual TLS")

    def _check_clients(self) -> None:
        for name, other in (("tls_cert_file", "tls_key_file"), ("tls_key_file", "tls_cert_file")):
            if getattr(self, name) is not None and getattr(self, other) is None:
                raise BadSetting(name, f"needs {other} beside it; name both or neither")
        for network in self.trusted_proxies:
            try:
                ip_network(network)
            except ValueError as error:
                raise BadSetting("trusted_proxies", f"{error}; as '10.0.0.0/8'") from error

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to listen on."""
        return host_and_port(self.listen)

    @property
    def proxies(self) -> TrustedProxies:
        """The proxies in front, as forwarding headers are read by."""
        networks = tuple(ip_network(one) for one in self.trusted_proxies)
        return TrustedProxies(self.trusted_hops, networks, self.trusted_header)


def host_and_port(address: str) -> tuple[str, int]:
    """``host:port`` in two; the brackets of an IPv6 address are no part of it."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether this host is an address of loopback; a name is not, whatever it resolves to."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_listen(name: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise BadSetting(name, f"{address!r} is not host:port, as '127.0.0.1:8101'")


def load_settings(
    file: Path | None, environment: Mapping[str, str], flags: Mapping[str, object]
) -> Settings:
    """Settings from file, environment and flags, the later ones winning. Raises `BadSetting`."""
    return load_table(Settings, ENV_PREFIX, file, environment, flags)
