"""A release that is sold, at the sockets: what has a price is served, the rest is an alarm."""

from __future__ import annotations

from pathlib import Path

import msgspec

from selvedge.fabric import Release
from selvedge.ledger import PriceBook, PriceList, PriceRow, sell
from tests.support import Answer, Script, run
from tests.support.fleets import bearer
from tests.support.pops import rig
from tests.support.wires import chat, error_of

DAY = "2026-11-22"
BOOK = PriceList(
    PriceBook(
        version=1,
        prices=(
            PriceRow(model="chat", input=100, output=200),
            PriceRow(model="embed", input=10, output=0),
        ),
    )
)


def amend(pop: str, release: Release) -> Release:
    """All are sold; at Jakarta the price of chat has come to its end."""
    sold = sell(release, BOOK, "sha256:" + "ab" * 32, DAY)
    if pop != "cgk":
        return sold
    models = tuple(
        msgspec.structs.replace(model, price=msgspec.structs.replace(model.price, until_us=1))
        if model.price is not None and model.id == "chat"
        else model
        for model in sold.models
    )
    return msgspec.structs.replace(sold, models=models)


def test_a_model_whose_price_has_ended_is_refused_and_counted(tmp_path: Path) -> None:
    async def main() -> None:
        engine = Script(Answer(("from", " Singapore")))
        async with rig(tmp_path, sin=engine, amend=amend) as fabric:
            async with fabric.wire("cgk") as wire:
                refused = await wire.ask(bearer("asean"), chat())
                shown = await wire.get("/metrics")
            assert refused.status == 503
            assert error_of(refused.body)["code"] == "model_unpriced"
            assert refused.headers["x-should-retry"] == "false"
            assert b"\nselvedge_requests_unpriced_total 1.0\n" in shown.body
            (receipt,) = fabric.pop("cgk").receipts()
            assert (receipt.code, receipt.attempts) == ("model_unpriced", ())
            async with fabric.wire("sin") as wire:
                served = await wire.ask(bearer("asean"), chat())
                shown = await wire.get("/metrics")
            assert served.status == 200
            assert b"\nselvedge_requests_unpriced_total 0.0\n" in shown.body

    run(main())
