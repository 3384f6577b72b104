"""The benchmarks' own pieces: the fleet they run, the arithmetic of their figures, the audit."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from statistics import median

import msgspec
import pytest

from bench import live
from bench.audit import Told, audit
from bench.engine import FLEET, ROADS, Samples, bars, fold, request_body
from bench.figures import circumstances, median_interval, quantile, write_figures
from bench.line import Heard
from selvedge.adapters import read_config
from selvedge.fabric import Outcome, Receipt
from selvedge.ledger import SALT_BYTES, Intent, SegmentHeader, seal, write_line

ENGINE_KEYS = {
    "tokens_per_s_ratio_pop",
    "tokens_per_s_ratio_pop_ci_low",
    "tokens_per_s_ratio_pop_ci_high",
    "tokens_per_s_ratio_two_hops",
    "tokens_per_s_ratio_two_hops_ci_low",
    "tokens_per_s_ratio_two_hops_ci_high",
    "ttft_added_ms_p50_per_hop",
    "ttft_direct_ms_p50",
    "tokens_per_s_direct",
    "pairs",
}


def test_the_bench_fleet_is_valid_and_has_one_hot_engine() -> None:
    config = read_config(FLEET)
    engines = [name for pop in config.pops.values() for name in pop.engines]
    assert engines == ["sin-chat"]
    assert list(config.keys) == ["bench"]
    assert json.loads(request_body(5))["max_tokens"] == 5


def test_the_live_bench_folds_what_engines_say() -> None:
    doors = [pop for pop, one in read_config(live.FLEET).pops.items() if not one.engines]
    assert doors == [f"cgk-{policy}" for policy in live.POLICIES]
    talking = live.Conversation(Random(1))
    first = talking.body(8)
    talking.heard(b'data: {"choices":[{"index":0,"delta":{"content":"so \\"it\\""}}]}')
    second = talking.body(8)
    assert second.startswith(first[: first.index(b"]")][:-1])
    assert len(first) > 1024, "long enough to have a fingerprint"
    assert json.loads(second)["messages"][1] == {"role": "assistant", "content": 'so "it"'}
    turns = {
        policy: [live.Turn(at % 2, 100, at % 2 * 10 * more, 50.0 * more, "sin") for at in range(6)]
        for more, policy in enumerate(live.POLICIES, 1)
    }
    figures = live.fold(turns, seed=1)
    assert figures["saved_share_later_predictive"] == 0.1
    assert figures["saved_share_round_robin"] == 0.1
    assert figures["ttft_ratio_later_round_robin"] == 0.5
    assert figures["ttft_less_ms_later_least_load_ci_low"] == 100.0


def make_samples(pop: float, two: float) -> Samples:
    rng, samples = Random(1), Samples()
    for _ in range(20):
        direct = rng.uniform(40, 60)
        for road, ratio in zip(ROADS, (1.0, pop, two), strict=True):
            samples.tokens_per_s[road].append(direct * ratio)
    for road, added in zip(ROADS, (0.0, 1.0, 2.5), strict=True):
        samples.ttft_ms[road] += [20 + added + at / 100 for at in range(100)]
    return samples


def test_paired_ratios_are_exact_where_the_noise_is_common() -> None:
    figures = fold(make_samples(0.98, 0.96), seed=1)
    assert figures.keys() >= ENGINE_KEYS
    assert figures["tokens_per_s_ratio_pop"] == 0.98
    assert figures["tokens_per_s_ratio_two_hops_ci_low"] == 0.96
    assert figures["ttft_added_ms_p50_one_hop"] == 1.0
    assert figures["ttft_added_ms_p50_two_hops"] == 2.5
    assert figures["ttft_added_ms_p50_per_hop"] == 1.5
    assert all(bars(figures).values())
    assert not any(
        bars(fold(make_samples(0.9, 0.9), 1))[f"tokens_per_s_ratio_{r}"] for r in ROADS[1:]
    )


def test_quantiles_and_intervals() -> None:
    assert [quantile(range(1, 101), part) for part in (0.01, 0.5, 0.99, 1)] == [1, 50, 99, 100]
    values = [Random(2).gauss(1, 0.1) for _ in range(30)]
    low, high = median_interval(values, 1)
    assert low <= median(values) <= high
    assert median_interval(values, 1) == (low, high)


def test_figures_are_written_flat(tmp_path: Path) -> None:
    path = write_figures("engine", circumstances(), tmp_path / "out")
    written = json.loads(path.read_text())
    assert {"date", "selvedge_version", "python_version"} <= written.keys()
    assert not any(isinstance(value, dict | list) for value in written.values())


def test_an_answer_has_ended_with_its_terminal_event() -> None:
    head = b"HTTP/1.1 200 OK\r\nSelvedge-Receipt: rcpt_1\r\n\r\n"
    heard = Heard(0, [(1, head[:20]), (2, head[20:])])
    assert (heard.status, heard.header("selvedge-receipt"), heard.ended) == (200, "rcpt_1", False)
    heard.parts.append((3, b"e\r\ndata: [DONE]\n\n\r\n"))
    assert heard.ended
    assert not heard.whole


# The audit, on journals made by hand.


def make_receipt(number: int, outcome: Outcome = Outcome.COMPLETE) -> Receipt:
    return Receipt(
        id=f"rcpt_{number}",
        request_id=f"req_{number}",
        tenant="warp",
        project="default",
        key="warp",
        data_class="standard",
        route="/v1/chat/completions",
        ingress_pop="sin",
        ingress_country="SG",
        rule="warp/standard",
        zone="asean",
        release=1,
        release_hash="00",
        received_us=1,
        transit=False,
        outcome=outcome,
        status=200 if outcome is Outcome.COMPLETE else 0,
    )


def intent(number: int) -> bytes:
    return write_line(Intent(make_receipt(number, Outcome.INTERRUPTED)))


def sealed(number: int, seq: int, outcome: Outcome = Outcome.COMPLETE) -> bytes:
    return write_line(seal(make_receipt(number, outcome), seq, bytes(SALT_BYTES), None))


HEADER = write_line(SegmentHeader("sin", 1, {}))
BALANCED = [HEADER, intent(1), sealed(1, 1), intent(2), sealed(2, 2, Outcome.INTERRUPTED)]
TOLD = Told({"rcpt_1": 200}, {"rcpt_1", "rcpt_2"})


def test_balanced_books_hold() -> None:
    found = audit(BALANCED, TOLD)
    assert found.holds
    assert (found.intents, found.receipts, found.segments) == (2, 2, 1)
    assert found.outcomes == {"complete": 1, "interrupted": 1}


@pytest.mark.parametrize(
    ("lines", "kinds"),
    [
        (BALANCED[:-2], {"lost"}),
        (BALANCED[:-1], {"lost", "unsettled"}),
        ([*BALANCED, sealed(2, 3)], {"double"}),
        ([*BALANCED, intent(1), sealed(3, 3)], {"double", "unsettled"}),
        ([*BALANCED, sealed(3, 4)], {"gaps"}),
        ([*BALANCED, sealed(3, 2)], {"gaps"}),
        ([*BALANCED[:2], sealed(1, 1, Outcome.FAILED), *BALANCED[3:]], {"contradicted"}),
        ([*BALANCED, sealed(3, 3)[:-9]], {"damaged"}),
        ([*BALANCED, write_line(SegmentHeader("sin", 2, {"warp": 1}))], {"damaged"}),
        ([*BALANCED, write_line(SegmentHeader("sin", 2, {"warp": 2}))], set()),
    ],
)
def test_the_audit_finds_what_it_looks_for(lines: list[bytes], kinds: set[str]) -> None:
    found = audit(lines, TOLD)
    assert {kind for kind, items in found.faults.items() if items} == kinds


def test_the_carried_intents_of_a_header_count_once() -> None:
    carried = msgspec.structs.replace(
        SegmentHeader("sin", 2, {"warp": 2}), open=(Intent(make_receipt(3)),)
    )
    lines = [*BALANCED, intent(3), write_line(carried), sealed(3, 3)]
    assert audit(lines, TOLD).holds
