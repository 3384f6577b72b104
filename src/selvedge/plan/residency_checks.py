"""A report held against itself: do its tables add up, and was its sample drawn as it says?

Needs nothing but the report, so that whoever is handed one can ask.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

import msgspec

from selvedge.fabric import BadProof
from selvedge.ledger import Origin, Sealed, day_of, leaf
from selvedge.plan.residency_report import (
    ResidencyReport,
    Sample,
    SampledReceipt,
    StreamRuns,
)
from selvedge.plan.sampling import Draw
from selvedge.tlog import read_bundle


def check_report(report: ResidencyReport) -> list[str]:
    """What does not hold, in words; nothing where all does."""
    return [*_sums(report), *_runs(report), *_sample(report)]


def _numbers(report: ResidencyReport) -> int:
    streams = report.completeness.streams
    return sum(last - first + 1 for one in streams for first, last in one.runs)


def _runs(report: ResidencyReport) -> Iterator[str]:
    """A number that is named twice would stand in for one that is left out."""
    names = [(one.pop, one.worker) for one in report.completeness.streams]
    if len(set(names)) != len(names):
        yield "streams name a journal twice"
    for one in report.completeness.streams:
        due = 1
        for first, last in one.runs:
            if not due <= first <= last:
                yield f"numbers {first} to {last} of {one.pop}/{one.worker} are not behind the last"
            due = last + 1


def _sums(report: ResidencyReport) -> Iterator[str]:
    whole = report.completeness
    numbers = _numbers(report)
    sums = {
        "outcomes": sum(report.outcomes.values()),
        "purposes": sum(report.purposes.values()),
        "places and unprocessed": sum(one.receipts for one in report.places) + report.unprocessed,
        "rules": sum(one.receipts for one in report.rules),
        "ingress": sum(one.receipts for one in report.ingress),
        "releases": sum(one.receipts for one in report.releases),
        "streams": numbers,
        "completeness": whole.receipts,
    }
    for name, found in sums.items():
        if found != report.receipts:
            yield f"{name} come to {found:,}, the report counts {report.receipts:,} receipts"
    if report.since >= report.until:
        yield f"its days are reversed: from {report.since} to {report.until}"
    for name, count in (("leaves", whole.leaves), ("folded", whole.folded)):
        if count is not None and count != whole.receipts and not whole.difference:
            yield f"{name} are {count:,} of {whole.receipts:,}, and no difference is named"


def _sample(report: ResidencyReport) -> Iterator[str]:
    sample = report.sample
    if sample is None:
        return
    if _numbers(report) != report.receipts:
        yield "the sample is not drawn again: its numbers are not those of the receipts"
        return
    draw = draw_again(report.completeness.streams, report.tenant, sample)
    drawn = [(one.score, (one.pop, one.worker), one.seq) for one in sample.drawn]
    if drawn != draw.drawn:
        yield f"the sample is not what seed {sample.seed!r} draws"
    for one in sample.drawn:
        where = f"sampled receipt {one.pop}/{one.worker}/{one.seq}"
        try:
            salt = base64.b64decode(one.salt, validate=True)
            receipt = Sealed(one.receipt, one.salt).decode()
        except (ValueError, msgspec.MsgspecError) as error:
            yield f"{where} cannot be read: {error}"
            continue
        if leaf(bytes(one.receipt), salt).hex() != one.leaf:
            yield f"{where}: its leaf is not that of its bytes and salt"
        named = (receipt.tenant, receipt.ingress_pop, receipt.worker, receipt.seq)
        if named != (report.tenant, one.pop, one.worker, one.seq):
            yield f"{where} is the receipt of another number or tenant"
        if not report.since <= day_of(receipt.received_us) < report.until:
            yield f"{where} is of {day_of(receipt.received_us)}, outside the report's days"
        yield from _proof(one, where)


def _proof(one: SampledReceipt, where: str) -> Iterator[str]:
    """Whether its proof is of it; whether that holds is for `verify_bundle`, and keys, to say."""
    if not one.is_proved:
        return
    try:
        bundle = read_bundle(bytes(one.proof) + b"\n")
    except BadProof as error:
        yield f"{where}: its proof cannot be read: {error}"
        return
    if (bytes(bundle.receipt), bundle.salt) != (bytes(one.receipt), one.salt):
        yield f"{where}: its proof is of another receipt"


def draw_again(streams: tuple[StreamRuns, ...], tenant: str, sample: Sample) -> Draw:
    """The sample that the report's own numbers and seed give."""
    draw = Draw(sample.seed, tenant, sample.asked)
    for one in streams:
        origin = Origin(one.pop, one.worker)
        for first, last in one.runs:
            for seq in range(first, last + 1):
                draw.offer(origin, seq)
    return draw
