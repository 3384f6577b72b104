"""What one PoP process holds while it runs: its release, its load, its book, its connections."""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping

import msgspec

from selvedge.adapters import Entropy, Held, HttpClient, ReceiptBook
from selvedge.exchange import FleetView, Secrets, compile_view
from selvedge.fabric import Engine, StoreFailed
from selvedge.pop.bodies import BodyBudget
from selvedge.pop.deadlines import Deadlines
from selvedge.pop.metrics import Metrics
from selvedge.pop.settings import Settings
from selvedge.routing import LoadBook
from selvedge.wire import TicketBook


def now_us() -> int:
    """Integer microseconds UTC."""
    return time.time_ns() // 1000


class Target(msgspec.Struct, frozen=True):
    """Where an attempt connects to."""

    host: str
    port: int
    path: str = ""
    tls: ssl.SSLContext | None = None


class PopState:
    """Shared by all requests of one process; owned by the event loop's thread.

    ``engine_keys`` holds API keys of engines, by the environment variable the release names.
    """

    def __init__(
        self,
        settings: Settings,
        book: ReceiptBook,
        client: HttpClient,
        engine_keys: Mapping[str, str],
    ) -> None:
        self.settings = settings
        self.book = book
        self.client = client
        self.metrics = Metrics(settings.pop)
        self.bodies = BodyBudget(settings.bodies_bytes_max)
        self.tickets = TicketBook(settings.pop, now_us())
        self.view: FleetView | None = None
        self.engine_keys = engine_keys
        self.load = LoadBook()
        self.entropy = Entropy()
        self.deadlines = Deadlines(now_us)
        self._targets: dict[str, Target] = {}

    def swap(self, held: Held, secrets: Secrets) -> None:
        """Serve by this release from now on; running requests keep the view they began with."""
        self.view = compile_view(
            held.release, held.hash, self.settings.pop, secrets, self.load.view
        )
        self._targets.clear()
        self.metrics.release.set(held.release.version)

    def engine_target(self, engine: Engine) -> Target:
        """Address of an engine of this PoP."""
        target = self._targets.get(engine.url)
        if target is None:
            target = self._targets[engine.url] = parse_url(engine.url)
        return target

    def peer_target(self, pop_id: str, view: FleetView) -> Target:
        """Address of another PoP: the settings' where they name one, else the release's."""
        address = self.settings.peer_addresses.get(pop_id) or view.release.pop(pop_id).peer
        host, _, port = address.rpartition(":")
        return Target(host.strip("[]"), int(port))

    def tally(self, code: str) -> None:
        """Count a refusal without a receipt; where even that cannot be written, in metrics only."""
        self.metrics.unauthenticated.labels(code).inc()
        try:
            self.book.tally(code, now_us())
        except StoreFailed:
            self.metrics.store_failures.inc()


def parse_url(url: str) -> Target:
    """An engine's URL as host, port, base path and TLS. A trailing ``/v1`` is understood."""
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    base = f"{slash}{path}".rstrip("/").removesuffix("/v1")
    host, colon, port = authority.rpartition(":")
    if not colon or not port.isdigit():
        host, port = authority, "443" if scheme == "https" else "80"
    tls = ssl.create_default_context() if scheme == "https" else None
    return Target(host.strip("[]"), int(port), base, tls)
