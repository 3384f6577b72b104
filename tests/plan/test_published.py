"""The dated table, and price maps that go before it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from selvedge.adapters import DataMissing, find_data
from selvedge.fabric import SelvedgeError
from selvedge.plan import Market, read_market, read_price_map

VENDORS = {"bedrock", "vertex", "together", "fireworks", "groq", "cloudflare"}
GROQ = "groq/llama-3.1-8b-instant"


@pytest.fixture(scope="module")
def market() -> Market:
    return read_market()


def test_every_figure_has_its_source_and_its_date(market: Market) -> None:
    assert set(market.vendors) == VENDORS == {row.vendor for row in market.rows}
    assert "check before use" in market.caution
    for vendor in market.vendors.values():
        assert vendor.name
        assert vendor.page
        assert vendor.url.startswith("https://")
    for row in market.rows:
        assert re.fullmatch(r"20[0-9]{2}-(0[1-9]|1[0-2])", row.as_of)
        assert row.as_of <= market.compiled[:7]
        assert 0 < row.input <= 20_000_000
        assert 0 <= row.output <= 20_000_000
        assert row.cached is None or row.cached < row.input
    assert len({row.map for row in market.rows}) == len(market.rows)


def test_other_names_lead_to_rows_and_nothing_is_guessed(market: Market) -> None:
    named = {row.model for row in market.rows}
    assert set(market.aliases.values()) <= named
    assert not set(market.aliases) & named
    assert market.of("meta-llama/Llama-3.1-8B-Instruct") == market.of("llama-3.1-8b-instruct")
    assert {row.vendor for row in market.of("llama-3.1-8b")} >= {"bedrock", "groq", "cloudflare"}
    assert market.of("llama-3.1-8b-instruct-mine") == ()
    assert market.of("Llama-3.1-8B") == ()


def test_cloudflares_neurons_are_its_prices(market: Market) -> None:
    """Neurons at $0.011 a thousand come to the price in dollars, to its third digit."""
    checked = 0
    for row in market.rows:
        counts = re.search(r"([0-9]+)(?: and ([0-9]+))? neurons", row.note)
        if row.vendor != "cloudflare" or counts is None:
            continue
        for count, price in zip(counts.groups(), (row.input, row.output), strict=True):
            if count is not None:
                assert abs(int(count) * 11 - price) <= 1_000
                checked += 1
    assert checked >= 16


def written(tmp_path: Path, entries: dict[str, object]) -> Path:
    path = tmp_path / "map.json"
    path.write_text(json.dumps(entries))
    return path


def test_a_map_goes_before_the_table(tmp_path: Path, market: Market) -> None:
    entries: dict[str, object] = {
        "sample_spec": {"input_cost_per_token": "a number", "mode": "one of: chat, …"},
        GROQ: {
            "input_cost_per_token": 4.5e-08,
            "output_cost_per_token": 7.25e-8,
            "cache_read_input_token_cost": 0.00000001,
            "litellm_provider": "groq",
            "mode": "chat",
        },
        "x/mine": {"input_cost_per_token": 1e-06, "litellm_provider": "x", "mode": "chat"},
        "x/free": {"input_cost_per_token": 0.0, "litellm_provider": "x", "mode": "chat"},
        "x/picture": {"input_cost_per_token": 1e-6, "mode": "image_generation"},
    }
    path = written(tmp_path, entries)
    found = read_price_map(path, market, {"ours": "x/mine"})
    (groq,) = [row for row in found.rows if row.map == GROQ]
    assert (groq.input, groq.output, groq.cached) == (45_000, 72_500, 10_000)
    assert (groq.basis, groq.as_of, groq.vendor) == ("map", "map.json", "groq")
    assert found.source(groq) == "map.json"
    (mine,) = found.of("ours")
    assert (mine.vendor, mine.input, mine.output, mine.name) == ("x", 1_000_000, 0, "x/mine")
    assert len(found.rows) == len(market.rows) + 1
    for key in ("x/free", "x/picture", "nowhere"):
        with pytest.raises(SelvedgeError, match=f"no price of '{key}'"):
            read_price_map(path, market, {"ours": key})


def test_what_is_no_map_is_named(tmp_path: Path, market: Market) -> None:
    with pytest.raises(SelvedgeError, match=r"none\.json cannot be read"):
        read_price_map(tmp_path / "none.json", market, {})
    for text in (b"", b"[]", b"\xff", b'{"a": '):
        (tmp_path / "bad.json").write_bytes(text)
        with pytest.raises(SelvedgeError, match=r"bad\.json is no price map"):
            read_price_map(tmp_path / "bad.json", market, {})


def test_the_public_price_map_is_read(market: Market) -> None:
    try:
        path = find_data() / "prices" / "litellm_filtered_model_prices.json"
    except DataMissing as missing:
        pytest.skip(str(missing))
    if not path.is_file():
        pytest.skip("no price map on this machine")
    found = read_price_map(path, market, {"deepseek-v4": "deepseek-v4-flash"})
    (row,) = found.of("deepseek-v4")
    assert (row.vendor, row.input, row.output, row.cached) == ("deepseek", 140_000, 280_000, 2_800)
    with pytest.raises(SelvedgeError, match="no price of 'deepseek-v3-2-251201'"):
        read_price_map(path, market, {"ours": "deepseek-v3-2-251201"})  # zero there: a gap
