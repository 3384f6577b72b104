"""Prometheus metrics of one PoP. Every label has a bounded set of values, from our own tables.

Names a client can choose (models, paths) never become labels unless the release knows them.
Numbers live in the cells that all workers of the PoP share, so any of them shows the whole PoP.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from selvedge.adapters import Cell
from selvedge.fabric import REFUSALS, Outcome, Receipt, Route
from selvedge.pop.series import Counter, Counters, Histograms, Row, gauge
from selvedge.pop.shared import SERVERS_MAX, Shared
from selvedge.pop.small_answer import FAULTS

CONNECTION_CODES: Final = (
    "expectation_failed",
    "headers_too_large",
    "http_version_not_supported",
    "malformed_request",
    "method_not_implemented",
    "overloaded",
    "request_timeout",
    "target_too_long",
    "transfer_encoding_not_implemented",
)
NO_FAULT: Final = "none"
HOWS: Final = ("exact", "shared", "similar", "engine")
JUDGED: Final = (
    "answered",
    "busy",
    "no_engine",
    "unknown",
    "stopping",
    "failed",
    "late",
    "forsaken",
)
TOKEN_KINDS: Final = ("input_uncached", "cache_read", "generated")


class Metrics:
    """What one worker counts, and what all of them counted. No module state."""

    def __init__(self, pop: str, shared: Shared | None = None) -> None:
        self._pop = pop
        self._shared = shared = shared or Shared.alone()
        self.running = shared.running
        self.open_intents = shared.open_intents
        self.release = shared.release
        self.policy_end = shared.policy_end
        self.quota_levels = shared.quota_levels
        row = Row(shared.counters)
        self._lay_out(row)
        self.layout = tuple(row.taken)
        self._cells = shared.counters.cells
        self._offset = shared.counters.row * shared.counters.width
        self._endings: dict[tuple[str, str, str | None], int] = {}
        self._token_cells = [self.tokens.labels(kind) for kind in TOKEN_KINDS]
        self._registry = CollectorRegistry()
        self._registry.register(_Collected(self))

    def _lay_out(self, row: Row) -> None:
        """Every family takes its columns here; the order is the layout that workers share."""
        routes = [route.value for route in Route]
        outcomes = [outcome.value for outcome in Outcome]
        faults = [NO_FAULT, *sorted({kind.fault for kind in REFUSALS.values()})]
        codes = [(code,) for code in REFUSALS]
        self.requests = Counters(
            row,
            "selvedge_requests",
            "Authenticated requests by how they ended.",
            ("route", "outcome", "fault"),
            [(one, two, three) for one in routes for two in outcomes for three in faults],
        )
        self.unauthenticated = Counters(
            row,
            "selvedge_refusals_without_receipt",
            "Refusals of requests nobody is known to have made.",
            ("code",),
            codes,
        )
        self.shed = Counters(
            row,
            "selvedge_requests_shed",
            "Requests refused early, by what was short.",
            ("reason",),
            [("loop",), ("running",)],
        )
        self.tokens = Counters(
            row, "selvedge_tokens", "Tokens by kind.", ("kind",), [(one,) for one in TOKEN_KINDS]
        )
        self.duration = Histograms(
            row,
            "selvedge_request_duration_seconds",
            "From the request's head to its end.",
            label="route",
            names=routes,
            size=len(routes) + 1,
        )
        self.ttft = Histograms(
            row,
            "selvedge_time_to_first_token_seconds",
            "From the request's head to the first token.",
            label="served_by",
            names=self._shared.servers,
            size=SERVERS_MAX,
        )
        self._lay_out_rare(row, codes, outcomes)

    def _lay_out_rare(self, row: Row, codes: list[tuple[str]], outcomes: list[str]) -> None:
        self.peers_served = Counters(
            row,
            "selvedge_peer_requests",
            "Requests served for other PoPs.",
            ("ending",),
            [(one,) for one in outcomes],
        )
        self.attempts_failed = Counters(
            row,
            "selvedge_attempts_failed",
            "Attempts at an engine or peer that failed.",
            ("code",),
            codes,
        )
        self.connections_refused = Counters(
            row,
            "selvedge_connections_refused",
            "Connections closed with an answer of their own: no request was made of them.",
            ("code",),
            [(code,) for code in CONNECTION_CODES],
        )
        self.unpriced = Counter(
            row,
            "selvedge_requests_unpriced",
            "Requests refused because their model has no price: an alarm.",
        )
        self.releases_refused = Counter(
            row, "selvedge_releases_refused", "Releases that did not hold."
        )
        self.key_deltas_refused = Counter(
            row, "selvedge_key_deltas_refused", "Key deltas, or keys of one, that did not hold."
        )
        self.store_failures = Counter(
            row, "selvedge_receipt_writes_failed", "Journal writes failed."
        )
        words = "Answers of responses that were to be kept and could not be."
        self.responses_lost = Counter(row, "selvedge_responses_lost", words)
        self.faults = Counter(row, "selvedge_internal_faults", "Faults of ours.")
        self.tls = TlsCounters(row, self._shared.certificate_end)
        self.shadow_checks = Counter(
            row,
            "selvedge_residency_shadow_checks",
            "Decisions of residency that were asked again of Cedar.",
        )
        self.shadow_mismatches = Counter(
            row,
            "selvedge_residency_shadow_mismatches",
            "Those on which bits and policy differ: an alarm; the rule allows nothing from then.",
        )
        self.cache = CacheCounters(row)
        self._lay_out_signals(row)

    def _lay_out_signals(self, row: Row) -> None:
        endings = [("taken",), ("nonsense",), *((fault,) for fault in FAULTS)]
        self.reports = Counters(
            row,
            "selvedge_reports",
            "Questions to other PoPs for their reports, by how they ended.",
            ("ending",),
            endings,
        )
        self.reports_told = Counters(
            row,
            "selvedge_reports_told",
            "Such questions of other PoPs that were answered, and refused.",
            ("ending",),
            [("told",), ("refused",)],
        )
        self.leases = Counters(
            row,
            "selvedge_lease_questions",
            "Questions to the control plane for leases of quotas, by how they ended.",
            ("ending",),
            endings,
        )
        self.engine_loads = Counters(
            row,
            "selvedge_engine_loads",
            "Questions to own engines for their load, by how they ended.",
            ("ending",),
            endings,
        )

        self.key_refusals = Counters(
            row,
            "selvedge_provider_key_refusals",
            "Answers by which a provider refused one of this PoP's keys, by status.",
            ("status",),
            [("401",), ("403",), ("429",)],
        )

    def recorded(self, receipt: Receipt) -> None:
        """Fold a receipt in, at the moment it is written."""
        key = (receipt.route, receipt.outcome, receipt.code)
        at = self._endings.get(key)
        if at is None:
            at = self._ending(*key)
        self._cells[at] += 1
        if receipt.code == "model_unpriced":
            self.unpriced.inc()
        received_us = receipt.received_us
        self.duration.observe(receipt.route, max(0, receipt.ended_us - received_us))
        first_us = receipt.first_token_us
        if first_us is not None:
            self.ttft.observe(receipt.served_pop or NO_FAULT, max(0, first_us - received_us))
        usage = receipt.usage
        if usage is not None and receipt.cache != "hit":
            uncached, cached, generated = self._token_cells
            uncached.inc(usage.input_uncached)
            cached.inc(usage.cache_read)
            generated.inc(usage.generated)

    def _ending(self, route: str, outcome: Outcome, code: str | None) -> int:
        fault = REFUSALS[code].fault if code else NO_FAULT
        at = self._offset + self.requests.columns[(route, outcome.value, fault)]
        self._endings[(route, outcome, code)] = at
        return at

    def render(self) -> bytes:
        """The exposition text, of the whole PoP."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Every family, summed over the workers."""
        shared = self._shared
        yield self.requests.collect()
        yield self.unauthenticated.collect()
        yield self.shed.collect()
        yield self.tokens.collect()
        yield self.ttft.collect()
        yield self.duration.collect()
        yield gauge("selvedge_requests_running", "Requests being served.", self.running.total())
        yield gauge(
            "selvedge_intents_open", "Intents without a receipt yet.", self.open_intents.total()
        )
        yield gauge("selvedge_workers", "Processes that serve.", shared.workers())
        yield self.peers_served.collect()
        yield self.attempts_failed.collect()
        yield self.key_refusals.collect()
        yield self.connections_refused.collect()
        yield gauge("selvedge_release_version", "Release that serves.", shared.release_served())
        yield self.unpriced.collect()
        yield self.releases_refused.collect()
        yield self.key_deltas_refused.collect()
        yield self.store_failures.collect()
        yield self.faults.collect()
        yield self.responses_lost.collect()
        yield self.shadow_checks.collect()
        yield self.shadow_mismatches.collect()
        ends = [one for one in self.policy_end.each if one]
        if ends:
            words = "When the release's policies end, Unix time; nothing is allowed by them then."
            yield gauge("selvedge_residency_policy_end_timestamp_seconds", words, min(ends))
        yield from self.tls.collect()
        yield from self.cache.collect()
        yield from self._collect_signals()
        info = GaugeMetricFamily("selvedge_pop", "This PoP.", labels=("pop",))
        info.add_metric((self._pop,), 1)
        yield info

    def _collect_signals(self) -> Iterator[Metric]:
        yield self.reports.collect()
        yield self.reports_told.collect()
        yield self.engine_loads.collect()
        yield self.leases.collect()
        words = "Tenants, projects and keys whose limits are counted now, over the workers."
        yield gauge("selvedge_quota_levels", words, self.quota_levels.total())
        yield from self._collect_unshipped()
        yield from self._collect_log()
        words = "What reports and digests cost to hear, over the last minute."
        yield gauge("selvedge_hearing_bytes_per_second", words, self._shared.hearing.total())
        words = "PoPs whose report is fresh, this one's own among them, by the worker with fewest."
        slots = zip(self._shared.slot.each, self._shared.heard.each, strict=True)
        yield gauge("selvedge_reports_fresh", words, min((n for at, n in slots if at), default=0))

    def _collect_unshipped(self) -> Iterator[Metric]:
        shared = self._shared
        words = "Receipts that the collector of their zone has not acknowledged."
        yield gauge("selvedge_receipts_unshipped", words, shared.unshipped.total())
        words = "The same, in bytes of the journals."
        yield gauge("selvedge_receipts_unshipped_bytes", words, shared.unshipped_bytes.total())
        since = shared.unshipped_since.total()  # of one process, who ships
        if since:
            words = (
                "When the request of the oldest of them ended, Unix time; none where none waits."
            )
            yield gauge("selvedge_receipts_unshipped_oldest_timestamp_seconds", words, since)

    def _collect_log(self) -> Iterator[Metric]:
        shared = self._shared  # of one process, who writes the log
        words = "Entries of the open shard of this PoP's transparency log."
        yield gauge("selvedge_log_size", words, shared.log_size.total())
        words = "Whether the log is closed until the operator opens a new shard: an alarm."
        yield gauge("selvedge_log_closed", words, shared.log_closed.total())
        signed, told = shared.log_signed.total(), shared.log_told.total()
        if signed:
            words = "When the newest checkpoint was signed, Unix time; at least twice a minute."
            yield gauge("selvedge_log_checkpoint_timestamp_seconds", words, signed)
        if told:
            words = "When the jurisdiction's log last took a checkpoint, Unix time."
            yield gauge("selvedge_log_told_timestamp_seconds", words, told)


class TlsCounters:
    """Handshakes at both doors, and the certificate that clients are shown."""

    def __init__(self, row: Row, end: Cell) -> None:
        self.handshakes = Counters(
            row,
            "selvedge_tls_handshakes",
            "TLS handshakes that began, and that were done.",
            ("door", "step"),
            [(door, step) for door in ("clients", "peers") for step in ("begun", "done")],
        )
        self.loads = Counters(
            row,
            "selvedge_tls_certificate_loads",
            "Certificates for clients that were taken or refused, by each worker.",
            ("ending",),
            [("taken",), ("refused",)],
        )
        self.end = end
        """When the certificate ends, Unix seconds."""

    def collect(self) -> Iterator[Metric]:
        """Both families, and the end that comes first at any worker."""
        yield self.handshakes.collect()
        yield self.loads.collect()
        ends = [one for one in self.end.each if one]
        if ends:
            words = "When the certificate that clients are shown ends, Unix time."
            yield gauge("selvedge_tls_certificate_not_after_seconds", words, min(ends))


class CacheCounters:
    """What came of looking into the answer cache, and of keeping answers."""

    def __init__(self, row: Row) -> None:
        self.answers = Counters(
            row,
            "selvedge_cache_answers",
            "Requests of classes with a cache, by how they were answered: kept for the same "
            "question, shared with one that ran, kept for a similar one, or by an engine.",
            ("how",),
            [(one,) for one in HOWS],
        )
        self.similar = Counters(
            row,
            "selvedge_cache_similar",
            "Look-ups of similar questions, by how they ended: `late` is over "
            "`cache_recall_ms_max`, `down` without the cache's process.",
            ("ending",),
            [(one,) for one in ("found", "none", "late", "down")],
        )
        self.kept = Counters(
            row,
            "selvedge_cache_kept",
            "Answers that might be kept, by what became of them here.",
            ("ending",),
            [(one,) for one in ("handed", "dropped", "unfit", "large", "broken", "down")],
        )
        self.judgements = Counters(
            row,
            "selvedge_cache_judgements",
            "Questions to a model whether two answers say the same, by how they ended; `answered` "
            "and `failed`, `late`, `forsaken` have receipts, the others were not asked.",
            ("ending",),
            [(one,) for one in JUDGED],
        )
        self.tokens_saved = Counter(
            row, "selvedge_cache_tokens_saved", "Tokens of kept answers that were given again."
        )

    def collect(self) -> Iterator[Metric]:
        """Every family."""
        yield self.answers.collect()
        yield self.similar.collect()
        yield self.kept.collect()
        yield self.judgements.collect()
        yield self.tokens_saved.collect()


class _Collected(Collector):
    """What the registry asks, at each scrape."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        return self._metrics.collect()
