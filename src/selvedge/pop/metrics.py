"""Prometheus metrics of one PoP. Every label has a bounded set of values, from our own tables.

Names a client can choose (models, paths) never become labels unless the release knows them.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from selvedge.fabric import REFUSALS, Receipt

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """One registry per process, no module state."""

    def __init__(self, pop: str) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "selvedge_requests",
            "Authenticated requests by how they ended.",
            ("route", "outcome", "fault"),
            registry=self._registry,
        )
        self.unauthenticated = Counter(
            "selvedge_refusals_without_receipt",
            "Refusals of requests nobody is known to have made.",
            ("code",),
            registry=self._registry,
        )
        self.tokens = Counter(
            "selvedge_tokens", "Tokens by kind.", ("kind",), registry=self._registry
        )
        self.ttft = Histogram(
            "selvedge_time_to_first_token_seconds",
            "From the request's head to the first token.",
            ("served_by",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.duration = Histogram(
            "selvedge_request_duration_seconds",
            "From the request's head to its end.",
            ("route",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self.running = Gauge(
            "selvedge_requests_running", "Requests being served.", registry=self._registry
        )
        self.peers_served = Counter(
            "selvedge_peer_requests",
            "Requests served for other PoPs.",
            ("ending",),
            registry=self._registry,
        )
        self.attempts_failed = Counter(
            "selvedge_attempts_failed",
            "Attempts at an engine or peer that failed.",
            ("code",),
            registry=self._registry,
        )
        self.release = Gauge(
            "selvedge_release_version", "Release that serves.", registry=self._registry
        )
        self.releases_refused = Counter(
            "selvedge_releases_refused", "Releases that did not hold.", registry=self._registry
        )
        self.store_failures = Counter(
            "selvedge_receipt_writes_failed", "Journal writes failed.", registry=self._registry
        )
        self.faults = Counter(
            "selvedge_internal_faults", "Faults of ours.", registry=self._registry
        )
        info = Gauge("selvedge_pop", "This PoP.", ("pop",), registry=self._registry)
        info.labels(pop).set(1)

    def recorded(self, receipt: Receipt) -> None:
        """Fold a receipt in, at the moment it is written."""
        fault = REFUSALS[receipt.code].fault if receipt.code else "none"
        self.requests.labels(receipt.route, receipt.outcome.value, fault).inc()
        self.duration.labels(receipt.route).observe(
            max(0, receipt.ended_us - receipt.received_us) / 1e6
        )
        if receipt.first_token_us is not None:
            self.ttft.labels(receipt.served_pop or "none").observe(
                max(0, receipt.first_token_us - receipt.received_us) / 1e6
            )
        if receipt.usage is not None:
            self.tokens.labels("input_uncached").inc(receipt.usage.input_uncached)
            self.tokens.labels("cache_read").inc(receipt.usage.cache_read)
            self.tokens.labels("generated").inc(receipt.usage.generated)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)
