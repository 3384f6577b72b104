"""The book as people write it, and as it is sealed and kept."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from selvedge.adapters import (
    PriceStore,
    hash_prices,
    open_prices,
    operator_public_key,
    parse_prices,
    read_prices,
    seal_prices,
    write_atomically,
)
from selvedge.ledger import BadPriceBook, Contract, Neurons, PriceBook, PriceRow, Tier

KEY = bytes(range(32))
PUBLIC = operator_public_key(KEY)
TEXT = """
version: 3
neurons: { micro_dollars_per_1000: $0.011, free_per_day: 10000 }
prices:
  - { model: m, input: $0.05, output: 80_000, batch_discount_ppm: 50%, until: 2026-12-01 }
  - { model: m, input: $0.045, output: $0, since: "2026-12-01", zone: null }
contracts:
  - tenant: acme
    discount_ppm: 7.5 %
    committed_micro_dollars: $5000
    tiers: [{ above_micro_dollars: $100, discount_ppm: 10000 }]
    prices: [{ model: m, input: $1.000001, output: 1, since: 2026-11-01 }]
"""
BOOK = PriceBook(
    version=3,
    neurons=Neurons(11_000, 10_000),
    prices=(
        PriceRow(
            model="m",
            input=50_000,
            output=80_000,
            batch_discount_ppm=500_000,
            until="2026-12-01",
        ),
        PriceRow(model="m", input=45_000, output=0, since="2026-12-01"),
    ),
    contracts=(
        Contract(
            tenant="acme",
            discount_ppm=75_000,
            committed_micro_dollars=5_000_000_000,
            tiers=(Tier(100_000_000, 10_000),),
            prices=(PriceRow(model="m", input=1_000_001, output=1, since="2026-11-01"),),
        ),
    ),
)


def test_what_people_write(tmp_path: Path) -> None:
    assert parse_prices(TEXT) == BOOK
    path = tmp_path / "prices.yaml"
    path.write_text(TEXT)
    assert read_prices(path) == BOOK


ROW = "version: 1\nprices: [{model: m, output: 1, input: %s}]"
WRONG = {
    "": "the file holds no book",
    "[1]": "the file holds no book",
    "version: 1": "missing required field `prices`",
    "version: 1\nversion: 2\nprices: []": "line 2: found duplicate key",
    "version: 1\nprices: []\ncolour: red": "unknown field `colour`",
    "version: 1\nprices: [{model: m, input: 1}]": r"prices\[0\]: .* required field `output`",
    ROW % "0.05": r"prices\[0\]\.input: 0\.05 is not an amount: .* dollars as \$0\.05",
    ROW % "$0.0000001": "at most 6 decimals",
    ROW % "$-1": "is not an amount",
    ROW % "€1": "is not an amount",
    ROW % "50 000": "is not an amount",
    ROW % "true": "True is not an amount",
    ROW % "-3": r"prices\.m\.input: -3 is not from 0",
    ROW % "1, batch_discount_ppm: 0.5": "is not a share",
    ROW % "1, batch_discount_ppm: 101%": "1010000 is not in parts per million",
    ROW % "1, since: 2026-11-01T10:00:00": r"since: is a time of day",
    ROW % "1, since: 2026-13-01": "is not a UTC day|not what its form",
    ROW % "1, currency: EUR": r"prices\[0\]\.currency: a row has none of its own",
    ROW % "1, zone: 7": "Expected `str",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_one_line(text: str) -> None:
    with pytest.raises(BadPriceBook, match=WRONG[text]) as refused:
        parse_prices(text)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadPriceBook, match=r"none\.yaml: cannot be read: No such file"):
        read_prices(tmp_path / "none.yaml")
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"version: \xff")
    with pytest.raises(BadPriceBook, match=r"bad\.yaml: is not UTF-8 at byte 9"):
        read_prices(path)
    path.write_text("version: 0\nprices: []")
    with pytest.raises(BadPriceBook, match=r"bad\.yaml: version: 0 is none"):
        read_prices(path)


def test_a_sealed_book_is_the_operators_or_none() -> None:
    data = seal_prices(BOOK, KEY)
    held = open_prices(data, PUBLIC)
    assert (held.book, held.hash) == (BOOK, hash_prices(BOOK))
    with pytest.raises(BadPriceBook, match="signature: is not the operator's"):
        open_prices(data, operator_public_key(bytes(32)))
    with pytest.raises(BadPriceBook, match="signature"):
        open_prices(data.replace(b'"input":50000', b'"input":50001'), PUBLIC)
    with pytest.raises(BadPriceBook, match="hash: is not the hash of the price book"):
        open_prices(data.replace(held.hash.encode(), b"sha256:" + b"0" * 64), PUBLIC)
    with pytest.raises(BadPriceBook, match="not a form this version reads"):
        open_prices(data.replace(b'"v":1', b'"v":2'), PUBLIC)
    for nonsense in (b"", b"{}", b"\xff", b"[]"):
        with pytest.raises(BadPriceBook, match="no signed book"):
            open_prices(nonsense, PUBLIC)


def test_versions_only_grow_and_all_are_kept(tmp_path: Path) -> None:
    store = PriceStore(tmp_path / "prices", PUBLIC)
    assert store.newest() is None
    first = store.keep(BOOK, KEY)
    assert store.keep(BOOK, KEY) == first == store.newest()
    changed = msgspec.structs.replace(BOOK, neurons=Neurons(12_000))
    with pytest.raises(BadPriceBook, match=r"3 is published, with other prices; .* 4 or more"):
        store.keep(changed, KEY)
    with pytest.raises(BadPriceBook, match="2 is older"):
        store.keep(msgspec.structs.replace(BOOK, version=2), KEY)
    newer = store.keep(msgspec.structs.replace(changed, version=12), KEY)
    assert (store.newest(), store.versions()) == (newer, [3, 12])
    assert store.version(3) == first
    with pytest.raises(BadPriceBook, match=r"version: 4 is not kept here .*; there is 3, 12"):
        store.version(4)
    other = PriceStore(tmp_path / "prices", PUBLIC)
    assert other.newest() == newer


def test_a_file_that_was_changed_is_seen(tmp_path: Path) -> None:
    store = PriceStore(tmp_path, PUBLIC)
    store.keep(BOOK, KEY)
    assert store.newest() is not None
    path = tmp_path / "000003.json"
    write_atomically(path, path.read_bytes().replace(b"50000", b"50001"))
    with pytest.raises(BadPriceBook, match=r"000003\.json: signature"):
        store.newest()
    write_atomically(path, seal_prices(msgspec.structs.replace(BOOK, version=4), KEY))
    with pytest.raises(BadPriceBook, match="holds version 4"):
        store.newest()


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates()
)
WORDS = (
    "version prices model input output neurons contracts tenant tiers slas zone since until "
    "discount_ppm currency unit objectives credits x"
)
NAMES = st.sampled_from(WORDS.split(" ")) | st.integers()


@given(
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
        max_leaves=12,
    )
)
def test_whatever_is_written_is_a_book_or_one_line(found: Any) -> None:  # Any: YAML
    told = io.StringIO()
    YAML(typ="safe", pure=True).dump(found, told)
    assert "\n" not in words_of(told.getvalue())


def words_of(text: str) -> str:
    """What is said against a text; nothing of a book."""
    try:
        parse_prices(text)
    except BadPriceBook as error:
        return str(error)
    return ""
