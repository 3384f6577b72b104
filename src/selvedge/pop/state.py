"""What one PoP process holds while it runs: its release, its load, its book, its connections."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import parse_qsl

import msgspec

from selvedge.adapters import Entropy, Held, HttpClient, Origin, ReceiptBook, Way
from selvedge.exchange import FleetView, Secrets, compile_view
from selvedge.fabric import Engine, Refused, Route, StoreFailed
from selvedge.ledger import AWAY, Away, Holder, Keyring
from selvedge.pop.answer_cache import AnswerCache
from selvedge.pop.answered import Answered, HeldKeys
from selvedge.pop.bodies import BodyBudget
from selvedge.pop.cache_keeping import has_cache
from selvedge.pop.clock import now_us
from selvedge.pop.deadlines import Deadlines
from selvedge.pop.downstream import Templates
from selvedge.pop.gate import Gate
from selvedge.pop.kept_responses import KeptResponses
from selvedge.pop.metrics import Metrics
from selvedge.pop.peering import Peering, Peers
from selvedge.pop.pressure import Shares
from selvedge.pop.provider_keys import ProviderKeys
from selvedge.pop.settings import Settings, host_and_port, is_loopback
from selvedge.pop.shadow import ShadowCheck
from selvedge.pop.shared import Shared
from selvedge.pop.stream_clock import StreamClock, StreamLimits
from selvedge.residency import policy_end_us
from selvedge.routing import Board, LoadBook, OwnEngines, Paces, make_policy
from selvedge.wire import NO_OPTIONS, PROFILES, TicketBook

US: Final = ("user-agent", "selvedge")
JSON_BODY: Final = ("content-type", "application/json")


class Target(msgspec.Struct, frozen=True):
    """Where an engine's API is."""

    origin: Origin
    path: str
    options: Mapping[str, str] = NO_OPTIONS
    """What the URL's query says to our dialect of the provider there."""


class Reading(Protocol):
    """Who waits for a body."""

    def end_reading(self, refused: Refused) -> None:
        """Wait no longer."""


class PopState:
    """Shared by all requests of one process; owned by the event loop's thread.

    ``engine_keys`` holds API keys of engines, by the environment variable the release names;
    ``part`` is the slot of this process among the workers, and how many there are.
    """

    def __init__(
        self,
        settings: Settings,
        book: ReceiptBook,
        client: HttpClient,
        engine_keys: Mapping[str, str],
        shared: Shared | None = None,
        *,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self.settings = settings
        self.book = book
        self.client = client
        self.shared = shared = shared or Shared.alone()
        shared.open_intents.set(book.open_intents)
        self.metrics = Metrics(settings.pop, shared)
        self.shadow = ShadowCheck(
            settings.residency_shadow_one_in,
            settings.residency_shadow_queue_max,
            self.metrics,
            Path(settings.state_dir),
        )
        self.bodies = BodyBudget(settings.bodies_bytes_max, shared.bodies)
        self.tickets = TicketBook(settings.pop, now_us())
        self.answered: HeldKeys = Answered(
            settings.idempotency_bytes_max,
            settings.idempotency_ttl_ms * 1000,
            settings.idempotency_keys_max,
        )
        self.responses = KeptResponses(settings, self.metrics.responses_lost.inc)
        self.view: FleetView | None = None
        self.engine_keys = engine_keys
        self.paces = Paces()
        self.provider_keys = ProviderKeys(engine_keys)
        self.load = LoadBook(None if shared.is_alone else shared.counts())
        self.entropy = Entropy()
        epoch = int.from_bytes(self.entropy.take(4), "big")  # of no other process of this PoP
        self.own = OwnEngines(settings.pop, self.load, now_us, epoch)
        self.signals: Board | None = None
        rule = Away(AWAY.index(settings.lease_away), settings.lease_away_ms * 1000)
        self.quotas = Holder(rule, settings.output_tokens_estimate, part)
        self.deadlines = Deadlines(now_us)
        self.cache = AnswerCache(self.deadlines, self.metrics.cache)
        self.templates = Templates(settings.pop)
        self.peering = Peering(settings)
        self.proxies = settings.proxies
        self.gate = Gate(settings, self.metrics, self.tally_at)
        self.shares = Shares()
        self.streams = StreamClock(_stream_limits(settings))
        self.draining = False
        self.reading: set[Reading] = set()
        """Requests whose body is still on its way."""
        self._ways: dict[tuple[str, str | None, bool, str], Way] = {}
        self._targets: dict[str, Target] = {}

    def swap(self, held: Held, secrets: Secrets, peers: Peers | None = None) -> None:
        """Serve by this release from now on; running requests keep the view they began with."""
        here = self.settings.pop
        self.own.serve(held.release.pop(here).engines)
        self.view = compile_view(
            held.release,
            held.hash,
            here,
            secrets,
            self.load.view,
            policy=make_policy(self.settings.routing_policy, here),
            signals=self.signals,
            states=self.own if self.own.engines else None,
            quotas=self.quotas,
        )
        self._see_providers()
        self.view = msgspec.structs.replace(self.view, paces=self.paces)
        self.shadow.serve(self.view)
        self.cache.serve(wanted=has_cache(held.release))
        self.peering.take(peers or Peers())
        self._ways.clear()
        self._targets.clear()
        self.templates = Templates(here)
        self.metrics.release.set(held.release.version)
        self.metrics.policy_end.set(policy_end_us(held.release.policy) // 1_000_000)

    def hold_secrets(self, sealed: Mapping[str, str]) -> None:
        """Ask providers with these sealed secrets from now on."""
        self.provider_keys.hold(sealed)
        self._see_providers()

    def _see_providers(self) -> None:
        view = self.view
        if view is not None and view.providers:
            dials = [one for one in view.providers.values() if self.provider_keys.dials(one)]
            away = view.rules.bits(view.providers) & ~view.rules.bits(one.id for one in dials)
            self.view = msgspec.structs.replace(view, dials=~away)

    def admit_by(self, ring: Keyring) -> None:
        """Admit by these keys from now on; running requests keep the view they began with."""
        if self.view is not None:
            self.view = msgspec.structs.replace(self.view, keyring=ring)

    def hear(self, signals: Board | None) -> None:
        """Route by what this board has heard from now on; None: nobody reports."""
        if signals is not self.signals:
            self.signals = signals
            if self.view is not None:
                self.view = msgspec.structs.replace(self.view, signals=signals)

    def engine_way(self, engine: Engine, route: Route) -> Way:
        """The way to a route of an engine of this PoP."""
        # By address, not by name: a request that began under an older release keeps to its own.
        way = self._ways.get((engine.url, engine.api_key_env, engine.plain_http_outside, route))
        if way is None:
            target = self.target_of(engine)
            key = self.engine_keys.get(engine.api_key_env or "")
            headers = [JSON_BODY, ("authorization", f"Bearer {key}")] if key else [JSON_BODY]
            outside = engine.plain_http_outside
            origin = msgspec.structs.replace(target.origin, plain_outside=outside)
            path = PROFILES[engine.profile].count_path if route is Route.COUNT else route.value
            way = self.client.way(target.path + path, origin, headers)
            self._ways[engine.url, engine.api_key_env, outside, route] = way
        return way

    def target_of(self, engine: Engine) -> Target:
        """Where an engine is; kept, because its TLS context is what its connections are kept by."""
        target = self._targets.get(engine.url)
        if target is None:
            target = self._targets[engine.url] = parse_url(engine.url)
        return target

    def provider_way(self, engine: Engine, path: str) -> Way:
        """The way to a path of a provider's own; what proves who asks goes with each request."""
        outside = engine.plain_http_outside
        key = (engine.url, "", outside, path)
        way = self._ways.get(key)
        if way is None:
            origin = self.target_of(engine).origin
            origin = msgspec.structs.replace(origin, plain_outside=outside)
            way = self._ways[key] = self.client.way(path, origin, [JSON_BODY, US])
        return way

    def peer_way(self, pop_id: str, route: Route, view: FleetView) -> Way | Refused:
        """The way to a route of another PoP: where the settings say, else the release."""
        address = self.settings.peer_addresses.get(pop_id) or view.pops[pop_id].peer
        way = self._ways.get((address, pop_id, True, route))
        if way is None:
            origin = self._peer_origin(pop_id, address)
            if isinstance(origin, Refused):
                return origin
            way = self.client.way(route.value, origin, [JSON_BODY])
            self._ways[address, pop_id, True, route] = way
        return way

    def peer_target_way(self, pop_id: str, target: str, view: FleetView) -> Way | Refused:
        """The way to what is no route of another PoP."""
        address = self.settings.peer_addresses.get(pop_id) or view.pops[pop_id].peer
        origin = self._peer_origin(pop_id, address)
        return origin if isinstance(origin, Refused) else self.client.way(target, origin)

    def _peer_origin(self, pop_id: str, address: str) -> Origin | Refused:
        host, port = host_and_port(address)
        if self.peering.is_plain:
            if is_loopback(host):
                return Origin(host, port)
            words = f"PoP {pop_id!r} is not on loopback, where alone plaintext is allowed."
            return Refused("no_engine_available", words)
        tls = self.peering.dial(pop_id)
        return tls if isinstance(tls, Refused) else Origin(host, port, tls=tls)

    def tally(self, code: str) -> None:
        """Count a refusal without a receipt; where even that cannot be written, in metrics only."""
        self.metrics.unauthenticated.labels(code).inc()
        self.tally_at(code, now_us())

    def tally_at(self, code: str, at_us: int) -> None:
        """Count it in the book alone."""
        try:
            self.book.tally(code, at_us)
        except StoreFailed:
            self.metrics.store_failures.inc()


def _stream_limits(settings: Settings) -> StreamLimits:
    return StreamLimits(
        ping_us=settings.ping_ms * 1000,
        engine_idle_us=settings.engine_idle_ms_max * 1000,
        stream_us=settings.stream_ms_max * 1000,
    )


def parse_url(url: str) -> Target:
    """An engine's URL as host, port, base path and TLS. A trailing ``/v1`` is understood."""
    url, _, query = url.partition("?")
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    base = f"{slash}{path}".rstrip("/").removesuffix("/v1")
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdigit():
        host, port = authority, "443" if scheme == "https" else "80"
    tls = ssl.create_default_context() if scheme == "https" else None
    options = dict(parse_qsl(query))
    return Target(Origin(host.strip("[]"), int(port), tls), base, options)
