"""Receipts, price books and contracts for tests of money: made by hand, or at random by a seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import msgspec

from selvedge.adapters import PARTITIONS, connect, quoted
from selvedge.fabric import Outcome, Receipt, Tried, Usage
from selvedge.ledger import (
    Contract,
    MonthlyUsage,
    Neurons,
    Objective,
    PriceBook,
    PriceRow,
    Sealed,
    Sla,
    Tier,
    UsageRow,
    row_of_receipt,
    us_of_day,
)
from tests.support.shipping import make_receipt

TENANT = "acme"
MONTH = "2026-11"
MODELS = ("large", "small", "tiny")
ZONES = ("eea", "uk")


def sold(number: int, day: str = "2026-11-10", **facts: object) -> Receipt:
    """A receipt that bills a thousand prompt tokens and a hundred of an answer."""
    given: dict[str, object] = {
        "tenant": TENANT,
        "project": "web",
        "model": "small",
        "zone": "eea",
        "worker": 0,
        "seq": number,
        "outcome": Outcome.COMPLETE,
        "status": 200,
        "received_us": us_of_day(day) + 3_600_000_000 + number,
        "usage": Usage(input_uncached=1_000, output=100, provenance="reported"),
    }
    return make_receipt(number, **given | facts)


def row(model: str = "small", **facts: object) -> PriceRow:
    """A list price with a fraction of a micro-dollar in it."""
    given: dict[str, object] = {
        "input": 150_001,
        "output": 600_007,
        "neurons_input": 13_637,
        "neurons_output": 54_546,
    }
    return msgspec.convert({"model": model} | given | facts, PriceRow)


def book(
    *rows: PriceRow, contract: Contract | None = None, free: int = 10_000, version: int = 1
) -> PriceBook:
    """A price book of these rows, or of one for each model."""
    return PriceBook(
        version=version,
        prices=rows or tuple(row(model) for model in MODELS),
        neurons=Neurons(11_000, free),
        contracts=() if contract is None else (contract,),
        slas=(Sla("gold", (Objective(availability_ppm=999_000),)),),
    )


def random_receipts(rng: Random, count: int, days: Sequence[str]) -> list[Receipt]:
    """Receipts of three streams that end in every way there is."""
    tokens = Tried("sin", "SG", "e", "gone", "", 3, 1, 2)
    ends: tuple[dict[str, object], ...] = (
        {},
        {},
        {"purpose": "batch"},
        {"purpose": "judge"},
        {"cache": "hit"},
        {"outcome": Outcome.CLIENT_GONE, "attempts": (tokens,), "stream": True},
        {"outcome": Outcome.REFUSED, "code": "rate_limit_exceeded", "usage": None},
        {"outcome": Outcome.COMPLETE, "usage": None},
        {"outcome": Outcome.INTERRUPTED},
        {"repeats": "rcpt_1"},
    )
    seqs: dict[tuple[str, int], int] = {}
    found = []
    for number in range(count):
        pop, worker = rng.choice((("sin", 0), ("sin", 1), ("lhr", 0)))
        seqs[pop, worker] = seqs.get((pop, worker), 0) + rng.choice((1, 1, 1, 2, 60))
        usage = Usage(
            input_uncached=rng.randrange(5_000),
            cache_read=rng.choice((0, rng.randrange(900))),
            cache_write=rng.choice((0, rng.randrange(90))),
            output=rng.randrange(800),
            reasoning=rng.choice((0, rng.randrange(99))),
            provenance="reported",
        )
        facts: dict[str, object] = {
            "ingress_pop": pop,
            "worker": worker,
            "seq": seqs[pop, worker],
            "model": rng.choice(MODELS),
            "zone": rng.choice(ZONES),
            "project": rng.choice(("web", "app")),
            "usage": usage,
        }
        found.append(sold(number, rng.choice(days), **facts | rng.choice(ends)))
    return found


def random_book(rng: Random) -> PriceBook:
    """Prices that change in mid-month, zones with rows of their own, and any contract."""

    def some(model: str, **facts: object) -> PriceRow:
        given: dict[str, object] = {
            "input": rng.randrange(2_000_000),
            "output": rng.randrange(2_000_000),
            "cached": rng.choice((None, rng.randrange(100_000))),
            "cache_write": rng.choice((None, rng.randrange(900_000))),
            "request": rng.choice((0, rng.randrange(50))),
            "cache_hit": rng.choice((0, rng.randrange(50))),
            "batch_discount_ppm": rng.choice((0, 500_000, rng.randrange(1_000_000))),
            "neurons_input": rng.randrange(90_000),
            "neurons_output": rng.randrange(90_000),
        }
        return row(model, **given | facts)

    def rows() -> list[PriceRow]:
        found = []
        for model in MODELS:
            change = f"2026-11-{rng.randrange(2, 30):02d}"
            found += [some(model, until=change), some(model, since=change)]
            if rng.random() < 0.4:
                found.append(some(model, zone=rng.choice(ZONES)))
        return found

    contract = None
    if rng.random() < 0.8:
        contract = Contract(
            tenant=TENANT,
            unit=rng.choice(("tokens", "neurons")),
            discount_ppm=rng.choice((0, rng.randrange(300_000))),
            prices=tuple(rows()) if rng.random() < 0.4 else (),
            tiers=rng.choice(((), (Tier(1_000, 50_000), Tier(20_000, 333_333)))),
            committed_micro_dollars=rng.choice((0, rng.randrange(300_000))),
            minimum_micro_dollars=rng.choice((0, rng.randrange(300_000))),
            sla="gold",
            sla_fee_micro_dollars=rng.choice((0, 5_000)),
        )
    return book(*rows(), contract=contract, free=rng.choice((0, 10, 1_000)))


def fold_plainly(receipts: Sequence[Receipt]) -> MonthlyUsage:
    """The fold, receipt by receipt."""
    found = MonthlyUsage()
    for one in receipts:
        found.add_receipt(one)
    return found


def row_of(receipt: Receipt) -> UsageRow:
    """A receipt as a row of usage."""
    sealed = Sealed(msgspec.Raw(msgspec.json.encode(receipt)), "")
    return row_of_receipt(sealed, receipt)


def write_part(directory: Path, number: int, rows: Sequence[UsageRow]) -> None:
    """Rows as a part of each zone and day, in the columns of a collector's."""
    for zone, day in sorted({(one.zone, one.day) for one in rows}):
        place = directory / PARTITIONS / f"zone={zone}" / f"day={day}"
        place.mkdir(parents=True, exist_ok=True)
        lines = directory / ".rows.json"  # DuckDB would take the day from a path that names one
        chosen = [one for one in rows if (one.zone, one.day) == (zone, day)]
        lines.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in chosen))
        path = place / f"part-{number:08d}.parquet"
        with connect() as database:
            types = {int: "BIGINT", int | None: "BIGINT", bool: "BOOLEAN"}
            columns = ", ".join(
                f"{one.name}: '{types.get(one.type, 'VARCHAR')}'"
                for one in msgspec.structs.fields(UsageRow)
            )
            source = f"read_json({quoted(lines)}, format='nd', columns={{{columns}}})"
            database.execute(f"COPY (SELECT * FROM {source}) TO {quoted(path)} (FORMAT parquet)")
        lines.unlink()
