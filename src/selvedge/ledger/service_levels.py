"""Service levels: what was promised, what receipts say was kept, and the credit for the rest.

All is exact and in any order. Times are folded into histograms of whole steps, rounded up (1 ms to
the first token, 0.1 ms between tokens): the smallest value that 95 % of answers do not exceed,
rounded up, is the same whether values are rounded before or after, and a promise in whole
milliseconds is kept by the rounded value exactly where the exact one keeps it. What is shown is
less than one step above it. Which receipts count is in `service_rules`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

import msgspec

from selvedge.ledger.charges import CreditDue
from selvedge.ledger.months import end_day, first_day
from selvedge.ledger.price_book import PPM, BadPriceBook, Objective, PriceBook, Sla, span_of
from selvedge.ledger.price_times import meets
from selvedge.ledger.service_rules import ALL_MODELS, SERVICE_RULES, Maintenance, judge
from selvedge.ledger.usage_rows import UsageRow, day_of

DAY_US: Final = 86_400_000_000
TTFT_STEP_US: Final = 1_000
ITL_STEP_US: Final = 100
REQUESTS_FEW: Final = 100
"""A month with fewer requests that count is measured with the probes of its model as well."""
PROBES: Final = ""
"""Whose receipts probes are, in a fold: nobody's."""
NO_MODEL: Final = ""
"""Of requests that ended before it was known."""

Histogram = dict[int, int]
Kind = Literal["availability", "ttft_p95", "itl_p95"]


class Tally(msgspec.Struct):
    """Receipts by rule, and the times of the streams among them in steps."""

    rules: dict[str, int] = {}
    ttft: Histogram = {}
    itl: Histogram = {}

    def add(self, other: Tally) -> None:
        """Add what another one has counted."""
        for mine, its in ((self.ttft, other.ttft), (self.itl, other.itl)):
            for step, count in its.items():
                mine[step] = mine.get(step, 0) + count
        for rule, count in other.rules.items():
            self.rules[rule] = self.rules.get(rule, 0) + count

    def count(self, counts: str) -> int:
        """How many are ``good``, ``bad`` or ``excluded``."""
        return sum(
            count for rule, count in self.rules.items() if SERVICE_RULES[rule].counts == counts
        )

    @property
    def good(self) -> int:
        """Requests that were served."""
        return self.count("good")

    @property
    def bad(self) -> int:
        """Requests that we failed."""
        return self.count("bad")

    @property
    def availability_ppm(self) -> int | None:
        """Good ones of those that count, rounded down; None where none counts."""
        return availability_ppm(self.good, self.bad)


ServicePlace = tuple[str, str, int]
"""Tenant, model, and the beginning of a slot of time."""
Tallies = Mapping[ServicePlace, Tally]


class ServiceAsked(msgspec.Struct, frozen=True):
    """Which receipts: of a time (from, below), in slots of so long, of one tenant and its probes.

    ``times``: whether the times of streams are wanted.
    """

    since_us: int
    until_us: int
    slot_us: int = DAY_US
    tenant: str | None = None
    windows: tuple[Maintenance, ...] = ()
    times: bool = True

    def takes(self, row: UsageRow) -> bool:
        """Whether this row counts."""
        return (
            not row.conflict
            and self.since_us <= row.received_us < self.until_us
            and (row.purpose == "probe" or self.tenant in (None, row.tenant))
        )


def availability_ppm(good: int, bad: int) -> int | None:
    """Good ones of both, in parts per million rounded down; None of none."""
    return good * PPM // (good + bad) if good + bad else None


def p95(found: Histogram) -> int | None:
    """The smallest step that at least 95 % of values do not exceed; None of none."""
    rank = -(-sum(found.values()) * 95 // 100)
    for step in sorted(found):
        rank -= found[step]
        if rank <= 0:
            return step
    return None


def fold_service(rows: Iterable[UsageRow], asked: ServiceAsked) -> dict[ServicePlace, Tally]:
    """Receipts by tenant, model and slot; probes are nobody's."""
    found: dict[ServicePlace, Tally] = {}
    for row in rows:
        if not asked.takes(row):
            continue
        tenant = PROBES if row.purpose == "probe" else row.tenant
        slot = row.received_us // asked.slot_us * asked.slot_us
        tally = found.setdefault((tenant, row.model or NO_MODEL, slot), Tally())
        rule = judge(row, asked.windows)
        tally.rules[rule] = tally.rules.get(rule, 0) + 1
        if asked.times and SERVICE_RULES[rule].latency:
            _add_times(tally, row)
    return found


def _add_times(tally: Tally, row: UsageRow) -> None:
    first_us = row.first_token_us
    if not row.stream or first_us is None:
        return
    step = -(-max(0, first_us - row.received_us) // TTFT_STEP_US)
    tally.ttft[step] = tally.ttft.get(step, 0) + 1
    gaps = row.made - 1
    if gaps > 0:
        step = -(-max(0, row.ended_us - first_us) // (gaps * ITL_STEP_US))
        tally.itl[step] = tally.itl.get(step, 0) + 1


def join_service(tables: Iterable[Tallies]) -> dict[ServicePlace, Tally]:
    """Receipts of several sources together."""
    found: dict[ServicePlace, Tally] = {}
    for table in tables:
        for place, tally in table.items():
            found.setdefault(place, Tally()).add(tally)
    return found


class Span(msgspec.Struct, frozen=True):
    """Whole UTC days of a month on which a service level held."""

    since_us: int
    until_us: int
    sla: Sla


class Verdict(msgspec.Struct, frozen=True):
    """One promise and what was measured: parts per million, or microseconds.

    ``met`` is None where nothing could be measured.
    """

    kind: Kind
    promised: int
    measured: int | None
    met: bool | None


class ErrorBudget(msgspec.Struct, frozen=True):
    """How many requests might fail, and how much of that is spent, in parts per million of it."""

    allowed: int
    bad: int
    spent_ppm: int | None
    """None where nothing may fail and something did."""

    @property
    def left_ppm(self) -> int | None:
        """What is left; below zero where more failed than might."""
        return None if self.spent_ppm is None else PPM - self.spent_ppm


class CreditLine(msgspec.Struct, frozen=True):
    """What an invoice takes off the charges of a model, in parts per million of them, and why."""

    tenant: str
    model: str
    ppm: int
    why: str
    sla: str
    since: str
    until: str


class DayMark(msgspec.Struct, frozen=True):
    """One day of a report."""

    day: str
    good: int
    bad: int
    excluded: int
    ttft_p95_us: int | None
    itl_p95_us: int | None

    @property
    def availability_ppm(self) -> int | None:
        """Of this day."""
        return availability_ppm(self.good, self.bad)


class ServiceMonth(msgspec.Struct, frozen=True):
    """A model's month, or the part of it in which one service level held."""

    tenant: str
    model: str
    sla: str
    since: str
    until: str
    good: int
    bad: int
    excluded: int
    rules: dict[str, int]
    streams: int
    probes: int
    """Probes that count in it; none where there were requests enough."""
    verdicts: tuple[Verdict, ...]
    budget: ErrorBudget | None
    credit: CreditLine | None
    days: tuple[DayMark, ...]

    @property
    def availability_ppm(self) -> int | None:
        """Of this month."""
        return availability_ppm(self.good, self.bad)


def month_span(month: str) -> tuple[int, int]:
    """Beginning and end of a month, as 2026-11, in microseconds UTC. Raises `BadPriceBook`."""
    try:
        first = datetime.strptime(f"{month}-01", "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise BadPriceBook("month", f"{month!r} is no month; write it as 2026-11") from error
    after = (first + timedelta(days=31)).replace(day=1)
    return _us(first), _us(after)


def month_of(at_us: int) -> str:
    """The UTC month of a moment, as 2026-11."""
    return day_of(at_us)[:7]


def _us(at: datetime) -> int:
    return round(at.timestamp()) * 1_000_000


def _day_us(day: str) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * DAY_US


def tenants_with_sla(book: PriceBook) -> list[str]:
    """Who has a service level at any time."""
    return sorted({one.tenant for one in book.contracts if one.sla is not None})


def spans_of(book: PriceBook, tenant: str, since_us: int, until_us: int) -> list[Span]:
    """The service levels that a tenant has in a time, each with its days."""
    known = {one.id: one for one in book.slas}
    found: list[Span] = []
    for contract in sorted(book.contracts, key=lambda one: one.since):
        if contract.tenant != tenant or contract.sla is None:
            continue
        first = max(since_us, _day_us(contract.since))
        last = until_us if contract.until is None else min(until_us, _day_us(contract.until))
        if first >= last:
            continue
        sla = known[contract.sla]
        if found and found[-1].until_us == first and found[-1].sla == sla:
            found[-1] = Span(found[-1].since_us, last, sla)
        else:
            found.append(Span(first, last, sla))
    return found


def objective_of(sla: Sla, model: str) -> Objective | None:
    """What is promised for a model: its own row goes before the row of all."""
    for wanted in (model, ALL_MODELS):
        for one in sla.objectives:
            if one.model == wanted:
                return one
    return None


def models_of(tallies: Tallies, tenant: str, sla: Sla) -> list[str]:
    """The models to report on: those that were asked, and those that are named."""
    asked = {model for who, model, _ in tallies if who == tenant and model != NO_MODEL}
    named = {one.model for one in sla.objectives if one.model != ALL_MODELS}
    return sorted(one for one in asked | named if objective_of(sla, one) is not None)


Slots = Mapping[tuple[str, str], Mapping[int, Tally]]
"""Tenant and model -> slot -> what it counted."""


def by_model(tallies: Tallies) -> Slots:
    """Tallies as they are looked up."""
    found: dict[tuple[str, str], dict[int, Tally]] = {}
    for (tenant, model, slot), tally in tallies.items():
        found.setdefault((tenant, model), {})[slot] = tally
    return found


def gather(
    slots: Slots, tenant: str, model: str, within: Callable[[int], bool]
) -> tuple[Tally, int]:
    """What counts for a model in some slots, and how many probes are in it.

    A request that we failed before its model was known counts against each: it may have been any.
    """
    found, probes = Tally(), Tally()
    for slot, tally in slots.get((tenant, model), {}).items():
        if within(slot):
            found.add(tally)
    for slot, tally in slots.get((tenant, NO_MODEL), {}).items():
        if within(slot):
            found.add(_bad_alone(tally))
    for slot, tally in slots.get((PROBES, model), {}).items():
        if within(slot):
            probes.add(tally)
    if found.good + found.bad >= REQUESTS_FEW:
        return found, 0
    found.add(probes)
    return found, probes.good + probes.bad


def _bad_alone(tally: Tally) -> Tally:
    bad = {rule: n for rule, n in tally.rules.items() if SERVICE_RULES[rule].counts == "bad"}
    return Tally(bad)


def months_of(tallies: Tallies, tenant: str, spans: Iterable[Span]) -> list[ServiceMonth]:
    """The report: each model of each service level. ``tallies`` are of days."""
    slots = by_model(tallies)
    return [
        _month(slots, tenant, model, span)
        for span in spans
        for model in models_of(tallies, tenant, span.sla)
    ]


def _month(slots: Slots, tenant: str, model: str, span: Span) -> ServiceMonth:
    objective = objective_of(span.sla, model)
    assert objective is not None, "models without one are not reported on"
    whole, probes = gather(slots, tenant, model, lambda slot: span.since_us <= slot < span.until_us)
    verdicts = _verdicts(objective, whole)
    line = CreditLine(
        tenant, model, 0, "", span.sla.id, day_of(span.since_us), day_of(span.until_us)
    )
    return ServiceMonth(
        tenant=tenant,
        model=model,
        sla=line.sla,
        since=line.since,
        until=line.until,
        good=whole.good,
        bad=whole.bad,
        excluded=whole.count("excluded"),
        rules={rule: whole.rules[rule] for rule in SERVICE_RULES if rule in whole.rules},
        streams=sum(whole.ttft.values()),
        probes=probes,
        verdicts=verdicts,
        budget=error_budget(objective.availability_ppm, whole.good, whole.bad),
        credit=_credit(span.sla, verdicts, line),
        days=tuple(
            _day(slots, tenant, model, slot) for slot in range(span.since_us, span.until_us, DAY_US)
        ),
    )


def _day(slots: Slots, tenant: str, model: str, slot: int) -> DayMark:
    own = slots.get((tenant, model), {}).get(slot, Tally())
    unnamed = slots.get((tenant, NO_MODEL), {}).get(slot, Tally())
    return DayMark(
        day_of(slot),
        own.good,
        own.bad + unnamed.bad,
        own.count("excluded"),
        _in_us(p95(own.ttft), TTFT_STEP_US),
        _in_us(p95(own.itl), ITL_STEP_US),
    )


def _in_us(steps: int | None, step_us: int) -> int | None:
    return None if steps is None else steps * step_us


def _verdicts(objective: Objective, found: Tally) -> tuple[Verdict, ...]:
    ttft, itl = objective.ttft_p95_ms, objective.itl_p95_ms
    verdicts = []
    if objective.availability_ppm is not None:
        measured, promised = found.availability_ppm, objective.availability_ppm
        met = None if measured is None else measured >= promised
        verdicts.append(Verdict("availability", promised, measured, met))
    if ttft is not None:
        verdicts.append(_at_most("ttft_p95", ttft, _in_us(p95(found.ttft), TTFT_STEP_US)))
    if itl is not None:
        verdicts.append(_at_most("itl_p95", itl, _in_us(p95(found.itl), ITL_STEP_US)))
    return tuple(verdicts)


def _at_most(kind: Kind, promised_ms: int, measured_us: int | None) -> Verdict:
    promised_us = promised_ms * 1_000
    met = None if measured_us is None else measured_us <= promised_us
    return Verdict(kind, promised_us, measured_us, met)


def error_budget(promised_ppm: int | None, good: int, bad: int) -> ErrorBudget | None:
    """What may fail of so many; None where no availability is promised or nothing counts."""
    if promised_ppm is None or not good + bad:
        return None
    may = (PPM - promised_ppm) * (good + bad)
    spent = bad * PPM * PPM // may if may else (None if bad else 0)
    return ErrorBudget(may // PPM, bad, spent)


def _credit(sla: Sla, verdicts: tuple[Verdict, ...], line: CreditLine) -> CreditLine | None:
    """The largest credit that applies; None where none does."""
    found: list[tuple[int, str]] = []
    for verdict in verdicts:
        if verdict.measured is None:
            continue
        if verdict.kind == "availability":
            for one in sla.credits:
                if verdict.measured < one.below_ppm:
                    measured, below = _percent(verdict.measured), _percent(one.below_ppm)
                    words = f"availability {measured} is below {below}"
                    found.append((one.credit_ppm, words))
        elif not verdict.met:
            words = f"{verdict.kind} {_ms(verdict.measured)} is above {_ms(verdict.promised)}"
            found.append((sla.latency_credit_ppm, words))
    ppm, why = max(found, default=(0, ""), key=lambda one: one[0])
    if ppm == 0:
        return None
    return msgspec.structs.replace(line, ppm=min(ppm, sla.credit_ppm_max), why=why)


def credits_due(
    months: Iterable[ServiceMonth], book: PriceBook
) -> dict[str, tuple[CreditDue, ...]]:
    """What invoices take: by tenant the largest credit of each model, of the days of its report."""
    found: dict[str, dict[tuple[str, str], CreditDue]] = {}
    for line in (one.credit for one in months if one.credit is not None):
        dues = found.setdefault(line.tenant, {})
        for since in _terms_in(line, book):
            due = CreditDue(line.model, line.ppm, line.why, since)
            key = (line.model, since)
            if key not in dues or dues[key].ppm < due.ppm:
                dues[key] = due
    return {tenant: tuple(sorted(dues.values())) for tenant, dues in found.items()}


def _terms_in(line: CreditLine, book: PriceBook) -> list[str]:
    """The first days of the contracts whose charges a credit is of; empty: of the whole month."""
    month = line.since[:7]
    if (line.since, line.until) == (first_day(month), end_day(month)):
        return [""]
    return [
        max(one.since, line.since)
        for one in book.contracts
        if one.tenant == line.tenant and meets(span_of(one), (line.since, line.until))
    ]


def _percent(ppm: int) -> str:
    return f"{ppm // 10_000}.{ppm % 10_000:04} %"


def _ms(micros: int) -> str:
    return f"{micros // 1_000}.{micros % 1_000 // 100} ms"
