"""What the simulator's figures look like to a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.markup import escape
from rich.table import Table

from selvedge.routing import Attempt
from selvedge.sim import Account, Line, Summary, lines

_SHOWN_MAX = 12


def run_table(runs: Sequence[Summary]) -> Table:
    """One row per run."""
    table = Table("policy", "seed", "requests", "p50 ms", "p95 ms", "p99 ms", "goodput", box=None)
    for head in ("shed", "failed", "reuse", "abroad", "control B/s", "out of zone"):
        table.add_column(head)
    for one in runs:
        table.add_row(
            escape(one.policy),
            str(one.seed),
            str(one.arrived),
            f"{one.ttft_ms_p50:.0f}",
            f"{one.ttft_ms_p95:.0f}",
            f"{one.ttft_ms_p99:.0f}",
            f"{one.goodput:.2%}",
            f"{one.shed:.2%}",
            f"{one.failed:.2%}",
            f"{one.prefix_reuse:.1%}",
            f"{one.abroad:.1%}",
            f"{one.control_bytes_per_s:.0f}",
            str(one.out_of_zone),
        )
    return table


def compared_table(title: str, runs: Sequence[Summary]) -> Table:
    """One row per policy, the quickest first; intervals of p95 are 95 % over the seeds."""
    table = Table("policy", "p50 ms", "p95 ms", "", "p99 ms", "goodput", "shed", "reuse", box=None)
    table.title = title
    for head in ("abroad", "GPU h", "control B/s", "out of zone"):
        table.add_column(head)
    for line in sorted(lines(runs), key=lambda one: one.metrics["ttft_ms_p95"].mean):
        table.add_row(*_cells(line))
    return table


def _cells(line: Line) -> Iterator[str]:
    mean = {name: one.mean for name, one in line.metrics.items()}
    p95 = line.metrics["ttft_ms_p95"]
    yield escape(line.policy)
    yield f"{mean['ttft_ms_p50']:.0f}"
    yield f"{p95.mean:.0f}"
    yield f"{p95.low:.0f} to {p95.high:.0f}"
    yield f"{mean['ttft_ms_p99']:.0f}"
    yield f"{mean['goodput']:.2%}"
    yield f"{mean['shed']:.2%}"
    yield f"{mean['prefix_reuse']:.1%}"
    yield f"{mean['abroad']:.1%}"
    yield f"{mean['gpu_hours']:.1f}"
    yield f"{mean['control_bytes_per_s']:.0f}"
    yield str(line.out_of_zone)


def account_words(account: Account) -> Iterator[str]:
    """Why a request went where it went, line by line."""
    ask, receipt = account.ask, account.receipt
    assert ask is not None
    tokens = ask.prompt_bytes // 4
    entered = f" entered at {receipt.ingress_pop} ({receipt.ingress_country})" if receipt else ""
    yield f"request {account.number}{entered}: {tokens} prompt tokens, {len(ask.prefix)} blocks"
    if receipt is not None:
        words = "from outside it" if receipt.transit else "inside it"
        yield f"  rule {receipt.rule}: zone {receipt.zone}, {words}"
        yield f"  {receipt.allowed_pops} PoPs allowed, {len(account.candidates)} serve the model"
    yield "what its ingress knew of them, nearest first:"
    planned = {one.pop for one in account.plan}
    for number, seen in enumerate(account.candidates):
        if number < _SHOWN_MAX or seen.pop in planned:
            yield f"  {seen.pop:24} rtt {seen.rtt_us / 1000:6.1f} ms  {_heard(account, number)}"
    yield "the plan:"
    for number, attempt in enumerate(account.plan, 1):
        yield f"  {number}. {_planned(attempt)}"
    if receipt is not None:
        yield f"what came of it: {receipt.outcome.value}{_came(account)}"


def _heard(account: Account, number: int) -> str:
    seen = account.candidates[number]
    report = seen.report
    if report is None:
        return "no report"
    age_ms = (account.at_us - report.at_us) / 1000
    loads = [
        f"{load.waiting_tokens} tokens wait, {load.running} of {load.slots} run,"
        f" {load.kv_free:.0%} of KV free"
        for load in report.models.values()
    ]
    held = f", holds {seen.blocks} blocks" if seen.blocks else ""
    return f"{age_ms:5.0f} ms ago: {'; '.join(loads)}, reserve {report.reserve:.0%}{held}"


def _planned(attempt: Attempt) -> str:
    return f"{attempt.pop}: {attempt.ttft_us / 1000:.0f} ms predicted, {attempt.reason}"


def _came(account: Account) -> str:
    receipt = account.receipt
    assert receipt is not None
    words = ""
    if receipt.served_pop is not None:
        words += f", at {receipt.served_pop}"
    if receipt.first_token_us is not None:
        words += (
            f", first token after {(receipt.first_token_us - receipt.received_us) / 1000:.0f} ms"
        )
    if receipt.usage is not None:
        words += f", {receipt.usage.cache_read} of {receipt.usage.input} prompt tokens were held"
    return words
