"""What a price book refuses, by name; and that one row answers for each day that is priced."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.ledger import (
    BadPriceBook,
    Contract,
    Credit,
    Neurons,
    Objective,
    PriceBook,
    PriceList,
    PriceRow,
    Sla,
    Tier,
    check_against,
)
from selvedge.ledger.price_times import is_covered, is_day, is_within

ROW = PriceRow(model="m", input=50_000, output=80_000)
IN_NEURONS = msgspec.structs.replace(ROW, neurons_input=4119, neurons_output=34868)
GOLD = Sla("gold", (Objective(availability_ppm=999_000),))
OURS = Neurons(11_000, 10_000)


def row(**changes: Any) -> PriceRow:  # Any: its fields
    return msgspec.structs.replace(ROW, **changes)


def book(*rows: PriceRow, **fields: Any) -> PriceBook:  # Any: fields of a book
    return PriceBook(**{"version": 1, "prices": rows or (ROW,)} | fields)


def contract(**fields: Any) -> Contract:  # Any: fields of a contract
    return Contract(**{"tenant": "acme"} | fields)


def under(*contracts: Contract, **fields: Any) -> dict[str, Any]:  # Any: fields of a book
    return {"contracts": contracts} | fields


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("version", {"version": 0}, "version", "count from 1"),
    ("currency", {"currency": "usd"}, "currency", "USD"),
    ("negative", {"prices": (row(input=-1),)}, "prices.m.input", "from 0 to"),
    ("too large", {"prices": (row(output=10**12 + 1),)}, "prices.m.output", "from 0 to"),
    ("a fee", {"prices": (row(request=-5),)}, "prices.m.request", "from 0"),
    ("percent", {"prices": (row(batch_discount_ppm=1_000_001),)}, "prices.m.batch", "7.5 %"),
    ("no model", {"prices": (row(model=""),)}, "prices..model", "128"),
    ("no zone", {"prices": (row(zone="*"),)}, "prices.m.*.zone", "all zones"),
    ("not ISO", {"prices": (row(since="1.11.2026"),)}, "prices.m.since", "2026-11-01"),
    ("no day", {"prices": (row(until="2026-02-30"),)}, "prices.m.until", "UTC day"),
    ("week", {"prices": (row(until="2026-W01-1"),)}, "prices.m.until", "UTC day"),
    (
        "never",
        {"prices": (row(since="2026-11-01", until="2026-11-01"),)},
        "prices.m.until",
        "never holds",
    ),
    (
        "overlap",
        {"prices": (row(until="2026-11-02"), row(since="2026-11-01"))},
        "prices.m.until",
        "end the first with 'until: 2026-11-01'",
    ),
    ("twice", {"prices": (ROW, ROW)}, "prices.m.until", "two rows"),
    (
        "gap",
        {"prices": (row(until="2026-11-01"), row(since="2026-11-02"))},
        "prices.m.since",
        "from 2026-11-01 to before 2026-11-02",
    ),
    (
        "gap in a zone",
        {"prices": (ROW, row(zone="eea", until="2026-11-01"), row(zone="eea", since="2027-01-01"))},
        "prices.m.eea.since",
        "no row holds",
    ),
    ("half", {"prices": (row(neurons_input=1),)}, "prices.m.neurons_output", "missing"),
    ("neurons", {"neurons": Neurons(-1)}, "neurons.micro_dollars_per_1000", "from 0"),
    ("allowance", {"neurons": Neurons(1, -1)}, "neurons.free_per_day", "from 0"),
    ("sla twice", {"slas": (GOLD, GOLD)}, "slas.gold", "name of its own"),
    ("no objective", {"slas": (Sla("x", ()),)}, "slas.x.objectives", "promises something"),
    ("empty", {"slas": (Sla("x", (Objective(),)),)}, "slas.x.objectives.*", "promises nothing"),
    (
        "two objectives",
        {"slas": (Sla("x", (Objective(ttft_p95_ms=1), Objective(itl_p95_ms=1))),)},
        "slas.x.objectives.*",
        "make them one",
    ),
    ("0 ms", {"slas": (Sla("x", (Objective(ttft_p95_ms=0),)),)}, "slas.x.objectives.*.ttft", "ms"),
    (
        "credit",
        {"slas": (Sla("x", GOLD.objectives, (Credit(999_000, 100), Credit(990_000, 100))),)},
        "slas.x.credits",
        "never applies",
    ),
    ("tenant", under(contract(tenant="A B")), "contracts.A B.tenant", "name"),
    ("backwards", under(contract(since="2027-01-01", until="2026-01-01")), "contracts.acme", "not"),
    ("mixed", under(contract(currency="EUR")), "contracts.acme.currency", "book's USD"),
    ("discount", under(contract(discount_ppm=-1)), "contracts.acme.discount_ppm", "million"),
    ("minimum", under(contract(minimum_micro_dollars=-1)), "contracts.acme.minimum", "from 0"),
    ("unknown sla", under(contract(sla="gold")), "contracts.acme.sla", "(none)"),
    (
        "a fee for nothing",
        under(contract(sla_fee_micro_dollars=1)),
        "contracts.acme.sla_fee_micro_dollars",
        "no service level",
    ),
    (
        "tiers",
        under(contract(tiers=(Tier(20, 1), Tier(10, 2)))),
        "contracts.acme.tiers.above_micro_dollars",
        "10 is not above 20",
    ),
    (
        "a row outside",
        under(contract(since="2026-12-01", prices=(row(until="2026-12-01"),))),
        "contracts.acme.prices.m.since",
        "never applies",
    ),
    ("no unit", under(contract(unit="neurons")), "contracts.acme.unit", "no price of neurons"),
    (
        "tokens only",
        under(contract(unit="neurons"), neurons=OURS),
        "prices.m.neurons_input",
        "'acme'",
    ),
    (
        "its own row",
        under(contract(unit="neurons", prices=(ROW,)), neurons=OURS),
        "contracts.acme.prices.m.neurons_input",
        "missing",
    ),
    (
        "shadowed",
        under(contract(), contract(since="2026-01-01", until="2027-01-01")),
        "contracts.acme.since",
        "lies wholly within",
    ),
    (
        "two at once",
        under(contract(until="2026-12-01"), contract(since="2026-11-01")),
        "contracts.acme.since",
        "two contracts hold on 2026-11-01",
    ),
]


@pytest.mark.parametrize(("case", "fields", "field", "words"), REFUSED, ids=[r[0] for r in REFUSED])
def test_what_says_nothing_clear_is_named(
    case: str, fields: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(BadPriceBook) as refused:
        book(**fields)
    assert refused.value.field.startswith(field)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_book_of_everything_holds() -> None:
    made = book(
        msgspec.structs.replace(IN_NEURONS, until="2026-12-01"),
        msgspec.structs.replace(IN_NEURONS, since="2026-12-01", input=45_000),
        row(model="t", zone="eea", until="2026-06-01"),
        neurons=OURS,
        slas=(Sla("gold", GOLD.objectives, (Credit(999_000, 100_000), Credit(990_000, 250_000))),),
        contracts=(
            contract(until="2026-06-01", tiers=(Tier(10, 1), Tier(20, 2))),
            contract(since="2026-06-01", unit="neurons", sla="gold", sla_fee_micro_dollars=5),
        ),
    )
    again = msgspec.json.decode(msgspec.json.encode(made), type=PriceBook)
    assert again == made


def test_a_contract_in_neurons_may_replace_a_row_that_has_none() -> None:
    parts = (
        msgspec.structs.replace(IN_NEURONS, until="2026-11-01"),
        msgspec.structs.replace(IN_NEURONS, zone="eea", since="2026-11-01"),
    )
    only = contract(unit="neurons", since="2026-01-01", prices=parts)
    listed = row(zone="eea")
    assert book(listed, neurons=OURS, contracts=(only,))
    with pytest.raises(BadPriceBook, match=r"prices\.m\.neurons_input"):
        book(ROW, neurons=OURS, contracts=(only,))


def test_what_the_fleet_does_not_have_never_applies() -> None:
    made = book(row(zone="eea"), contracts=(contract(),))
    fleet: dict[str, Any] = {"tenants": ["acme"], "zones": ["eea"], "day": "2026-11-01"}
    check_against(made, **fleet)
    with pytest.raises(BadPriceBook, match=r"contracts\.acme\.tenant: .* make the tenant"):
        check_against(made, **fleet | {"tenants": ["other"]})
    with pytest.raises(BadPriceBook, match=r"prices\.m\.eea\.zone: .* it has asean"):
        check_against(made, **fleet | {"zones": ["asean"]})
    past = book(ROW, row(zone="eea", until="2026-01-01"), contracts=(contract(until="2026-01-01"),))
    check_against(past, tenants=[], zones=[], day="2026-11-01")
    own = book(contracts=(contract(prices=(row(zone="eea"),)),))
    with pytest.raises(BadPriceBook, match=r"contracts\.acme\.prices\.m\.eea\.zone"):
        check_against(own, **fleet | {"zones": []})


def test_the_order_in_which_rows_answer() -> None:
    listed, zoned = row(input=1), row(input=2, zone="eea", since="2026-06-01")
    own, own_zoned = row(input=3), row(input=4, zone="eea", until="2026-12-01")
    agreed = contract(since="2026-11-01", prices=(own, own_zoned))
    prices = PriceList(book(listed, zoned, contracts=(agreed,)))

    def input_of(zone: str | None, day: str, tenant: str | None = None) -> int:
        found = prices.row("m", zone, day, tenant)
        assert found is not None
        return found.input

    assert input_of("asean", "2026-11-01") == 1
    assert input_of("eea", "2026-05-31") == 1
    assert input_of("eea", "2026-06-01") == 2
    assert input_of("eea", "2026-11-01", "other") == 2
    assert input_of("eea", "2026-10-31", "acme") == 2
    assert input_of("eea", "2026-11-01", "acme") == 4
    assert input_of("eea", "2026-12-01", "acme") == 3
    assert input_of("asean", "2026-11-01", "acme") == 3
    assert prices.row("none", "eea", "2026-11-01", "acme") is None
    assert prices.contract("acme", "2026-10-31") is None
    assert prices.contract("acme", "2026-11-01") == agreed


DAYS = st.dates(date(2026, 1, 1), date(2026, 3, 31))


@st.composite
def series(draw: st.DrawFn, zone: str | None) -> tuple[PriceRow, ...]:
    """Rows of one model and zone that follow each other, each with another price."""
    bounds = sorted(draw(st.sets(DAYS, max_size=5)))
    if not bounds:
        return ()
    ends: list[str | None] = [one.isoformat() for one in bounds[1:]]
    ends += [None] if draw(st.booleans()) else []
    return tuple(
        row(zone=zone, since=since.isoformat(), until=until, input=at)
        for at, (since, until) in enumerate(zip(bounds, ends, strict=False))
    )


@given(series(None), series("eea"), st.randoms(use_true_random=False), DAYS)
def test_exactly_one_row_answers_for_each_day_that_is_covered(
    everywhere: tuple[PriceRow, ...], zoned: tuple[PriceRow, ...], chance: Any, day: date
) -> None:  # Any: random.Random
    rows = [*everywhere, *zoned]
    chance.shuffle(rows)
    prices = PriceList(PriceBook(version=1, prices=tuple(rows)))
    on = day.isoformat()

    def holding(of: tuple[PriceRow, ...]) -> list[PriceRow]:
        return [one for one in of if one.since <= on and (one.until is None or on < one.until)]

    assert len(holding(everywhere)) <= 1
    assert len(holding(zoned)) <= 1
    wanted = next(iter(holding(zoned) + holding(everywhere)), None)
    assert prices.row("m", "eea", on) == wanted
    assert prices.row("m", "asean", on) == next(iter(holding(everywhere)), None)
    end = prices.priced_until("m", "eea", on)
    if end is not None:
        assert prices.row("m", "eea", end) is None
        assert (end == on) == (wanted is None)
        before = (date.fromisoformat(end) - timedelta(days=1)).isoformat()
        assert end == on or prices.row("m", "eea", before) is not None


@given(series(None), st.integers(0, 4), st.integers(1, 400), st.booleans())
def test_a_row_that_is_moved_is_an_overlap_or_a_gap(
    rows: tuple[PriceRow, ...], at: int, days: int, later: bool
) -> None:
    if len(rows) < 2:
        return
    moved = rows[1 + at % (len(rows) - 1)]
    to = date.fromisoformat(moved.since) + timedelta(days=days if later else -days)
    if moved.until is not None and to.isoformat() >= moved.until:
        return
    others = [one for one in rows if one is not moved]
    changed = msgspec.structs.replace(moved, since=to.isoformat())
    with pytest.raises(BadPriceBook, match=r"two rows hold|no row holds"):
        PriceBook(version=1, prices=(*others, changed))


def test_days_and_spans() -> None:
    assert is_day("2024-02-29")
    assert not any(
        map(is_day, ("2023-02-29", "20260101", "2026-1-1", "0000-01-01", "", "٢٠٢٦-٠١-٠١"))
    )
    assert is_within(("2026-01-02", "2026-01-03"), ("2026-01-01", None))
    assert not is_within(("2026-01-02", None), ("2026-01-01", "2027-01-01"))
    year = [("2026-01-01", "2026-07-01"), ("2026-07-01", "2027-01-01")]
    assert is_covered(("2026-02-01", "2027-01-01"), year)
    assert not is_covered(("2026-02-01", "2027-01-02"), year)
    assert not is_covered(("2026-02-01", None), year)
    assert not is_covered(("2026-02-01", None), [])
    assert is_covered(("2026-02-01", None), [*year, ("2027-01-01", None)])
