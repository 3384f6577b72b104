"""Invoices against a second reckoning, in any order, closed at any time; and what is named."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import SelvedgeError, StoreCorrupt, Usage
from selvedge.ledger import (
    BadPriceBook,
    Bill,
    Closing,
    Contract,
    CreditDue,
    DoubleReceipt,
    FoldAsked,
    Invoice,
    MonthlyUsage,
    Numbers,
    Origin,
    PriceBook,
    Tier,
    Unpriced,
    adjust_month,
    bill_month,
    decimal_of,
    digits_of,
    fold_rows,
    grouped,
    half_up,
    in_currency,
    make_invoice,
    percent_of,
    read_invoice,
    starts_of,
    terms_of,
    write_invoice,
)
from selvedge.ledger.months import check_month, end_day
from tests.support.money import (
    MONTH,
    TENANT,
    book,
    fold_plainly,
    random_book,
    random_receipts,
    row,
    row_of,
    sold,
)
from tests.support.plain_money import total_of

DAYS = [f"2026-11-{day:02d}" for day in range(1, 31)]


def bill(usage: MonthlyUsage, prices: PriceBook, *credits: CreditDue) -> Bill:
    return bill_month(TENANT, MONTH, usage, prices, credits)


def lines_of(found: Bill) -> list[tuple[str, int]]:
    return [(line.kind, line.amount_micro_dollars) for line in found.lines]


def contract(**facts: object) -> Contract:
    return msgspec.convert({"tenant": TENANT} | facts, Contract)


@given(st.integers(0, 2**32), st.integers(0, 120))
@settings(deadline=None, max_examples=60)
def test_an_invoice_is_what_a_second_reckoning_makes_of_the_receipts(seed: int, count: int) -> None:
    rng = Random(seed)
    receipts, prices = random_receipts(rng, count, DAYS), random_book(rng)
    found = bill(fold_plainly(receipts), prices)
    assert found.total_micro_dollars == total_of(receipts, prices, TENANT)
    assert found.total_micro_dollars == sum(line.amount_micro_dollars for line in found.lines)
    assert (found.receipts, sum(found.ends.values())) == (count, count)
    assert found.numbers.count == count
    assert found.billed == sum(group.receipts for group in found.groups)


@given(st.integers(0, 2**32), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=30)
def test_the_order_of_receipts_and_of_sources_changes_no_byte(seed: int, order: Random) -> None:
    rng = Random(seed)
    receipts, prices = random_receipts(rng, 60, DAYS), random_book(rng)
    whole = make_invoice(TENANT, prices, bill(fold_plainly(receipts), prices))
    order.shuffle(receipts)
    at = order.randrange(60)
    first, second = fold_plainly(receipts[:at]), fold_plainly(receipts[at:])
    second.join(first)
    assert second == fold_plainly(receipts)
    assert write_invoice(make_invoice(TENANT, prices, bill(second, prices))) == write_invoice(whole)
    assert read_invoice(write_invoice(whole)) == whole
    asked = FoldAsked(0, 2**62, starts=starts_of(prices, MONTH, TENANT))
    periods = fold_rows([row_of(one) for one in receipts], asked)[TENANT]
    assert bill(periods, prices) == whole.bill


@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(0, 30))
@settings(deadline=None, max_examples=60)
def test_whenever_a_month_is_closed_its_invoices_add_up_to_its_receipts(
    seed: int, cut: int, later: int
) -> None:
    """Two closings after the first; the three amounts come to what one invoice would."""
    rng = Random(seed)
    receipts, prices = random_receipts(rng, 60, DAYS), random_book(rng)
    rng.shuffle(receipts)
    first = make_invoice(TENANT, prices, bill(fold_plainly(receipts[:cut]), prices))
    closing = Closing(msgspec.structs.replace(first, number="one"))
    middle = receipts[cut : cut + later]
    then = adjust_month(TENANT, closing, fold_plainly(middle), prices)
    closing = Closing(closing.invoice, (("two", then.bill),))
    rest = receipts[cut + later :]
    last = adjust_month(TENANT, closing, fold_plainly(rest), prices)
    assert (then.after, last.after) == (("one",), ("one", "two"))
    assert closing.numbers == fold_plainly(receipts[: cut + later]).numbers
    amounts = (first.bill, then.bill, last.bill)
    assert sum(one.total_micro_dollars for one in amounts) == total_of(receipts, prices, TENANT)
    for one in amounts:
        assert one.total_micro_dollars == sum(line.amount_micro_dollars for line in one.lines)


def test_a_line_is_its_sum_times_its_price_rounded_once() -> None:
    found = bill(fold_plainly([sold(one) for one in range(1, 4)]), book())
    assert [(one.kind, one.quantity, one.price_micro_dollars, one.per) for one in found.lines] == [
        ("input", "3000", "150001", 1_000_000),
        ("output", "300", "600007", 1_000_000),
    ]
    assert lines_of(found) == [("input", 450), ("output", 180)]  # 450.003 and 180.0021
    group = found.groups[0]
    assert (group.receipts, group.streams[0].first, group.streams[0].last) == (3, 1, 3)
    assert found.cut[0].runs == ((1, 3),)


def test_a_price_that_changes_in_mid_month_makes_two_lines_by_the_day_received() -> None:
    prices = book(row(until="2026-11-16"), row(since="2026-11-16", input=200_000, output=0))
    receipts = [sold(1, "2026-11-15"), sold(2, "2026-11-16"), sold(3, "2026-11-30")]
    found = bill(fold_plainly(receipts), prices)
    assert [(one.since, one.until, one.receipts) for one in found.groups] == [
        ("2026-11-01", "2026-11-16", 1),
        ("2026-11-16", "2026-12-01", 2),
    ]
    amounts = [("input", 150), ("output", 60), ("input", 400), ("output", 0)]
    assert lines_of(found) == amounts


def test_a_late_receipt_is_rated_by_its_own_day() -> None:
    prices = book(row(until="2026-11-16"), row(since="2026-11-16", input=200_000, output=0))
    first = make_invoice(TENANT, prices, bill(fold_plainly([sold(1, "2026-11-16")]), prices))
    closing = Closing(msgspec.structs.replace(first, number="acme-2026-11"))
    late = fold_plainly([sold(2, "2026-11-15"), sold(3, "2026-11-20")])
    found = adjust_month(TENANT, closing, late, prices)
    assert found.invoice == "acme-2026-11"
    assert [(one.words, one.amount_micro_dollars) for one in found.bill.lines] == [
        ("late for 2026-11: small, input tokens, eea", 150),
        ("late for 2026-11: small, output tokens, eea", 60),
        ("late for 2026-11: small, input tokens, eea", 200),
        ("late for 2026-11: small, output tokens, eea", 0),
    ]
    assert found.bill.cut[0].runs == ((2, 3),)


def test_a_late_receipt_takes_back_what_was_missing_to_a_commitment() -> None:
    prices = book(contract=contract(committed_micro_dollars=300))
    first = make_invoice(TENANT, prices, bill(fold_plainly([sold(1)]), prices))
    assert lines_of(first.bill)[-1] == ("commitment", 90)
    closing = Closing(msgspec.structs.replace(first, number="acme-2026-11"))
    found = adjust_month(TENANT, closing, fold_plainly([sold(2)]), prices)
    assert lines_of(found.bill) == [("input", 150), ("output", 60), ("commitment", -90)]


def test_every_term_is_a_line_over_those_before_it() -> None:
    terms = contract(
        discount_ppm=100_000,
        tiers=[Tier(100, 200_000), Tier(150, 500_000)],
        committed_micro_dollars=400,
        minimum_micro_dollars=500,
        sla="gold",
        sla_fee_micro_dollars=77,
    )
    credits = (CreditDue("small", 500_000, "late"), CreditDue("large", 1, "none"))
    found = bill(fold_plainly([sold(1)]), book(contract=terms), *credits)
    assert lines_of(found) == [
        ("input", 150),
        ("output", 60),
        ("discount", -21),  # of 210
        ("tier", -10),  # 20 % of 100 to 150
        ("tier", -20),  # 50 % of 150 to 189: 19.5
        ("commitment", 241),  # to 400 from 159
        ("minimum", 100),
        ("sla_fee", 77),
        ("credit", -80),  # half of the 159 that discounts left: 79.5
    ]
    assert [line.words for line in found.lines[2:]] == [
        "contract discount of 10 %",
        "discount of 20 % on charges above 0.0001 USD",
        "discount of 50 % on charges above 0.00015 USD",
        "missing to the committed 0.0004 USD",
        "missing to the minimum of 0.0005 USD",
        "service level gold, monthly fee",
        "credit of 50 % of charges of small: late",
    ]


def test_a_credit_is_of_the_days_of_its_contract() -> None:
    prices = book(contract=contract(since="2026-11-16"))
    usage = fold_plainly([sold(1, "2026-11-15"), sold(2, "2026-11-16")])
    found = bill(usage, prices, CreditDue("small", 500_000, "slow", "2026-11-16"))
    assert lines_of(found)[-1] == ("credit", -105)
    assert sum(one.kind == "credit" for one in found.lines) == 1


def test_neurons_are_exact_and_free_ones_are_taken_day_by_day() -> None:
    prices = book(contract=contract(unit="neurons"), free=20)
    used = Usage(input_uncached=600, cache_read=400, output=100, provenance="reported")
    receipts = [sold(1, usage=used), sold(2, usage=used), sold(3, "2026-11-11", usage=used)]
    found = bill(fold_plainly(receipts), prices)
    # 1,000 x 13,637 + 100 x 54,546 per million: 19.0916 neurons each
    assert (found.lines[0].quantity, found.lines[0].unit) == ("57.2748", "neuron")
    assert [(one.day, one.neurons) for one in found.neurons] == [
        ("2026-11-10", "38.1832"),
        ("2026-11-11", "19.0916"),
    ]
    assert lines_of(found) == [("neurons", 630), ("allowance", -430)]  # 630.02; 39.0916 are free


def test_a_batch_is_cheaper_and_takes_fewer_neurons() -> None:
    batch = [sold(1, purpose="batch")]
    half = row(batch_discount_ppm=500_000)
    found = bill(fold_plainly(batch), book(half))
    assert lines_of(found) == [("input", 75), ("output", 30)]
    assert found.lines[0].price_micro_dollars == "75000.5"
    assert found.groups[0].sort == "batch"
    found = bill(fold_plainly(batch), book(half, contract=contract(unit="neurons"), free=0))
    assert found.lines[0].quantity == "9.5458"


def test_cached_answers_and_requests_have_prices_of_their_own() -> None:
    prices = book(row(cache_hit=7, request=5))
    found = bill(fold_plainly([sold(1), sold(2, cache="hit"), sold(3, cache="hit")]), prices)
    assert lines_of(found) == [("hits", 14), ("input", 150), ("output", 60), ("requests", 5)]


def test_zones_and_contracts_have_rows_that_go_first() -> None:
    agreed = (row(input=3_000_000),)
    prices = book(row(), row(zone="eea", input=2_000_000), contract=contract(prices=agreed))
    assert lines_of(bill(fold_plainly([sold(1)]), prices))[0] == ("input", 3_000)
    assert bill(fold_plainly([sold(1)]), prices).lines[0].list_micro_dollars == 2_000
    listed = book(*prices.prices)
    assert lines_of(bill(fold_plainly([sold(1)]), listed))[0] == ("input", 2_000)
    assert lines_of(bill(fold_plainly([sold(1, zone="uk")]), listed))[0] == ("input", 150)


def test_a_contract_that_begins_in_mid_month_takes_its_days_only() -> None:
    prices = book(contract=contract(since="2026-11-16", discount_ppm=500_000))
    found = bill(fold_plainly([sold(1, "2026-11-15"), sold(2, "2026-11-16")]), prices)
    amounts = [("input", 150), ("output", 60), ("input", 150), ("output", 60), ("discount", -105)]
    assert lines_of(found) == amounts


def test_usage_without_a_price_is_named_and_never_zero() -> None:
    receipts = [sold(1, model="new"), sold(2, "2026-11-12", model="new"), sold(3, model=None)]
    with pytest.raises(Unpriced) as caught:
        bill(fold_plainly([*receipts, sold(4)]), book())
    assert str(caught.value) == (
        "usage without a price: model - in zone eea has no price on 2026-11-10 (1 receipt); model "
        "new in zone eea has no price on 2 days, 2026-11-10 to 2026-11-12 (2 receipts). Add rows "
        "to the price book"
    )
    with pytest.raises(Unpriced, match=r"model new .* no price"):
        bill(fold_plainly([sold(1, model="new", cache="hit")]), book())
    free = fold_plainly([sold(1, model="new", usage=None)])
    assert bill(free, book()).total_micro_dollars == 0


def test_a_contract_with_terms_of_a_month_holds_for_whole_months() -> None:
    prices = book(contract=contract(since="2026-11-02", committed_micro_dollars=1))
    words = "contracts.acme.since: the contract since 2026-11-02 has terms of a month"
    with pytest.raises(BadPriceBook, match=words):
        bill(fold_plainly([sold(1)]), prices)


def test_a_month_without_receipts_says_so_and_has_the_contracts_fees() -> None:
    empty = make_invoice(TENANT, book(), bill(MonthlyUsage(), book()))
    assert (empty.notes, empty.total_micro_dollars) == (("There are no receipts of 2026-11.",), 0)
    prices = book(contract=contract(minimum_micro_dollars=9, sla="gold", sla_fee_micro_dollars=5))
    found = bill(MonthlyUsage(), prices)
    assert lines_of(found) == [("minimum", 9), ("sla_fee", 5)]


def test_a_receipt_that_is_there_twice_is_named() -> None:
    with pytest.raises(DoubleReceipt, match="PoP sin, worker 0: number 7 is there twice"):
        fold_plainly([sold(7), sold(7)])
    usage = fold_plainly([sold(7)])
    with pytest.raises(DoubleReceipt):
        usage.join(fold_plainly([sold(7), sold(8)]))


def test_terms_cover_the_month_without_gaps() -> None:
    middle = contract(since="2026-11-05", until="2026-11-20")
    found = terms_of(book(contract=middle), TENANT, MONTH)
    assert [(one.since, one.until, one.key) for one in found] == [
        ("2026-11-01", "2026-11-05", ""),
        ("2026-11-05", "2026-11-20", "2026-11-05"),
        ("2026-11-20", "2026-12-01", ""),
    ]


@given(st.sets(st.integers(0, 400)), st.sets(st.integers(0, 400)))
@settings(deadline=None)
def test_numbers_are_sets(ours: set[int], theirs: set[int]) -> None:
    origin = Origin("sin", 1)

    def numbers(of: set[int]) -> Numbers:
        return Numbers.of_runs([(origin, [(one, one) for one in of])])

    found = numbers(ours)
    runs = [run for _, all_runs in found.runs() for run in all_runs]
    assert {one for first, last in runs for one in range(first, last + 1)} == ours
    assert all(second[0] > first[1] + 1 for first, second in pairwise(runs))
    assert Numbers.of_runs(found.runs()) == found
    assert found.without(numbers(theirs)) == numbers(ours - theirs)
    assert found.count == len(ours)
    assert ((origin, 17) in found) == (17 in ours)
    found.join(numbers(theirs))
    assert found == numbers(ours | theirs)


def test_amounts_are_decimals_and_back() -> None:
    assert [half_up(one, 2) for one in (1, -1, 3, -3, 2)] == [1, -1, 2, -2, 1]
    assert (decimal_of(-1_500, 3), decimal_of(5, 6), decimal_of(20, 0)) == (
        "-1.5",
        "0.000005",
        "20",
    )
    assert (in_currency(12_500_000), percent_of(75_000)) == ("12.50", "7.5 %")
    assert grouped("-1234567.5") == "-1,234,567.5"
    for number in (0, 7, -12_345, 10**20):
        assert digits_of(decimal_of(number, 12), 12) == number
    for wrong in ("", "1e3", "1.2345", "x", "1.x"):
        with pytest.raises(StoreCorrupt):
            digits_of(wrong, 3)


def test_months_are_checked() -> None:
    assert (end_day("2026-12"), check_month("2026-02")) == ("2027-01-01", "2026-02")
    for wrong in ("2026-13", "2026-1", "26-11", "0000-01", "2026-11-01"):
        with pytest.raises(SelvedgeError, match="is no month; write it as 2026-11"):
            check_month(wrong)


def test_what_is_no_invoice_is_named() -> None:
    with pytest.raises(StoreCorrupt, match="it is no invoice"):
        read_invoice(b"{}")
    found = make_invoice(TENANT, book(), bill(fold_plainly([sold(1)]), book()))
    assert isinstance(read_invoice(write_invoice(found)), Invoice)


@pytest.mark.parametrize(
    ("closed", "later"),
    [
        ({}, {"committed_micro_dollars": 300}),
        ({}, {"minimum_micro_dollars": 300}),
        ({"committed_micro_dollars": 300}, {}),
        ({"committed_micro_dollars": 300}, {"committed_micro_dollars": 9_000}),
        ({"discount_ppm": 1_000}, {"discount_ppm": 1_000, "since": "2026-10-01"}),
        (None, {"committed_micro_dollars": 300}),
    ],
)
def test_a_closed_month_is_not_adjusted_under_another_contract(
    closed: dict[str, object] | None, later: dict[str, object]
) -> None:
    """What was never billed as missing to a commitment is not taken off late charges."""
    then = book(contract=None if closed is None else contract(**closed))
    first = make_invoice(TENANT, then, bill(fold_plainly([sold(1)]), then))
    closing = Closing(msgspec.structs.replace(first, number="acme-2026-11"))
    now = book(contract=contract(**later), version=2)
    with pytest.raises(BadPriceBook, match=r"contracts\.acme\.since: .* acme-2026-11 .*2026-12-01"):
        adjust_month(TENANT, closing, fold_plainly([sold(2)]), now)


def test_a_contract_that_begins_after_a_closed_month_leaves_its_adjustments_alone() -> None:
    first = make_invoice(TENANT, book(), bill(fold_plainly([sold(1)]), book()))
    closing = Closing(msgspec.structs.replace(first, number="acme-2026-11"))
    now = book(contract=contract(since="2026-12-01", committed_micro_dollars=300), version=2)
    found = adjust_month(TENANT, closing, fold_plainly([sold(2)]), now)
    assert lines_of(found.bill) == [("input", 150), ("output", 60)]
