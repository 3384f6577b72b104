"""Metrics in cells: the library's text, exact over several workers, bounded in every label."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from selvedge.adapters import Memory
from selvedge.fabric import Outcome, Usage
from selvedge.pop.metrics import Metrics
from selvedge.pop.series import SECONDS
from selvedge.pop.shared import SERVERS_MAX, Shared, bytes_for
from tests.ledger.test_receipts import RECEIPT

ROWS = 3
CHAT = "/v1/chat/completions"
DONE = msgspec.structs.replace(
    RECEIPT,
    received_us=1_000_000,
    first_token_us=1_010_000,
    ended_us=1_030_000,
    usage=Usage(input_uncached=3, cache_read=4, output=5, reasoning=2),
)


@pytest.fixture
def workers() -> Iterator[list[Metrics]]:
    """The metrics of one PoP as three workers have them."""
    memory = Memory.shared("test", bytes_for(ROWS))
    mapped = [Memory(memory.fd, bytes_for(ROWS)) for _ in range(ROWS)]
    yield [Metrics("sin", Shared(one, ROWS, row)) for row, one in enumerate(mapped)]
    os.close(memory.fd)


def samples(metrics: Metrics) -> dict[str, float]:
    found = text_string_to_metric_families(metrics.render().decode())
    return {
        one.name + str(sorted(one.labels.items())): one.value
        for family in found
        for one in family.samples
    }


def test_any_worker_shows_them_all(workers: list[Metrics]) -> None:
    for number, one in enumerate(workers):
        for _ in range(number + 1):
            one.recorded(DONE)
            one.running.inc()
        one.faults.inc()
        one.attempts_failed.labels("engine_failed").inc(2)
    workers[0].running.dec()
    shown = [samples(one) for one in workers]
    assert shown[0] == shown[1] == shown[2]
    ended = f"[('fault', 'none'), ('outcome', 'complete'), ('route', '{CHAT}')]"
    assert shown[0]["selvedge_requests_total" + ended] == 6
    assert shown[0]["selvedge_requests_running[]"] == 5
    assert shown[0]["selvedge_internal_faults_total[]"] == 3
    assert shown[0]["selvedge_attempts_failed_total[('code', 'engine_failed')]"] == 6
    assert shown[0]["selvedge_tokens_total[('kind', 'generated')]"] == 42
    ttft = "selvedge_time_to_first_token_seconds"
    assert shown[0][f"{ttft}_count[('served_by', 'sin')]"] == 6
    assert shown[0][f"{ttft}_sum[('served_by', 'sin')]"] == pytest.approx(0.06)
    assert shown[0][f"{ttft}_bucket[('le', '0.005'), ('served_by', 'sin')]"] == 0
    assert shown[0][f"{ttft}_bucket[('le', '0.01'), ('served_by', 'sin')]"] == 6


def test_counters_outlive_a_worker_and_gauges_do_not(workers: list[Metrics]) -> None:
    first, second, _ = workers
    second.recorded(DONE)
    second.running.inc()
    second.open_intents.set(4)
    second.release.set(7)
    first._shared.ended(1)
    shown = samples(first)
    assert shown[f"selvedge_request_duration_seconds_count[('route', '{CHAT}')]"] == 1
    assert shown["selvedge_requests_running[]"] == shown["selvedge_intents_open[]"] == 0


def test_the_release_shown_is_the_oldest_that_serves(workers: list[Metrics]) -> None:
    for number, one in enumerate(workers[:2]):
        one.release.set(7 + number)
        one._shared.serves(number)
    assert samples(workers[2])["selvedge_release_version[]"] == 7
    assert samples(workers[2])["selvedge_workers[]"] == 2
    workers[0]._shared.leaves()
    assert samples(workers[2])["selvedge_release_version[]"] == 8


@pytest.mark.parametrize(("us", "bucket"), [(0, 0), (5_000, 0), (5_001, 1), (10**12, 15)])
def test_a_time_on_a_bound_is_within_it(us: int, bucket: int) -> None:
    metrics = Metrics("sin")
    metrics.duration.observe(CHAT, us)
    shown = samples(metrics)
    bounds = [*(str(float(one)) for one in SECONDS), "+Inf"]
    name = "selvedge_request_duration_seconds_bucket"
    counts = [shown[f"{name}[('le', '{one}'), ('route', '{CHAT}')]"] for one in bounds]
    assert counts == [0] * bucket + [1] * (16 - bucket)


def test_what_is_in_no_table_is_other() -> None:
    metrics = Metrics("sin")
    metrics.unauthenticated.labels("of a client's making").inc()
    for number in range(SERVERS_MAX + 5):
        metrics.ttft.observe(f"pop{number}", 1)
    shown = samples(metrics)
    assert shown["selvedge_refusals_without_receipt_total[('code', 'other')]"] == 1
    counts = [name for name in shown if name.startswith("selvedge_time_to_first_token_seconds_c")]
    assert len(counts) == SERVERS_MAX
    assert shown["selvedge_time_to_first_token_seconds_count[('served_by', 'other')]"] == 6


def test_an_ending_without_tokens_has_no_first_token() -> None:
    metrics = Metrics("sin")
    refused = msgspec.structs.replace(
        RECEIPT, outcome=Outcome.REFUSED, code="residency_ingress", first_token_us=None, usage=None
    )
    metrics.recorded(refused)
    shown = samples(metrics)
    ended = f"[('fault', 'policy'), ('outcome', 'refused'), ('route', '{CHAT}')]"
    assert shown["selvedge_requests_total" + ended] == 1
    assert not any(name.startswith("selvedge_time_to_first_token") for name in shown)
