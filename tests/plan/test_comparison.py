"""Differences in percent, and prices by a rule."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import SelvedgeError
from selvedge.ledger import PPM, PriceBook, PriceRow
from selvedge.plan import (
    Cost,
    Market,
    Mix,
    Ours,
    Published,
    Rule,
    compare,
    difference_ppm,
    ours_of,
    propose,
    read_cost,
    read_costs,
    read_mix,
    read_rule,
)

BY = Rule(70_000, 120_000)


def row(vendor: str, input_: int, output: int, model: str = "m") -> Published:
    return Published(
        vendor=vendor,
        model=model,
        name=f"{vendor}/{model}",
        input=input_,
        output=output,
        as_of="2026-11",
        basis="page",
    )


def market(*rows: Published) -> Market:
    return Market("2026-11-22", "check", {}, {"also-m": "m"}, rows)


def test_ours_beside_theirs() -> None:
    found, alone = compare(
        (Ours("m", 200_000, 200_000), Ours("also-m", 100, 100), Ours("none", 1, 1)),
        market(row("a", 220_000, 100_000), row("b", 0, 0)),
        Mix(1, 1),
    )
    assert alone == ("none",)
    assert [(one.ours.model, one.theirs.vendor) for one in found] == [
        ("m", "a"),
        ("m", "b"),
        ("also-m", "a"),
        ("also-m", "b"),
    ]
    assert (found[0].input_ppm, found[0].output_ppm, found[0].mix_ppm) == (-90_909, PPM, 250_000)
    assert (found[1].input_ppm, found[1].mix_ppm) == (None, None)


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_a_difference_is_rounded_once_half_up(ours: int, theirs: int) -> None:
    exact = Fraction(ours - theirs, theirs) * PPM
    found = difference_ppm(ours, theirs)
    assert found is not None
    assert Fraction(-1, 2) < found - exact <= Fraction(1, 2)


def test_our_list_prices_of_a_day() -> None:
    book = PriceBook(
        version=1,
        prices=(
            PriceRow(model="m", input=1, output=2, until="2026-12-01"),
            PriceRow(model="m", input=3, output=4, since="2026-12-01"),
            PriceRow(model="m", input=5, output=6, zone="eea"),
            PriceRow(model="later", input=7, output=8, since="2027-01-01"),
        ),
    )
    assert ours_of(book, "2026-11-30") == (Ours("m", 1, 2),)
    assert ours_of(book, "2026-12-01", "eea") == (Ours("m", 5, 6),)
    assert ours_of(book, "2027-01-01") == (Ours("m", 3, 4), Ours("later", 7, 8))


def proposed(
    ours: tuple[int, int] | None, *rows: Published, rule: Rule = BY, **cost: Any
) -> Any:  # Any: fields of a cost; a proposal
    sold = (Ours("m", *ours),) if ours else ()
    costs = {"m": Cost(**cost)} if cost else {} if ours else {"m": Cost(0, 0)}
    (found,), alone = propose(sold, market(*rows), rule, costs)
    assert alone == ()
    return found


THEIRS = (row("a", 1_000_000, 2_000_000), row("b", 1_100_000, 1_900_000))


@pytest.mark.parametrize(
    ("ours", "wanted"),
    [
        (None, (930_000, 1_767_000)),  # 7 % below the lowest of each
        ((900_000, 1_700_000), (900_000, 1_700_000)),  # in the band: it stays
        ((999_000, 1_000_000), (930_000, 1_672_000)),  # to the nearest edge
        ((880_000, 1_767_000), (880_000, 1_767_000)),  # the edges are in it
        ((879_999, 1_767_001), (880_000, 1_767_000)),
    ],
)
def test_a_price_in_the_band(ours: tuple[int, int] | None, wanted: tuple[int, int]) -> None:
    found = proposed(ours, *THEIRS)
    assert (found.input, found.output, found.below) == (*wanted, "a, b")
    assert found.changes == (ours != wanted)


def test_prices_are_rounded_within_the_band_or_not_at_all() -> None:
    small = row("a", 27_000, 200)  # 23,760 to 25,110, and 176 to 186
    found = proposed(None, small)
    assert (found.input, found.output) == (25_000, 186)
    coarse = msgspec.structs.replace(BY, step=100_000)
    assert proposed(None, small, rule=coarse).input == 25_110
    assert proposed((1, 1), small, rule=coarse).input == 23_760
    assert proposed(None, row("a", 1, 0)).input == 0  # no whole price lies in the band


@given(st.integers(100, 10**9), st.integers(0, 10**9), st.integers(1, 10**6), st.booleans())
def test_what_is_proposed_keeps_the_rule(theirs: int, ours: int, step: int, sold: bool) -> None:
    rule = msgspec.structs.replace(BY, step=step)
    found = proposed((ours, ours) if sold else None, row("a", theirs, theirs), rule=rule)
    assert theirs * 880_000 <= found.input * PPM <= theirs * 930_000


def test_the_margin_that_is_left() -> None:
    found = proposed((900_000, 1_700_000), *THEIRS, input=450_000, output=1_750_000)
    # 3 x 0.90 + 1.70 = 4.40; 3 x 0.45 + 1.75 = 3.10; 1.30 of 4.40 is left.
    assert found.margin_ppm == 295_454
    assert found.below_cost == ("output",)
    assert proposed((900_000, 1_700_000), *THEIRS).margin_ppm is None
    loss = proposed((900_000, 1_700_000), *THEIRS, input=2_000_000, output=2_000_000)
    assert loss.margin_ppm < 0
    assert loss.below_cost == ("input", "output")


def test_only_the_vendors_that_are_named_count() -> None:
    rule = read_rule("7-12 %", ["b"])
    assert rule == Rule(70_000, 120_000, ("b",))
    found = proposed(None, *THEIRS, rule=rule)
    assert (found.input, found.below) == (1_023_000, "b")
    with pytest.raises(SelvedgeError, match="no prices of 'c'; of a, b"):
        proposed(None, *THEIRS, rule=read_rule("7-12", ["c"]))
    other = propose((Ours("m", 1, 1), Ours("x", 1, 1)), market(*THEIRS), rule, {})
    assert other[1] == ("x",)


def test_what_people_write(tmp_path: Path) -> None:
    assert read_rule("0.5-12.25", ()) == Rule(5_000, 122_500)
    for text in ("12-7", "7", "7-120", "a-b", "", "-7-12"):
        with pytest.raises(SelvedgeError, match=r"--by: .* as 7-12"):
            read_rule(text, ())
    assert read_mix("3:1") == Mix(3, 1)
    assert read_mix("1:0") == Mix(1, 0)
    for text in ("0:0", "3", "a:b", "-1:1"):
        with pytest.raises(SelvedgeError, match=r"--mix: .* as 3:1"):
            read_mix(text)
    assert read_cost("a=b=0.02/$0.05") == ("a=b", Cost(20_000, 50_000))
    for text in ("m", "m=1", "=1/2", "m=1/2/3"):
        with pytest.raises(SelvedgeError, match=r"--cost: .* is not MODEL=IN/OUT"):
            read_cost(text)
    with pytest.raises(SelvedgeError, match=r"--cost m: '\$x' is not an amount"):
        read_cost("m=x/1")
    path = tmp_path / "costs.yaml"
    path.write_text("m: { input: $0.02, output: 50000 }")
    assert read_costs(path) == {"m": Cost(20_000, 50_000)}
    for text in ("", "m: 1", "m: {input: 1}", "m: {input: 1, output: 2.5}", "m: {", "[]"):
        path.write_text(text)
        with pytest.raises(SelvedgeError, match=r"costs\.yaml"):
            read_costs(path)
    path.write_bytes(b"\xff")
    with pytest.raises(SelvedgeError, match="not UTF-8"):
        read_costs(path)
    with pytest.raises(SelvedgeError, match="cannot be read"):
        read_costs(tmp_path / "none")
