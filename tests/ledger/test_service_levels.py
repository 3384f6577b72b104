"""Service levels: every rule, exact folds in any order, promises, budgets and credits by hand."""

from __future__ import annotations

import math
import random
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import Outcome, Receipt
from selvedge.ledger import (
    AFTER_PATIENCE,
    BY_END,
    DAY_US,
    PATIENT_US,
    PPM,
    REQUESTS_FEW,
    ROWS,
    SERVICE_RULES,
    BadPriceBook,
    Contract,
    Credit,
    ErrorBudget,
    Maintenance,
    Objective,
    PriceBook,
    Sealed,
    ServiceAsked,
    ServiceMonth,
    Sla,
    Span,
    Tally,
    UsageRow,
    Verdict,
    canonical,
    credits_due,
    error_budget,
    fold_service,
    join_service,
    judge,
    month_span,
    months_of,
    p95,
    row_of_receipt,
    service_rules_table,
    spans_of,
    tenants_with_sla,
)
from tests.support.months import (
    BEGIN_US,
    BOOK,
    END_US,
    GOLD,
    MONTH,
    WINDOW,
    receipts_of_month,
    tried,
)
from tests.support.shipping import make_receipt

ALL = ServiceAsked(BEGIN_US, END_US)


def row_of(receipt: Receipt) -> UsageRow:
    return row_of_receipt(Sealed(msgspec.Raw(canonical(receipt)), ""), receipt)


def row(number: int = 1, **facts: object) -> UsageRow:
    at_us = BEGIN_US + number * 1_000
    given = {"received_us": at_us, "ended_us": at_us, "usage": None, **facts}
    return row_of(make_receipt(number, **given))


def refused(code: str) -> dict[str, object]:
    return {"outcome": Outcome.REFUSED, "code": code}


LONG = {"ended_us": BEGIN_US + 1_000 + PATIENT_US}
SHORT = {"ended_us": BEGIN_US + 1_000 + PATIENT_US - 1}
GONE = {"outcome": Outcome.CLIENT_GONE}
LATE = {"outcome": Outcome.FAILED, "code": "deadline_exceeded"}
DONE = {"outcome": Outcome.COMPLETE}
BROKE = {"outcome": Outcome.FAILED, "code": "engine_interrupted"}
CASES: tuple[tuple[str, dict[str, object]], ...] = (
    ("batch", {**DONE, "purpose": "batch"}),
    ("batch", {**BROKE, "purpose": "batch", "attempts": tried("failed")}),
    ("replayed", {**DONE, "repeats": "rcpt_1"}),
    ("left", {**GONE, **SHORT, "stream": True}),
    ("left", {**GONE, **LONG, "stream": False}),
    ("left_midway", {**GONE, **LONG, "stream": True, "attempts": tried("gone", 3)}),
    ("hasty", {**LATE, **SHORT, "stream": True}),
    ("cut_short", {**LATE, **LONG, "stream": True, "attempts": tried("deadline", 3)}),
    ("client_fault", refused("invalid_json")),
    ("client_fault", {**refused("engine_rejected"), "attempts": tried("rejected")}),
    ("client_fault", {**refused("engine_rejected"), "attempts": tried("rejected", 2)}),
    ("policy", refused("insufficient_quota")),
    ("policy", refused("rate_limit_exceeded")),
    ("policy", refused("residency_no_allowed_pop")),
    ("answered", DONE),
    ("answered", {**DONE, "purpose": "probe"}),
    ("from_cache", {**DONE, "cache": "hit"}),
    ("silent", {**GONE, **LONG, "stream": True}),
    ("late", {**LATE, **LONG, "stream": True}),
    ("late", {**LATE, **LONG, "stream": False}),
    ("failed", {**BROKE, "attempts": tried("failed")}),
    ("failed", {**BROKE, "attempts": tried("failed"), "purpose": "probe"}),
    ("broken", {**BROKE, "attempts": tried("failed", 9)}),
    ("capacity", refused("overloaded")),
    ("yielded", {**refused("no_engine_available"), "purpose": "probe"}),
    ("judge", {**BROKE, "attempts": tried("failed"), "purpose": "judge"}),
    ("engine", refused("engine_failed")),
    ("selvedge", refused("shutting_down")),
    ("selvedge", refused("a_code_of_a_newer_version")),
    ("interrupted", {"outcome": Outcome.INTERRUPTED}),
)


@pytest.mark.parametrize(("rule", "facts"), CASES)
def test_every_rule_by_an_example(rule: str, facts: dict[str, object]) -> None:
    assert judge(row(**facts)) == rule


def test_the_table_is_whole() -> None:
    of_attempts = {"attempt_failed", "hedge_loser"}
    by_purpose = {"probe", "judge", "batch_line"}
    assert set(BY_END) == set(ROWS) - of_attempts - by_purpose, "every end has a rule"
    used = {*BY_END.values(), *(rule for rule, _ in AFTER_PATIENCE.values())}
    assert used | {"maintenance", "batch", "judge", "yielded"} == set(SERVICE_RULES), (
        "and every rule an end"
    )
    assert {rule for rule, _ in CASES} | {"maintenance"} == set(SERVICE_RULES)
    assert service_rules_table().count("\n") == len(SERVICE_RULES) + 2


def test_maintenance_is_of_a_time_a_model_and_a_zone() -> None:
    at_us = BEGIN_US + 1_000
    window = Maintenance(since_us=at_us, until_us=at_us + 1, announced_us=0)
    broken = row(**BROKE, attempts=tried("failed"))
    for one, rule in (
        (window, "maintenance"),
        (msgspec.structs.replace(window, model="scripted", zone="asean"), "maintenance"),
        (msgspec.structs.replace(window, model="other"), "failed"),
        (msgspec.structs.replace(window, zone="eea"), "failed"),
        (msgspec.structs.replace(window, since_us=at_us + 1, until_us=at_us + 2), "failed"),
        (msgspec.structs.replace(window, until_us=at_us), "failed"),
    ):
        assert judge(broken, [one]) == rule, one
    nameless = row(**refused("overloaded"), model=None)
    assert judge(nameless, [msgspec.structs.replace(window, model="m")]) == "capacity"


@given(st.lists(st.integers(0, 5_000), min_size=1, max_size=300))
def test_the_percentile_is_that_of_the_values(values: list[int]) -> None:
    found: dict[int, int] = {}
    for value in values:
        found[value] = found.get(value, 0) + 1
    got = p95(found)
    assert got == sorted(values)[math.ceil(len(values) * 95 / 100) - 1]
    within = sum(value <= got for value in values)
    assert within * 100 >= 95 * len(values)
    assert sum(value < got for value in values) * 100 < 95 * len(values)


@given(st.lists(st.integers(0, 3_000_000), min_size=1, max_size=200), st.integers(1, 3_000))
def test_rounding_up_to_steps_keeps_every_promise(times_us: list[int], promised_ms: int) -> None:
    steps: dict[int, int] = {}
    for one in times_us:
        steps[-(-one // 1_000)] = steps.get(-(-one // 1_000), 0) + 1
    exact = sorted(times_us)[math.ceil(len(times_us) * 95 / 100) - 1]
    rounded = p95(steps)
    assert rounded is not None
    assert 0 <= rounded * 1_000 - exact < 1_000
    assert (rounded <= promised_ms) == (exact <= promised_ms * 1_000)


def test_nothing_has_no_percentile() -> None:
    assert p95({}) is None


MIXED = [
    row(number, **{**facts, "model": random.Random(number).choice(["a", "b", None])})
    for number, (_, facts) in enumerate(CASES * 3)
]
STREAMS = [
    row(
        number,
        **DONE,
        stream=number % 3 > 0,
        first_token_us=BEGIN_US + 7_777 * number,
        ended_us=BEGIN_US + 99_999 * number,
        usage=make_receipt(number).usage,
    )
    for number in range(60)
]


@given(st.permutations(MIXED + STREAMS), st.integers(0, 60), st.sampled_from([DAY_US, 20_000]))
@settings(deadline=None, max_examples=30)
def test_the_order_of_folding_does_not_matter(rows: list[UsageRow], cut: int, slot: int) -> None:
    asked = ServiceAsked(BEGIN_US, END_US, slot)
    whole = fold_service(MIXED + STREAMS, asked)
    assert fold_service(rows, asked) == whole
    parts = (fold_service(rows[:cut], asked), fold_service(rows[cut:], asked))
    assert join_service(parts) == whole
    assert sum(sum(one.rules.values()) for one in whole.values()) == len(rows)


def test_times_are_of_streams_alone_and_in_steps() -> None:
    at_us = BEGIN_US + 1_000
    usage = make_receipt(1).usage
    one = row(**DONE, stream=True, first_token_us=at_us + 10_001, ended_us=at_us + 10_402)
    two = msgspec.structs.replace(one, made=3)  # gaps of 200.5 us: 3 steps of 0.1 ms
    whole = msgspec.structs.replace(two, stream=False)
    early = msgspec.structs.replace(two, first_token_us=at_us - 5)  # a clock that was set back
    (tally,) = fold_service([one, two, whole], ALL).values()
    assert tally.ttft == {11: 2}
    assert tally.itl == {3: 1}
    (tally,) = fold_service([early], ALL).values()
    assert tally.ttft == {0: 1}
    (tally,) = fold_service([two], msgspec.structs.replace(ALL, times=False)).values()
    assert (tally.ttft, tally.itl) == ({}, {})
    assert usage is not None


def test_what_is_asked_for() -> None:
    mine, probe = row(**DONE), row(2, **DONE, purpose="probe", tenant="operator")
    other, conflict = row(3, **DONE, tenant="b"), msgspec.structs.replace(mine, conflict=True)
    asked = ServiceAsked(BEGIN_US, END_US, tenant="asean")
    found = fold_service([mine, probe, other, conflict], asked)
    assert set(found) == {("asean", "scripted", BEGIN_US), ("", "scripted", BEGIN_US)}
    assert fold_service([mine], ServiceAsked(mine.received_us + 1, END_US)) == {}
    assert fold_service([mine], ServiceAsked(0, mine.received_us)) == {}


# The month.


@pytest.fixture(scope="module")
def months() -> dict[str, ServiceMonth]:
    rows = [row_of(one) for one in receipts_of_month()]
    asked = ServiceAsked(BEGIN_US, END_US, windows=(WINDOW,))
    spans = spans_of(BOOK, "acme", BEGIN_US, END_US)
    return {one.model: one for one in months_of(fold_service(rows, asked), "acme", spans)}


def test_two_outages_by_hand(months: dict[str, ServiceMonth]) -> None:
    """`small`: 20 requests an hour for 720 hours: 14,400, numbered from 0.

    Maintenance, 2 hours: 40 requests, numbers 11,520 to 11,559, do not count. Of every hundred the
    first is wrong, none of them in the maintenance: 144 client faults do not count. So 14,400 - 40
    - 144 = 14,216 count. First outage, 2 hours: 40 requests less number 3,100, which is wrong: 39.
    Second, 3 hours: 60 less number 8,700: 59. Bad: 98. Good: 14,216 - 98 = 14,118.
    14,118 / 14,216 = 0.9931063...: 993,106 ppm. That is below 995,000, so a credit of 10 %, and not
    below 990,000. The budget: 0.5 % of 14,216 = 71.08 requests. Spent: 98 / 71.08 = 1.3787281...
    """
    small = months["small"]
    assert small.rules == {
        "maintenance": 40,
        "client_fault": 144,
        "answered": 14_118,
        "failed": 39,
        "capacity": 59,
    }
    assert (small.good, small.bad, small.excluded) == (14_118, 98, 184)
    assert small.availability_ppm == 993_106
    assert small.verdicts == (Verdict("availability", 995_000, 993_106, False),)
    assert small.budget == ErrorBudget(71, 98, 1_378_728)
    assert small.budget.left_ppm == -378_728
    assert small.credit is not None
    assert (small.credit.ppm, small.credit.tenant) == (100_000, "acme")
    assert small.credit.why == "availability 99.3106 % is below 99.5000 %"
    assert (small.since, small.until, len(small.days)) == ("2026-11-01", "2026-12-01", 30)
    # Of the 7th, 480 requests: numbers 2,880 to 3,359, of which 5 are wrong, and 39 failed.
    seventh = small.days[6]
    assert (seventh.day, seventh.good, seventh.bad, seventh.excluded) == ("2026-11-07", 436, 39, 5)
    assert seventh.availability_ppm == 917_894  # 436 / 475 = 0.91789...


def test_a_slow_week_by_hand(months: dict[str, ServiceMonth]) -> None:
    """`large`: the second outage alone: 59 bad, 14,216 - 59 = 14,157 good: 995,849 ppm, kept.

    To the first token: 0.15 to 0.9 s, and 0.75 to 4.5 s in the slow week. Of the 14,157 streams the
    week has 168 x 20 - 33 wrong = 3,327: 23.5 %. Within 1.5 s are all the others, and of the week
    a fifth, (1.5 - 0.75) / (4.5 - 0.75): 76.5 % + 23.5 % / 5 = 81 %, fewer than 95 %: missed, 5 %.
    Between tokens: 15 to 55 ms, within 60 ms whatever chance does: kept.
    """
    large = months["large"]
    assert (large.good, large.bad, large.streams) == (14_157, 59, 14_157)
    availability, ttft, itl = large.verdicts
    assert availability == Verdict("availability", 995_000, 995_849, True)
    assert (ttft.promised, ttft.met) == (1_500_000, False)
    assert ttft.measured is not None
    assert 3_500_000 < ttft.measured < 4_000_000
    # 5 % of all streams are 21.3 % of the week's: 4.5 s - 0.213 x 3.75 s = 3.70 s.
    assert itl.met
    assert itl.measured is not None
    assert 52_000 < itl.measured <= 55_000
    assert large.credit is not None
    assert large.credit.ppm == 50_000
    assert large.credit.why == f"ttft_p95 {ttft.measured // 1_000}.0 ms is above 1500.0 ms"
    slow = [one.day for one in large.days if (one.ttft_p95_us or 0) > 1_500_000]
    assert slow == [f"2026-11-{day:02d}" for day in range(9, 16)]


# Promises.


def month_with(sla: Sla, *tallies: tuple[tuple[str, str], Tally]) -> list[ServiceMonth]:
    table = {(tenant, model, BEGIN_US): tally for (tenant, model), tally in tallies}
    return months_of(table, "t", [Span(BEGIN_US, END_US, sla)])


def counted(good: int, bad: int) -> Tally:
    return Tally({"answered": good, "failed": bad})


@pytest.mark.parametrize(
    ("good", "bad", "ppm"),
    [
        (9_990, 10, None),  # 99.9 %: promised and kept
        (9_989, 11, 100_000),  # 99.89 %
        (9_900, 100, 100_000),  # 99 %, not below it
        (9_899, 101, 250_000),
        (9_000, 1_000, 300_000),  # the table says all, the cap 30 %
        (0, 10_000, 300_000),
    ],
)
def test_the_largest_credit_that_applies(good: int, bad: int, ppm: int | None) -> None:
    sla = Sla(
        "s",
        (Objective("*", availability_ppm=999_000),),
        credits=(Credit(990_000, 250_000), Credit(999_000, 100_000), Credit(950_000, PPM)),
        credit_ppm_max=300_000,
    )
    (found,) = month_with(sla, (("t", "m"), counted(good, bad)))
    assert (found.credit.ppm if found.credit else None) == ppm


def test_latency_and_availability_do_not_add_up() -> None:
    objective = Objective("m", availability_ppm=990_000, ttft_p95_ms=100, itl_p95_ms=10)
    sla = Sla("s", (objective,), (Credit(990_000, 50_000),), latency_credit_ppm=70_000)
    slow = Tally({"answered": 90, "failed": 10}, {101: 90}, {100: 90})
    (found,) = month_with(sla, (("t", "m"), slow))
    assert [one.met for one in found.verdicts] == [False, False, True]
    assert found.credit is not None
    assert found.credit.ppm == 70_000
    assert "ttft_p95 101.0 ms is above 100.0 ms" in found.credit.why
    plain = Sla("s", (objective,))
    (found,) = month_with(plain, (("t", "m"), slow))
    assert found.credit is None, "a service level without a table gives none"


def test_a_month_without_requests_is_not_measured() -> None:
    objective = Objective("m", availability_ppm=990_000, ttft_p95_ms=1, itl_p95_ms=1)
    (found,) = month_with(Sla("s", (objective,), (Credit(PPM, PPM),), latency_credit_ppm=PPM))
    assert [one.met for one in found.verdicts] == [None, None, None]
    assert (found.availability_ppm, found.budget, found.credit) == (None, None, None)


def test_probes_count_where_requests_are_few() -> None:
    sla = Sla("s", (Objective("*", availability_ppm=990_000),))
    probes = (("", "m"), counted(90, 10))
    (few,) = month_with(sla, (("t", "m"), counted(REQUESTS_FEW - 2, 1)), probes)
    assert (few.good, few.bad, few.probes) == (REQUESTS_FEW + 88, 11, 100)
    (many,) = month_with(sla, (("t", "m"), counted(REQUESTS_FEW - 1, 1)), probes)
    assert (many.good, many.bad, many.probes) == (REQUESTS_FEW - 1, 1, 0)
    assert month_with(sla, probes) == [], "nobody asked, and nothing is named"


def test_a_failure_before_the_model_was_known_counts_against_each() -> None:
    sla = Sla("s", (Objective("*", availability_ppm=990_000),))
    nameless = (("t", ""), Tally({"capacity": 3, "client_fault": 9, "answered": 1}))
    for found in month_with(
        sla, (("t", "m"), counted(500, 1)), (("t", "n"), counted(9, 0)), nameless
    ):
        assert found.bad - {"m": 1, "n": 0}[found.model] == 3
        assert found.excluded == 0
        assert found.days[0].bad == found.bad


def test_a_named_model_goes_before_all() -> None:
    sla = Sla("s", (Objective("*", availability_ppm=1), Objective("m", ttft_p95_ms=5)))
    found = month_with(sla, (("t", "n"), counted(1, 0)))
    assert [(one.model, [v.kind for v in one.verdicts]) for one in found] == [
        ("m", ["ttft_p95"]),
        ("n", ["availability"]),
    ]
    narrow = Sla("s", (Objective("m", ttft_p95_ms=5),))
    assert [one.model for one in month_with(narrow, (("t", "n"), counted(1, 0)))] == ["m"]


@pytest.mark.parametrize(
    ("promised", "good", "bad", "budget"),
    [
        (999_000, 9_995, 5, ErrorBudget(10, 5, 500_000)),
        (999_000, 10_000, 0, ErrorBudget(10, 0, 0)),
        (PPM, 10, 0, ErrorBudget(0, 0, 0)),
        (PPM, 10, 1, ErrorBudget(0, 1, None)),
        (PPM, 0, 0, None),
        (None, 10, 1, None),
    ],
)
def test_error_budgets(
    promised: int | None, good: int, bad: int, budget: ErrorBudget | None
) -> None:
    assert error_budget(promised, good, bad) == budget
    if budget is not None:
        assert budget.left_ppm == (None if budget.spent_ppm is None else PPM - budget.spent_ppm)


# Contracts.


IRON = Sla("iron", (Objective(availability_ppm=990_000),))


def book(*contracts: Contract) -> PriceBook:
    return PriceBook(version=1, prices=(), contracts=contracts, slas=(GOLD, IRON))


def test_a_service_level_holds_for_the_days_of_its_contract() -> None:
    made = book(
        Contract(tenant="t", sla="gold", until="2026-11-11"),
        Contract(tenant="t", sla="gold", since="2026-11-11", until="2026-11-21"),
        Contract(tenant="t", sla="iron", since="2026-11-21", until="2026-11-29"),
        Contract(tenant="t", since="2026-11-29"),
        Contract(tenant="u", sla="iron", since="2026-12-01"),
    )
    spans = spans_of(made, "t", BEGIN_US, END_US)
    assert [(one.since_us, one.until_us, one.sla.id) for one in spans] == [
        (BEGIN_US, BEGIN_US + 20 * DAY_US, "gold"),
        (BEGIN_US + 20 * DAY_US, BEGIN_US + 28 * DAY_US, "iron"),
    ]
    assert spans_of(made, "u", BEGIN_US, END_US) == []
    assert tenants_with_sla(made) == ["t", "u"]


def test_a_contract_with_an_unknown_service_level_is_named() -> None:
    with pytest.raises(BadPriceBook, match=r"contracts\.t\.sla: 'tin' is not under slas"):
        book(Contract(tenant="t", sla="tin"))


def test_months() -> None:
    assert month_span(MONTH) == (BEGIN_US, END_US)
    assert (END_US - BEGIN_US) // DAY_US == 30
    assert month_span("2027-12")[1] == month_span("2028-01")[0]
    for bad in ("2026-13", "2026", "november"):
        with pytest.raises(BadPriceBook, match="write it as 2026-11"):
            month_span(bad)


def test_the_documentation_has_the_rules() -> None:
    document = Path(__file__).parents[2] / "docs" / "money.md"
    assert service_rules_table() in document.read_text("utf-8")


def test_invoices_take_the_largest_credit_of_a_model(months: dict[str, ServiceMonth]) -> None:
    small, large = months["small"], months["large"]
    assert small.credit is not None
    worse = msgspec.structs.replace(small.credit, ppm=200_000, why="worse")
    again = msgspec.structs.replace(small, credit=worse)
    (due,) = credits_due([small, large, again], BOOK).values()
    assert [(one.model, one.ppm) for one in due] == [("large", 50_000), ("small", 200_000)]
    assert credits_due([msgspec.structs.replace(small, credit=None)], BOOK) == {}


def test_a_credit_is_of_the_days_on_which_the_service_level_held() -> None:
    """Neither the days before the contract are credited, nor those of a later one without it."""
    gold = Sla("gold", (Objective(availability_ppm=995_000),), (Credit(995_000, 100_000),))
    first = Contract(tenant="t", since="2026-11-11", until="2026-11-16", sla="gold")
    then = Contract(tenant="t", since="2026-11-16", until="2026-11-21", sla="gold")
    last = Contract(tenant="t", since="2026-11-21")
    made = PriceBook(version=1, prices=(), contracts=(first, then, last), slas=(gold,))
    broken = {("t", "m", BEGIN_US + day * DAY_US): counted(9, 1) for day in range(30)}
    found = months_of(broken, "t", spans_of(made, "t", BEGIN_US, END_US))
    (due,) = credits_due(found, made).values()
    assert [(one.model, one.ppm, one.since) for one in due] == [
        ("m", 100_000, "2026-11-11"),
        ("m", 100_000, "2026-11-16"),
    ]
