"""The torture of residency: it is met, it goes on where it stopped, and its witness sees."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bench import torture_residency
from bench.torture_residency import read_batches, run_batch, run_residency
from bench.torture_world import Drawn, base
from selvedge.fabric import HANDLINGS, Engine, Release
from selvedge.sim import Law

FEW = 1_000


@pytest.fixture(scope="module")
def fleet() -> Release:
    return base()


def test_nothing_crosses_and_a_seed_is_a_run(fleet: Release) -> None:
    batch = run_batch(fleet, 3, FEW, "code")
    assert (batch.broken, batch.out_of_zone, batch.requests) == (None, 0, FEW)
    assert batch.forwarded > 100
    assert batch.moved_on > 10
    assert batch.abroad > 10, "providers are sites of it"
    assert {"residency_ingress", "residency_handling"} <= set(batch.codes)
    again = run_batch(fleet, 3, FEW, "code")
    assert msgspec.structs.replace(again, cpu_s=0.0) == msgspec.structs.replace(batch, cpu_s=0.0)


def stricter(drawn: Drawn, what: str) -> Law:
    """A law that forbids a little more than the release that is served."""
    release = drawn.release
    if what == "zone":
        zones = tuple(
            msgspec.structs.replace(one, countries=one.countries[1:]) for one in release.zones
        )
        return Law(msgspec.structs.replace(release, zones=zones), drawn.policies.permits)
    if what == "policy":
        permits = {
            key: tuple((from_us, frozenset(sorted(pops)[::2])) for from_us, pops in rows)
            for key, rows in drawn.policies.permits.items()
        }
        return Law(release, permits)

    def honouring(one: Engine) -> Engine:
        return msgspec.structs.replace(one, honours=HANDLINGS[:0])

    pops = tuple(
        msgspec.structs.replace(pop, engines=tuple(honouring(one) for one in pop.engines))
        for pop in release.pops
    )
    return Law(msgspec.structs.replace(release, pops=pops), drawn.policies.permits)


@pytest.mark.parametrize("what", ["zone", "policy", "handling"])
def test_the_witness_sees_what_is_outside(
    what: str, fleet: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where what is served allows more than the law, it counts."""
    monkeypatch.setattr(Drawn, "law", lambda drawn: stricter(drawn, what))
    batch = run_batch(fleet, 3, FEW, "code")
    assert batch.broken is not None
    assert "outside their zone" in batch.broken
    assert {"zone": "there", "policy": "there", "handling": "honoured"}[what] in batch.broken


def test_what_was_run_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(file=io.StringIO())
    file = tmp_path / "batches.jsonl"
    figures, met = run_residency(2 * FEW, 3, console, file, FEW)
    assert met
    assert (figures["requests"], figures["batches"]) == (2 * FEW, 2)
    ran: list[int] = []
    real = run_batch

    def noting(fleet: Release, seed: int, requests: int, code: str) -> torture_residency.Batch:
        ran.append(seed)
        return real(fleet, seed, requests, code)

    monkeypatch.setattr(torture_residency, "run_batch", noting)
    with file.open("ab") as cut:
        cut.write(b'{"seed":')
    figures, met = run_residency(3 * FEW, 3, console, file, FEW)
    assert met
    assert figures["requests"] == 3 * FEW
    assert ran == [5]
    assert len(read_batches(file)) == 2  # The third went behind the line that was cut off.
