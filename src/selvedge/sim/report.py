"""What a run showed, and the laws it must keep: counts, times to first token, conservation.

The report is a fold over receipts, as invoices and SLA reports are; what it is compared with is
counted apart, at the clients and at the border. A broken law is a bug of ours and stops the run.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import count

import msgspec

from selvedge.fabric import Attested, Outcome, Receipt
from selvedge.ledger import canonical
from selvedge.sim.border import Border
from selvedge.sim.columns import NONE_US, Columns
from selvedge.sim.conversation import VirtualPoP
from selvedge.sim.tallies import UNRECORDED, Tallies


class Quantiles(msgspec.Struct, frozen=True):
    """Nearest-rank quantiles of times in microseconds."""

    p50: int
    p95: int
    p99: int


class Figures(msgspec.Struct, frozen=True):
    """The report as numbers. All keys of the tables are sorted where they are written."""

    seed: int
    arrived: int
    running: int
    outcomes: Mapping[str, int]
    codes: Mapping[str, int]
    served: Mapping[str, int]
    """Complete answers by serving PoP."""
    endings: Mapping[str, int]
    """What clients got last: ``deliver``, ``refuse`` or ``drop``."""
    unauthenticated: int
    in_band_errors: int
    """Streams that broke after the first token and ended in an error event."""
    moved_on: int
    """Requests answered after an attempt had failed unseen."""
    forwarded: int
    tokens: int
    """Tokens that clients got or were billed, output only."""
    crossings: int
    out_of_zone: int
    ttft_us: Quantiles | None
    ended_us: int
    receipts_sha256: str


@dataclass(frozen=True, slots=True)
class Report:
    """The figures, and what they were folded from, by PoP."""

    figures: Figures
    columns: Columns | None
    """One row per request, where receipts were not kept."""
    receipts: Mapping[str, tuple[Receipt, ...]]
    attestations: Mapping[str, tuple[Attested, ...]]
    open_intents: Mapping[str, tuple[Receipt, ...]]

    def canonical(self) -> bytes:
        """The same bytes for the same release, scenario and seed; they cover every receipt."""
        return msgspec.json.encode(self.figures, order="sorted")


def report_of(seed: int, tallies: Tallies, border: Border, pops: Collection[VirtualPoP]) -> Report:
    """Check the laws and fold the receipts. Raises `AssertionError` where a law is broken."""
    ordered = sorted(pops, key=lambda pop: pop.id)
    receipts = {pop.id: tuple(pop.journal.receipts) for pop in ordered}
    every = [receipt for pop in ordered for receipt in pop.journal.receipts]
    check_conservation(tallies)
    check_receipts(tallies, ordered)
    assert border.outside == 0, f"{border.outside} attempts outside their zone"
    return Report(
        figures=_figures(seed, tallies, border, every),
        columns=tallies.columns,
        receipts=receipts,
        attestations={pop.id: tuple(pop.journal.attestations) for pop in ordered},
        open_intents={pop.id: tuple(pop.journal.open.values()) for pop in ordered},
    )


def check_conservation(tallies: Tallies) -> None:
    """Arrived = complete + refused + failed + gone + running (+ unrecorded, after failed writes).

    Each side is counted where it happens; nothing is derived from the other.
    """
    ended = sum(tallies.outcomes.values())
    assert tallies.arrived == ended + len(tallies.running), "requests are not conserved"
    assert sum(tallies.endings.values()) == ended, "not every request had one ending"
    assert tallies.endings["deliver"] == tallies.outcomes[Outcome.COMPLETE], (
        "delivered is what was recorded complete, and no more"
    )


def check_receipts(tallies: Tallies, pops: Iterable[VirtualPoP]) -> None:
    """One receipt for each authenticated request; numbers without gaps per tenant and PoP."""
    written = sum(pop.journal.written for pop in pops)
    owed = sum(tallies.outcomes.values()) - tallies.unauthenticated
    assert owed - tallies.outcomes[UNRECORDED] <= written <= owed, "receipts are not conserved"
    if tallies.columns is not None:
        assert len(tallies.columns) == owed - tallies.outcomes[UNRECORDED], "rows are missing"
        return
    seen: set[str] = set()
    for pop in pops:
        numbers: dict[str, count[int]] = {}
        for receipt in pop.journal.receipts:
            assert receipt.ingress_pop == pop.id, "a receipt is the ingress's"
            assert receipt.id not in seen, f"{receipt.id} has two receipts"
            seen.add(receipt.id)
            assert receipt.seq == next(numbers.setdefault(receipt.tenant, count(1))), "a gap"
            away = receipt.served_pop not in (None, pop.id, *pop.view.providers)
            if receipt.outcome is Outcome.COMPLETE:
                assert (receipt.attested is not None) == away, "a peer's answer has its word"
        assert not seen.intersection(pop.journal.open), "an intent is open beside its receipt"
    missing = tallies.recorded - seen
    assert not missing, f"without a receipt: {sorted(missing)[:3]}"
    surplus = seen - tallies.recorded - tallies.unrecorded
    assert not surplus, f"receipts of nobody: {sorted(surplus)[:3]}"


def _figures(seed: int, tallies: Tallies, border: Border, every: list[Receipt]) -> Figures:
    facts = _of_receipts(every) if tallies.columns is None else _of_rows(tallies.columns)
    return Figures(
        seed=seed,
        arrived=tallies.arrived,
        running=len(tallies.running),
        outcomes=dict(tallies.outcomes),
        codes=dict(tallies.codes),
        served=facts.served,
        endings=dict(tallies.endings),
        unauthenticated=tallies.unauthenticated,
        in_band_errors=tallies.in_band_errors,
        moved_on=facts.moved_on,
        forwarded=facts.forwarded,
        tokens=facts.tokens,
        crossings=border.crossings,
        out_of_zone=border.outside,
        ttft_us=_quantiles(facts.times_us),
        ended_us=facts.ended_us,
        receipts_sha256=facts.digest,
    )


@dataclass(slots=True)
class _Facts:
    """What figures take from requests, whichever way they were kept."""

    served: Mapping[str, int]
    moved_on: int
    forwarded: int
    tokens: int
    times_us: list[int]
    ended_us: int
    digest: str


def _of_receipts(every: list[Receipt]) -> _Facts:
    complete = [one for one in every if one.outcome is Outcome.COMPLETE]
    digest = hashlib.sha256()
    for receipt in every:
        digest.update(canonical(receipt))
    return _Facts(
        served=dict(Counter(one.served_pop or "" for one in complete)),
        moved_on=sum(len(one.attempts) > 1 for one in complete),
        forwarded=sum(one.served_pop != one.ingress_pop for one in complete),
        tokens=sum(one.usage.output for one in every if one.usage),
        times_us=[
            one.first_token_us - one.received_us for one in every if one.first_token_us is not None
        ],
        ended_us=max((one.ended_us for one in every), default=0),
        digest=digest.hexdigest(),
    )


def _of_rows(rows: Columns) -> _Facts:
    complete = [at for at, outcome in enumerate(rows.outcome) if outcome == 0]
    hosts, homes = rows.pops.names, rows.ingresses.names
    return _Facts(
        served=dict(Counter(hosts[rows.served[at]] for at in complete)),
        moved_on=rows.moved_on,
        forwarded=sum(hosts[rows.served[at]] != homes[rows.ingress[at]] for at in complete),
        tokens=sum(rows.output_tokens),
        times_us=[time_us for time_us in rows.ttft_us if time_us != NONE_US],
        ended_us=max(rows.ended_us, default=0),
        digest=rows.digest(),
    )


def _quantiles(times_us: Iterable[int]) -> Quantiles | None:
    times = sorted(times_us)
    if not times:
        return None
    p50, p95, p99 = (times[-(-len(times) * part // 100) - 1] for part in (50, 95, 99))
    return Quantiles(p50, p95, p99)
