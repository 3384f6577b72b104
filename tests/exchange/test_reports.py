"""What PoPs tell each other: sealed by the pair, by the asker's clock, within zones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from selvedge.exchange import FleetView, reports
from selvedge.fabric import BadTicket, DataClass, PoP, Release, Tenant
from selvedge.routing import Board, Delta, Held, Publications, Report
from selvedge.wire import seal
from tests.support.boards import model_report
from tests.support.fleets import make_pop, make_release, make_view

NONCE = bytes(range(16))
NOW_US = 1_000_000_000
REPORT = Report("sin", NOW_US - 200_000, 0.5, {"chat": model_report(waiting_tokens=7)})
SIN, CGK, FRA = make_view("sin"), make_view("cgk"), make_view("fra")


def publications(**zones: tuple[int, ...]) -> Publications:
    made, book = Publications("sin", 1, 5), Held()
    for zone, blocks in zones.items():
        made.hold("chat", zone, book.hold(zone, blocks, NOW_US))
    made.turn("chat", [book], NOW_US)
    return made


def exchange(asker: FleetView, published: Publications | None = None) -> reports.Told:
    """One question to Singapore and its answer."""
    asked = reports.ask(asker, "sin", NONCE, {})
    question = reports.read_question(asked, SIN, asker.here.id)
    answer = reports.tell(question, SIN, REPORT, published, NOW_US)
    return reports.read_answer(answer, asker, "sin", NONCE)


def sealed(message: msgspec.Struct, domain: bytes, view: FleetView, pair: str) -> bytes:
    """A message as a peer that holds the pair's key could make it."""
    return seal(domain, msgspec.msgpack.encode(message), view.pair_keys[pair])


def test_a_question_and_its_answer() -> None:
    told = exchange(CGK, publications(asean=(1, 2), eea=(3,), world=(4,)))
    assert (told.age_us, told.reserve, told.models) == (200_000, 0.5, REPORT.models)
    assert {delta.zone for delta in told.deltas} == {"asean", "world"}
    told = exchange(FRA, publications(asean=(1, 2), eea=(3,), world=(4,)))
    assert {delta.zone for delta in told.deltas} == {"eea", "world"}
    assert exchange(CGK).deltas == []


def test_digests_may_be_left_out() -> None:
    question = reports.read_question(reports.ask(CGK, "sin", NONCE, None), SIN, None)
    answer = reports.tell(question, SIN, REPORT, publications(world=(1,)), NOW_US)
    assert reports.read_answer(answer, CGK, "sin", NONCE).deltas == []


def test_moments_are_by_the_askers_clock() -> None:
    """However wrong the other's clock is: half the round trip and the age count back from here."""
    for skew_us in (-(10**12), 0, 10**12):
        report = Report("sin", NOW_US + skew_us - 200_000, 1.0, {})
        question = reports.read_question(reports.ask(CGK, "sin", NONCE, {}), SIN, "cgk")
        written = reports.tell(question, SIN, report, None, NOW_US + skew_us)
        board = Board(frozenset({"world"}))
        told = reports.read_answer(written, CGK, "sin", NONCE)
        reports.take(told, CGK, board, len(written), (5_000_000, 5_100_000))
        kept = board.report("sin", 5_100_000)
        assert kept is not None
        assert kept.at_us == 5_100_000 - 50_000 - 200_000


def test_a_clock_set_back_between_question_and_answer() -> None:
    board = Board(frozenset({"world"}))
    told = exchange(CGK)
    reports.take(told, CGK, board, 100, (9_000_000, 9_000_000))
    reports.take(told, CGK, board, 100, (9_500_000, 2_000_000))
    kept = board.report("sin", 2_000_000)
    assert kept is not None
    assert kept.at_us == 1_800_000, "the one from what is now the future has gone"


def test_models_that_it_does_not_serve_are_left_out() -> None:
    strange = {"chat": model_report(), "strange": model_report()}
    told = msgspec.structs.replace(exchange(CGK), models=strange)
    stray = Delta("sin", "world", "strange", 1, 0, 4096, b"")
    told = msgspec.structs.replace(told, deltas=[stray])
    board = Board(frozenset({"world"}))
    reports.take(told, CGK, board, 100, (1, 2))
    kept = board.report("sin", 2)
    assert kept is not None
    assert set(kept.models) == {"chat"}
    assert board.known("sin") == {}


def question(**changes: Any) -> reports.Question:  # Any: fields
    fields: dict[str, Any] = {"asker": "cgk", "asked": "sin", "nonce": NONCE, "known": {}}
    return reports.Question(**fields | changes)


@pytest.mark.parametrize(
    ("written", "certificate_of", "words"),
    [
        (b"", None, "not readable"),
        (b"\0" * 100_000, None, "exceeds"),
        (b"\0" * 32 + b"\xc1", None, "not readable"),
        (sealed(question(nonce=b"short"), reports._ASKS, CGK, "sin"), None, "not readable"),
        (sealed(question(known={"m": {"z": (1, "x")}}), reports._ASKS, CGK, "sin"), None, "not r"),
        (sealed(question(), reports._ASKS, CGK, "sin"), "fra", "certificate"),
        (sealed(question(), reports._ASKS, CGK, "sin"), "", "certificate"),
        (sealed(question(asker="nobody"), reports._ASKS, CGK, "sin"), None, "no PoP"),
        (sealed(question(asker="sin"), reports._ASKS, CGK, "sin"), None, "no PoP"),
        (sealed(question(asker="fra"), reports._ASKS, CGK, "sin"), None, "MAC"),
        (sealed(question(), reports._TELLS, CGK, "sin"), None, "MAC"),
        (sealed(question(), reports._ASKS, CGK, "fra"), None, "MAC"),
        (sealed(question(asked="fra"), reports._ASKS, CGK, "sin"), None, "another PoP"),
        (sealed(question(v=2), reports._ASKS, CGK, "sin"), None, "version"),
    ],
)
def test_questions_that_do_not_hold(written: bytes, certificate_of: str | None, words: str) -> None:
    with pytest.raises(BadTicket, match=words):
        reports.read_question(written, SIN, certificate_of)


def told(**changes: Any) -> reports.Told:  # Any: fields
    fields: dict[str, Any] = {
        "pop": "sin",
        "asker": "cgk",
        "nonce": NONCE,
        "age_us": 0,
        "reserve": 1.0,
        "models": {},
        "deltas": [],
    }
    return reports.Told(**fields | changes)


class Loose(msgspec.Struct):
    """A report without its own checks."""

    waiting_tokens: Any = 0  # Any: what a hostile peer may say
    running: Any = 0
    slots: Any = 1
    kv_free: Any = 1.0
    prefill_tokens_per_s: Any = 1


def loose(**changes: Any) -> Any:  # Any: as above
    return told(models={"chat": Loose(**changes)})


@pytest.mark.parametrize(
    "message",
    [
        told(nonce=bytes(16)),
        told(pop="fra"),
        told(asker="fra"),
        told(v=2),
        told(age_us=-1),
        told(age_us=10**9),
        told(reserve=2.0),
        told(reserve=float("nan")),
        told(models={str(at): Loose() for at in range(300)}),
        told(deltas=[Delta("fra", "world", "chat", 1, 0, 4096, b"")]),
        told(deltas=[("sin", "world")]),
        loose(waiting_tokens=-1),
        loose(running="many"),
        loose(slots=0),
        loose(kv_free=float("nan")),
        loose(prefill_tokens_per_s=0),
        loose(prefill_tokens_per_s=1.5),
    ],
)
def test_answers_that_do_not_hold(message: reports.Told) -> None:
    with pytest.raises(BadTicket):
        reports.read_answer(sealed(message, reports._TELLS, CGK, "sin"), CGK, "sin", NONCE)


@pytest.mark.parametrize(
    "spoil", [lambda data: data[:-1], lambda data: b"", lambda data: b"x" * 99]
)
def test_answers_that_are_not_sealed(spoil: Callable[[bytes], bytes]) -> None:
    written = spoil(sealed(told(), reports._TELLS, CGK, "sin"))
    with pytest.raises(BadTicket, match="MAC"):
        reports.read_answer(written, CGK, "sin", NONCE)


@pytest.mark.parametrize(
    "delta",
    [
        Delta("sin", "eea", "chat", 1, 0, 4096, b""),
        Delta("sin", "world", "chat", 1, 0, 4095, b""),
        Delta("sin", "world", "chat", 1, 0, -4096, b""),
        Delta("sin", "world", "chat", 1, 0, 1 << 40, b""),
        Delta("sin", "world", "chat", 1, 0, 4096, b"123"),
    ],
)
def test_digests_that_should_not_have_been_told(delta: Delta) -> None:
    board = Board(frozenset({"world", "asean"}))
    with pytest.raises(ValueError, match=r"zone|filter|shorts"):
        reports.take(told(deltas=[delta]), CGK, board, 100, (1, 2))
    assert board.matched("sin", "chat", (1,), 2) == 0


def test_more_fields_than_this_version_knows_are_no_fault() -> None:
    message = msgspec.to_builtins(told(models={"chat": model_report()}))
    message["models"]["chat"]["later"] = 1
    message["nonce"], message["more"] = NONCE, [1]
    written = seal(reports._TELLS, msgspec.msgpack.encode(message), CGK.pair_keys["sin"])
    assert reports.read_answer(written, CGK, "sin", NONCE).models == {"chat": model_report()}


def site(name: str, country: str, longitude: float) -> PoP:
    made = make_pop("sin")
    return msgspec.structs.replace(made, id=name, country=country, longitude=longitude)


def test_each_rule_in_turn_names_its_nearest() -> None:
    near = [site(f"near-{at}", "SG", 103.0 - at) for at in range(6)]
    far = [site(f"far-{at}", "DE", 10.0 - at) for at in range(3)]
    idle = msgspec.structs.replace(site("idle", "SG", 106.0), engines=())
    release: Release = make_release(pops=(*make_release().pops, *near, *far, idle))
    view = make_view("cgk", release)
    assert set(reports.nearest(view, 16, NOW_US)) == {"sin", "fra"} | {
        one.id for one in (*near, *far)
    }
    assert reports.nearest(view, 4, NOW_US) == ["sin", "far-0", "near-0", "far-1"]
    assert reports.nearest(view, 0, NOW_US) == []
    assert "sin" not in reports.nearest(make_view("sin", release), 16, NOW_US)


def test_nobody_is_asked_who_may_not_be_routed_to() -> None:
    tenants = (Tenant("asean", (DataClass("default", "asean", "in-zone"),)),)
    keys = tuple(key for key in make_release().keys if key.tenant == "asean")
    release = make_release(tenants=tenants, keys=keys)
    assert reports.nearest(make_view("cgk", release), 16, NOW_US) == ["sin"]
    assert reports.nearest(make_view("fra", release), 16, NOW_US) == [], "nothing may enter there"
