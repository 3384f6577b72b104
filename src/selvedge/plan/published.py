"""List prices that others publish for open-weight models: a small dated table, and price maps.

The table ships with the package (`list_prices.toml`); each figure has its vendor's page and a date,
and all of them are to be checked before use. A price map is a file that the operator loads, in the
form of LiteLLM's: its figures go before the table's. Which name of a vendor means which model is
written down, row by row; nothing is guessed from names that look alike.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from importlib import resources
from pathlib import Path
from typing import Final, Literal

import msgspec

from selvedge.fabric import SelvedgeError

Basis = Literal["page", "second-hand", "map"]
MAP_BYTES_MAX: Final = 64 * 1024 * 1024
_PER_TOKEN: Final = 10**12
"""Dollars per token -> micro-dollars per million tokens."""
_MODES: Final = frozenset({"chat", "completion", "responses", "embedding"})


class Vendor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who publishes prices, and where."""

    name: str
    page: str
    url: str


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One list price: micro-dollars per million tokens."""

    vendor: str
    model: str
    """Our name of the weights: the table's, or the operator's."""
    name: str
    """The vendor's own name of them."""
    input: int
    output: int
    cached: int | None = None
    as_of: str
    """The month, or the file, that the figure is of."""
    basis: Basis
    """``page``: read on the vendor's page; ``second-hand``: told by others; ``map``: loaded."""
    map: str | None = None
    """Its key in price maps."""
    note: str = ""


class Market(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All published prices that are known, with the other names of each model."""

    compiled: str
    caution: str
    vendors: dict[str, Vendor]
    aliases: dict[str, str]
    """Another name of a model -> its name in the rows."""
    rows: tuple[Published, ...]

    def named(self, model: str) -> str:
        """The model of the rows that a name means: itself, or what the table says it is."""
        return self.aliases.get(model, model)

    def of(self, model: str) -> tuple[Published, ...]:
        """What is published for a model, by vendor."""
        known = self.named(model)
        found = [row for row in self.rows if row.model == known]
        return tuple(sorted(found, key=lambda row: (row.vendor, row.name)))

    def source(self, row: Published) -> str:
        """Where a figure is from: the vendor's page, or the file."""
        vendor = self.vendors.get(row.vendor)
        return row.as_of if row.basis == "map" or vendor is None else vendor.url


def read_market() -> Market:
    """The table of the package."""
    text = resources.files("selvedge.plan").joinpath("list_prices.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), Market)


class _Entry(msgspec.Struct, frozen=True):
    """What is read of one entry of a price map; the rest of it is passed over."""

    input_cost_per_token: Decimal | None = None
    output_cost_per_token: Decimal | None = None
    cache_read_input_token_cost: Decimal | None = None
    litellm_provider: str = "unknown"
    mode: str = "chat"


def read_price_map(path: Path, market: Market, means: Mapping[str, str]) -> Market:
    """The market with a price map's figures before the table's.

    A key of the map stands for a model where a row of the table names the key, or where ``means``
    (our model -> key) does. Raises `SelvedgeError` where the file, or a key that ``means`` names,
    is none.
    """
    entries = _entries(path)
    known = {row.map: row for row in market.rows if row.map is not None}
    rows = [row for key, row in known.items() if key not in entries]
    rows += [row for row in market.rows if row.map is None]
    for key, row in known.items():
        if key in entries:
            rows.append(_published(key, entries[key], row.model, path, row.vendor))
    for model, key in means.items():
        if key in entries:
            rows.append(_published(key, entries[key], market.named(model), path, None))
        elif not any(key in (row.model, row.map) for row in market.rows):
            raise SelvedgeError(f"{path} has no price of {key!r}; name a key of it as it is there")
    return msgspec.structs.replace(market, rows=tuple(dict.fromkeys(rows)))


def _entries(path: Path) -> dict[str, _Entry]:
    """The entries that have a price. One of zero is a gap in the map, not a present."""
    try:
        if path.stat().st_size > MAP_BYTES_MAX:
            raise SelvedgeError(f"{path} exceeds {MAP_BYTES_MAX} bytes; load a part of it")
        raw = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
    except OSError as error:
        raise SelvedgeError(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SelvedgeError(f"{path} is no price map: {error}") from error
    found: dict[str, _Entry] = {}
    for key, text in raw.items():
        try:
            entry = msgspec.json.decode(text, type=_Entry)
        except msgspec.MsgspecError:
            continue  # another form of entry, as the map's own sample
        if entry.mode in _MODES and entry.input_cost_per_token:
            found[key] = entry
    return found


def _published(key: str, entry: _Entry, model: str, path: Path, vendor: str | None) -> Published:
    return Published(
        vendor=vendor or entry.litellm_provider,
        model=model,
        name=key,
        input=_micro_dollars(entry.input_cost_per_token) or 0,
        output=_micro_dollars(entry.output_cost_per_token) or 0,
        cached=_micro_dollars(entry.cache_read_input_token_cost),
        as_of=path.name,
        basis="map",
        map=key,
    )


def _micro_dollars(per_token: Decimal | None) -> int | None:
    """Exact from the digits that were written, then rounded once, half up."""
    if per_token is None:
        return None
    exact = Fraction(per_token) * _PER_TOKEN
    return int(exact + Fraction(1, 2))
