"""A month of receipts, seeded: two outages, a slow week, announced maintenance.

Every model is asked 20 times an hour, so that what a report must say can be worked out by hand;
chance decides only how long things take, within bounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from selvedge.fabric import Outcome, Receipt, Tried, Usage
from selvedge.ledger import (
    PPM,
    Contract,
    Credit,
    Maintenance,
    Objective,
    PriceBook,
    PriceRow,
    Sla,
    month_span,
)
from tests.support.shipping import make_receipt

MONTH = "2026-11"
BEGIN_US, END_US = month_span(MONTH)
HOUR_US = 3_600_000_000
PER_HOUR = 20
HOURS = 720

FIRST_OUTAGE = range(154, 156)
"""Hours of the month: the 7th, 10:00 to 12:00; the engines of `small` break."""
SECOND_OUTAGE = range(434, 437)
"""The 19th, 02:00 to 05:00; no room for anybody."""
SLOW_WEEK = range(192, 360)
"""The 9th to the 15th; `large` takes five times as long to begin."""
MAINTENANCE = range(576, 578)
"""The 25th, 00:00 to 02:00, announced on the 20th; everything is refused."""
SLOWER = 5

GOLD = Sla(
    "gold",
    (
        Objective("*", availability_ppm=995_000),
        Objective("large", availability_ppm=995_000, ttft_p95_ms=1_500, itl_p95_ms=60),
    ),
    credits=(Credit(995_000, 100_000), Credit(990_000, 250_000), Credit(950_000, PPM)),
    latency_credit_ppm=50_000,
    credit_ppm_max=500_000,
)
BOOK = PriceBook(
    version=3,
    prices=(PriceRow(model="small", input=20_000, output=80_000),),
    contracts=(Contract(tenant="acme", sla="gold"),),
    slas=(GOLD,),
)
WINDOW = Maintenance(
    since_us=BEGIN_US + MAINTENANCE.start * HOUR_US,
    until_us=BEGIN_US + MAINTENANCE.stop * HOUR_US,
    announced_us=BEGIN_US + 19 * 24 * HOUR_US,
    why="new racks",
)


def tried(outcome: str, tokens: int = 0) -> tuple[Tried, ...]:
    """One attempt that ended so."""
    return (Tried("sin", "SG", "cpu-0", outcome, "", tokens, 1, 2),)  # type: ignore[arg-type]


def receipts_of_month(
    seed: int = 7, models: tuple[str, ...] = ("small", "large")
) -> Iterator[Receipt]:
    """All receipts of the month, in the order in which they came."""
    rng = Random(seed)
    for hour in range(HOURS):
        for model in models:
            for at in range(PER_HOUR):
                number = hour * PER_HOUR + at
                at_us = BEGIN_US + hour * HOUR_US + at * (HOUR_US // PER_HOUR)
                yield _receipt(rng, number, model, at_us + rng.randrange(60_000_000))


def _receipt(rng: Random, number: int, model: str, at_us: int) -> Receipt:
    hour = number // PER_HOUR
    facts: dict[str, object] = {
        "tenant": "acme",
        "zone": "asean",
        "received_us": at_us,
        "ended_us": at_us + 1_000,
        "stream": True,
        "model": model,
        "usage": None,
    }
    if number % 100 == 0:
        facts |= {"outcome": Outcome.REFUSED, "status": 400, "code": "invalid_value"}
    elif hour in MAINTENANCE:
        facts |= {"outcome": Outcome.REFUSED, "status": 503, "code": "shutting_down"}
    elif hour in SECOND_OUTAGE:
        facts |= {"outcome": Outcome.REFUSED, "status": 503, "code": "no_engine_available"}
    elif hour in FIRST_OUTAGE and model == "small":
        facts |= {"outcome": Outcome.FAILED, "status": 502, "code": "engine_failed"}
        facts["attempts"] = tried("failed")
    else:
        slow = SLOWER if hour in SLOW_WEEK and model == "large" else 1
        tokens = rng.randrange(20, 200)
        first_us = at_us + rng.randrange(150_000, 900_000) * slow
        facts |= {
            "outcome": Outcome.COMPLETE,
            "status": 200,
            "attempts": tried("relayed", tokens),
            "first_token_us": first_us,
            "ended_us": first_us + (tokens - 1) * rng.randrange(15_000, 55_000),
            "usage": Usage(input_uncached=30, output=tokens, provenance="reported"),
        }
    return make_receipt(number, **facts)
