"""A report held against itself: do its tables add up, and was its sample drawn as it says?

Needs nothing but the report, so that whoever is handed one can ask.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

import msgspec

from selvedge.ledger import Origin, Sealed, day_of, leaf
from selvedge.plan.residency_report import ResidencyReport, Sample, StreamRuns
from selvedge.plan.sampling import Draw


def check_report(report: ResidencyReport) -> list[str]:
    """What does not hold, in words; nothing where all does."""
    return [*_sums(report), *_sample(report)]


def _sums(report: ResidencyReport) -> Iterator[str]:
    whole = report.completeness
    numbers = sum(last - first + 1 for one in whole.streams for first, last in one.runs)
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


def draw_again(streams: tuple[StreamRuns, ...], tenant: str, sample: Sample) -> Draw:
    """The sample that the report's own numbers and seed give."""
    draw = Draw(sample.seed, tenant, sample.asked)
    for one in streams:
        origin = Origin(one.pop, one.worker)
        for first, last in one.runs:
            for seq in range(first, last + 1):
                draw.offer(origin, seq)
    return draw
