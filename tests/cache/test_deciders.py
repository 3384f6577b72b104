"""Which decider a rule asks for, and what each promises alike."""

from __future__ import annotations

from time import process_time

import msgspec
import pytest

from selvedge.cache import Decider, Pair, decider_of
from selvedge.cache.bounded import Bounded
from selvedge.cache.static import Static
from selvedge.cache.verified import Verified
from selvedge.fabric import CacheRule

PAIR = Pair(similarity=0.93, rival=0.8, near=1, overlap=0.5, length=8, agree=3)


def made(mode: str, kept: bytes | None = None) -> Decider:
    return decider_of(msgspec.convert({"semantic": mode}, CacheRule), kept, None)


@pytest.mark.parametrize(
    ("mode", "kind"), [("static", Static), ("verified", Verified), ("bounded", Bounded)]
)
def test_each_mode_has_its_decider_and_is_kept(mode: str, kind: type) -> None:
    decider = made(mode)
    assert isinstance(decider, kind)
    for _ in range(400):
        decider.decide(PAIR, "e", "c", 0.5)
        decider.learn(PAIR, "e", "c", correct=True)
    again = made(mode, decider.dump())
    assert again.decide(PAIR, "e", "c", 0.5) == decider.decide(PAIR, "e", "c", 0.5)
    assert again.dump() == decider.dump()


@pytest.mark.parametrize("mode", ["verified", "bounded"])
def test_what_is_no_dump_is_refused(mode: str) -> None:
    for kept in (b"\xc1", b"\x90", msgspec.msgpack.encode({"a": 1})):
        with pytest.raises((ValueError, msgspec.MsgspecError)):
            made(mode, kept)


def test_static_serves_from_its_threshold_on() -> None:
    decider = made("static")
    assert decider.decide(Pair(similarity=0.95), "e", "c", 0.5).serve
    verdict = decider.decide(Pair(similarity=0.949), "e", "c", 0.5)
    assert not verdict.serve
    assert verdict.why == "similarity 0.949 < threshold 0.950"
    assert decider.inserts(correct=True)
    assert decider.decide(Pair(similarity=-0.2), "e", "c", 0.5).bound == 0.0


@pytest.mark.parametrize("mode", ["static", "verified", "bounded"])
def test_deciding_is_cheap(mode: str) -> None:
    """50 us are allowed; a slow machine gets some more here."""
    decider = made(mode)
    for number in range(300):
        decider.learn(PAIR, "e", "c", correct=number % 7 != 0)
    began = process_time()
    for _ in range(1000):
        decider.decide(PAIR, "e", "c", 0.5)
    assert (process_time() - began) / 1000 < 200e-6
