"""Traffic of any making, through the exchange: receipts come numbered, one a request, and none is
kept."""

from __future__ import annotations

import msgspec

from selvedge.fabric import Ask, Receipt, Route
from selvedge.sim import Arrival, Report, Scenario, Work, example_release, play

MODEL = "smollm2-135m-instruct"
COUNT = 200
POPS = {"asean": "sin", "free": "cgk", "nobody": "fra"}


def traffic(count: int) -> list[Arrival]:
    """Asks whose bodies nobody reads, of three keys in turn; one is unknown."""
    keys = list(POPS)
    return [
        Arrival(
            at_us=number * 2_000_000,
            ingress=POPS[keys[number % 3]],
            key=keys[number % 3],
            body=b"",
            work=Work(20, 5),
            ask=Ask(Route.CHAT, MODEL, prompt_bytes=80),
        )
        for number in range(count)
    ]


def played(seed: int = 1) -> tuple[Report, list[Receipt]]:
    found: list[Receipt] = []
    scenario = Scenario(keeps=False, sealed_every=10)
    report = play(example_release(), scenario, seed, iter(traffic(COUNT)), found.append)
    return report, found


def test_every_authenticated_request_has_its_receipt() -> None:
    report, found = played()
    assert report.figures.arrived == COUNT
    assert len(found) == COUNT - report.figures.unauthenticated
    assert len({receipt.id for receipt in found}) == len(found)
    assert {receipt.tenant for receipt in found} == {"asean", "free"}
    assert not any(report.receipts.values())


def test_numbers_of_a_stream_have_no_gaps() -> None:
    _, found = played()
    for pop, tenant in {(one.ingress_pop, one.tenant) for one in found}:
        theirs = [one for one in found if (one.ingress_pop, one.tenant) == (pop, tenant)]
        assert [one.seq for one in theirs] == list(range(1, len(theirs) + 1))


def test_the_same_seed_gives_the_same_receipts() -> None:
    assert msgspec.json.encode(played()[1]) == msgspec.json.encode(played()[1])
