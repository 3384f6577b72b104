"""Small scenes: the example fleet with round numbers, one request at a time.

Engines prefill 1000 tokens/s and decode 100 tokens/s, so that `arrival()`, alone, has its first
token after 100 ms and its eleventh and last after 200 ms, plus links.
"""

from __future__ import annotations

from typing import Any

import msgspec

from selvedge.fabric import Receipt
from selvedge.sim import (
    Arrival,
    EngineModel,
    Outage,
    Report,
    Scenario,
    Work,
    chat_body,
    example_release,
    simulate,
)
from selvedge.sim.fleet import ENGINE, MODEL
from selvedge.sim.links import Links

ROUND = EngineModel(
    slots=2,
    in_flight_max=3,
    prefill_tokens_per_s=1000,
    decode_tokens_per_s=100,
    decode_batched_tokens_per_s=150,
)
RELEASE = example_release()


def rtt_us(a: str, b: str) -> int:
    """The round trip that the release assumes; nothing is drawn without jitter."""
    return Links(RELEASE, 0, None).rtt_us(a, b)  # type: ignore[arg-type]


def arrival(key: str = "free", ingress: str = "sin", **changes: Any) -> Arrival:  # Any: fields
    """A stream of 100 prompt tokens and 11 answer tokens, at 1 s."""
    stream = changes.pop("stream", True)
    asked = Arrival(1_000_000, ingress, key, chat_body(MODEL, 100, stream), Work(100, 11))
    return msgspec.structs.replace(asked, **changes)


def down(pop: str, from_us: int = 0, until_us: int = 10**9) -> Outage:
    """An engine of the example fleet is down."""
    return Outage(pop, ENGINE, from_us, until_us)


def play(*arrivals: Arrival, **changes: Any) -> Report:  # Any: fields of Scenario
    """Run scripted arrivals on the example fleet with round engines."""
    engines = {f"{pop}/{ENGINE}": ROUND for pop in ("sin", "fra")}
    scenario = Scenario(scripted=arrivals, engines=engines)
    return simulate(RELEASE, msgspec.structs.replace(scenario, **changes), 1)


def only(report: Report) -> Receipt:
    """The one receipt of a run."""
    (found,) = [one for receipts in report.receipts.values() for one in receipts]
    return found


def receipt(name: str, tenant: str = "t") -> Receipt:
    """A draft that says nothing much."""
    return Receipt(
        id=name,
        request_id=name,
        tenant=tenant,
        project="default",
        key="k",
        data_class="default",
        route="/v1/chat/completions",
        ingress_pop="sin",
        ingress_country="SG",
        rule="t/default",
        zone="z",
        release=1,
        release_hash="0",
        received_us=0,
        transit=False,
    )
