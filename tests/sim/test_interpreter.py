"""One request at a time in virtual time: exact moments, worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from selvedge.cache import Asked, Scope
from selvedge.exchange import (
    Drop,
    Ending,
    Job,
    Recall,
    Recalled,
    Refuse,
    Relay,
    Remember,
    Served,
    Story,
)
from selvedge.fabric import NO_WISH, Ask, CacheRule, Head, Outcome, PoP, Refused, Route, Usage
from selvedge.routing import Attempt, FleetMap, Load, Plan
from selvedge.sim import Scenario, Work, WriteFault, chat_body
from selvedge.sim.batching import BatchedAnswering
from selvedge.sim.conversation import Caller, Client, Conversation, Wants
from selvedge.sim.engines import Answering
from selvedge.sim.fleet import MODEL
from selvedge.sim.interpreter import Interpreter
from tests.sim.scenes import RELEASE, arrival, down, only, play, rtt_us

SIN_CGK_US = rtt_us("sin", "cgk")
SIN_FRA_US = rtt_us("sin", "fra")


def test_an_answer_at_the_ingress() -> None:
    report = play(arrival("asean"))
    found = only(report)
    assert (found.first_token_us, found.ended_us) == (1_100_000, 1_200_000)
    assert (found.outcome, found.status, found.finish_reason) == (Outcome.COMPLETE, 200, "stop")
    assert (found.served_pop, found.processed_in, found.attested) == ("sin", "SG", None)
    assert found.usage == Usage(input_uncached=100, output=11, provenance="reported")
    assert found.attempts[0].tokens == 11
    assert report.figures.endings == {"deliver": 1}


def test_an_answer_from_a_peer_has_its_word() -> None:
    report = play(arrival("asean", "cgk"))
    found = only(report)
    assert found.first_token_us == 1_100_000 + SIN_CGK_US
    assert found.ended_us == 1_200_000 + SIN_CGK_US
    assert (found.ingress_pop, found.served_pop, found.processed_in) == ("cgk", "sin", "SG")
    assert found.attested == report.attestations["sin"][0]
    assert found.attested.decode().started_us == 1_000_000 + SIN_CGK_US // 2
    assert report.receipts["sin"] == ()


def test_an_answer_that_is_not_streamed_comes_whole() -> None:
    found = only(play(arrival("asean", stream=False)))
    assert (found.ended_us, found.stream, found.outcome) == (1_200_000, False, Outcome.COMPLETE)
    assert found.usage == Usage(input_uncached=100, output=11, provenance="reported")


def test_the_asked_limit_ends_an_answer() -> None:
    body = chat_body(MODEL, 100, True)[:-1] + b',"max_tokens":3}'
    found = only(play(arrival("asean", body=body)))
    assert (found.finish_reason, found.ended_us) == ("length", 1_120_000)


def test_an_engine_that_is_down_is_passed_over_unseen() -> None:
    report = play(arrival("free"), outages=(down("sin"),))
    found = only(report)
    assert [(one.pop, one.outcome) for one in found.attempts] == [
        ("sin", "failed"),
        ("fra", "relayed"),
    ]
    assert (found.outcome, found.served_pop) == (Outcome.COMPLETE, "fra")
    assert found.first_token_us == 1_100_000 + SIN_FRA_US
    assert report.figures.moved_on == 1


def test_a_peer_whose_engine_is_down_costs_its_round_trip() -> None:
    found = only(play(arrival("free", "cgk"), outages=(down("sin"),)))
    failed, relayed = found.attempts
    assert (failed.reason, failed.ended_us) == ("engine_failed", 1_000_000 + SIN_CGK_US)
    assert relayed.started_us == failed.ended_us
    assert found.first_token_us == 1_100_000 + SIN_CGK_US + rtt_us("cgk", "fra")


def test_a_zone_without_an_engine_up_is_refused_and_never_left() -> None:
    report = play(arrival("asean"), outages=(down("sin"),))
    found = only(report)
    assert (found.outcome, found.status, found.code) == (
        Outcome.FAILED,
        503,
        "no_engine_available",
    )
    assert found.planned == ("sin",)
    assert (report.figures.crossings, report.figures.out_of_zone) == (1, 0)
    assert report.attestations == {"sin": ()}, "fra has not even started"


def test_an_engine_that_breaks_before_the_first_token_is_unseen_too() -> None:
    found = only(play(arrival("free"), outages=(down("sin", 1_050_000),)))
    assert found.attempts[0].reason == "engine_failed"
    assert found.first_token_us == 1_050_000 + 100_000 + SIN_FRA_US


@pytest.mark.parametrize("ingress", ["sin", "cgk"])
def test_an_engine_that_breaks_after_it_is_an_honest_receipt(ingress: str) -> None:
    late_us = SIN_CGK_US // 2 if ingress == "cgk" else 0
    report = play(arrival("free", ingress), outages=(down("sin", 1_145_000 + late_us),))
    found = only(report)
    assert (found.outcome, found.status, found.code) == (
        Outcome.FAILED,
        200,
        "engine_interrupted",
    )
    assert len(found.attempts) == 1
    assert found.attempts[0].tokens == 5
    assert found.usage == Usage(input_uncached=100, output=5, provenance="counted")
    assert found.ended_us == 1_145_000 + (SIN_CGK_US if ingress == "cgk" else 0)
    assert (report.figures.in_band_errors, report.figures.endings) == (1, {"refuse": 1})
    if ingress == "cgk":
        assert report.attestations["sin"][0].decode().outcome is Outcome.FAILED


def test_what_is_not_streamed_moves_on_even_in_its_midst() -> None:
    found = only(play(arrival("free", stream=False), outages=(down("sin", 1_145_000),)))
    assert (found.served_pop, found.outcome) == ("fra", Outcome.COMPLETE)
    assert found.ended_us == 1_145_000 + 200_000 + SIN_FRA_US


def test_a_client_who_hangs_up_frees_the_slot() -> None:
    leaver = arrival("asean", leaves_after_tokens=6)
    stayer = arrival("asean", at_us=1_150_000)
    one, two = play(leaver, stayer).receipts["sin"]
    assert (one.outcome, one.status, one.ended_us) == (Outcome.CLIENT_GONE, 200, 1_150_000)
    assert one.usage == Usage(input_uncached=100, output=6, provenance="counted")
    assert two.ended_us == 1_350_000, "it had the machine to itself"


def test_the_peer_hears_of_it_one_way_later() -> None:
    report = play(arrival("asean", "cgk", leaves_after_us=150_000 + SIN_CGK_US))
    found = only(report)
    assert (found.outcome, found.attempts[0].tokens) == (Outcome.CLIENT_GONE, 6)
    assert found.ended_us == 1_150_000 + SIN_CGK_US
    word = report.attestations["sin"][0].decode()
    assert word.outcome is Outcome.CLIENT_GONE
    assert word.ended_us == found.ended_us + SIN_CGK_US // 2
    assert word.usage.output == 6 + SIN_CGK_US // 10_000, "generated, and never delivered"


def test_a_client_who_leaves_at_a_token_of_a_peer() -> None:
    found = only(play(arrival("asean", "cgk", leaves_after_tokens=6)))
    assert (found.attempts[0].tokens, found.ended_us) == (6, 1_150_000 + SIN_CGK_US)


@pytest.mark.parametrize(
    ("ingress", "after_us", "tokens", "status"),
    [("sin", 50_000, 0, 504), ("sin", 150_000, 6, 200), ("cgk", 110_000, 0, 504)],
)
def test_a_deadline_that_passes(ingress: str, after_us: int, tokens: int, status: int) -> None:
    found = only(play(arrival("free", ingress, deadline_after_us=after_us)))
    assert (found.outcome, found.code) == (Outcome.FAILED, "deadline_exceeded")
    assert (found.status, found.ended_us) == (status, 1_000_000 + after_us)
    assert [(one.pop, one.outcome, one.tokens) for one in found.attempts] == [
        ("sin", "deadline", tokens)
    ]


def test_a_deadline_between_two_attempts_starts_nothing() -> None:
    asked = arrival("free", "cgk", deadline_after_us=SIN_CGK_US)
    report = play(asked, outages=(down("sin"),))
    assert only(report).code == "deadline_exceeded"
    assert report.figures.crossings <= 2


@pytest.mark.parametrize("plan", ["leaves_after_us", "deadline_after_us"])
def test_nothing_starts_for_a_client_who_is_gone_or_out_of_time(plan: str) -> None:
    changes: dict[str, Any] = {plan: 50_000}
    report = play(arrival("free", **changes), outages=(down("sin", 1_050_000),))
    found = only(report)
    last = "gone" if plan == "leaves_after_us" else "deadline"
    assert [one.outcome for one in found.attempts] == ["failed", last]
    assert (report.figures.crossings, found.ended_us) == (1, 1_050_000)


@pytest.mark.parametrize(
    ("changes", "outcome", "code", "ended_us"),
    [
        ({"body_after_us": 500}, Outcome.COMPLETE, None, 1_200_500),
        ({"body_after_us": 500, "leaves_after_us": 400}, Outcome.CLIENT_GONE, None, 1_000_400),
        ({"leaves_after_us": 0}, Outcome.CLIENT_GONE, None, 1_000_000),
        (
            {"body_after_us": 500, "deadline_after_us": 400},
            Outcome.FAILED,
            "deadline_exceeded",
            1_000_400,
        ),
        ({"body": b"{"}, Outcome.REFUSED, "invalid_json", 1_000_000),
        ({"body": b" " * 2**21}, Outcome.REFUSED, "request_too_large", 1_000_000),
        (
            {"body": chat_body("other", 9, True)},
            Outcome.REFUSED,
            "model_not_found",
            1_000_000,
        ),
    ],
)
def test_bodies_that_are_late_left_or_bad(
    changes: dict[str, Any], outcome: Outcome, code: str | None, ended_us: int
) -> None:
    found = only(play(arrival("asean", **changes)))
    assert (found.outcome, found.code, found.ended_us) == (outcome, code, ended_us)


def test_refusals_before_the_body() -> None:
    report = play(arrival("nobody"), arrival("asean", "fra"), arrival("eea-strict", "sin"))
    assert report.figures.codes == {"invalid_api_key": 1, "residency_ingress": 2}
    assert (report.figures.crossings, report.figures.unauthenticated) == (0, 1)
    assert [one.status for pop in report.receipts.values() for one in pop] == [451, 451]


def test_transit_is_forwarded_and_said() -> None:
    found = only(play(arrival("eea-transit", "sin")))
    assert (found.transit, found.processed_in) == (True, "DE")


def test_a_busy_engine_is_passed_over() -> None:
    report = play(*(arrival("free") for _ in range(8)))
    assert report.figures.served["sin"] >= 1
    assert report.figures.served["fra"] >= 1
    assert report.figures.outcomes[Outcome.COMPLETE] <= 6


def test_a_failure_cools_the_engine_for_the_next_request() -> None:
    second = arrival("free", at_us=2_000_000)
    third = arrival("free", at_us=7_000_000)
    outage = down("sin", 0, 1_500_000)
    receipts = play(arrival("free"), second, third, outages=(outage,)).receipts["sin"]
    assert [one.planned[0] for one in receipts] == ["sin", "fra", "sin"]


TWICE = (arrival("asean"), arrival("asean", at_us=5_000_000))


@pytest.mark.parametrize("written", [False, True])
def test_without_its_intent_nothing_leaves(written: bool) -> None:
    report = play(*TWICE, write_faults=(WriteFault("sin", "intend", 1, written),))
    assert report.figures.codes == {"receipt_unwritable": 1}
    assert report.figures.outcomes == {"complete": 1, "failed": 1}
    assert report.figures.crossings == 1
    assert report.open_intents["sin"] == ()


@pytest.mark.parametrize("written", [False, True])
def test_without_its_receipt_nothing_is_acknowledged(written: bool) -> None:
    report = play(*TWICE, write_faults=(WriteFault("sin", "record", 1, written),))
    assert report.figures.endings == {"deliver": 1, "drop": 1}
    assert report.figures.outcomes == {"complete": 1, "unrecorded": 1}
    assert [one.seq for one in report.receipts["sin"]] == ([1, 2] if written else [1])
    assert len(report.open_intents["sin"]) == (0 if written else 1)


def test_an_answer_that_is_held_back_whole_can_still_be_refused() -> None:
    fault = WriteFault("sin", "record", 1)
    report = play(arrival("asean", stream=False), write_faults=(fault,))
    assert report.figures.endings == {"refuse": 1}


@pytest.mark.parametrize("written", [False, True])
def test_a_peer_that_cannot_write_its_word_sends_no_end(written: bool) -> None:
    report = play(arrival("asean", "cgk"), write_faults=(WriteFault("sin", "attest", 1, written),))
    found = only(report)
    assert (found.outcome, found.code) == (Outcome.FAILED, "receipt_unwritable")
    assert (found.status, found.attempts[0].tokens) == (200, 11)


def test_what_still_runs_is_counted() -> None:
    report = play(arrival("asean"), arrival("asean", "cgk"), until_us=1_150_000)
    assert (report.figures.arrived, report.figures.running) == (2, 2)
    assert (report.figures.outcomes, report.figures.ttft_us) == ({}, None)


class Stranger(Caller):
    """Somebody who sends a ticket again."""

    def __init__(self, wants: Wants) -> None:
        self.wants = wants
        self.got: Ending | None = None

    def began(self, answering: Answering | BatchedAnswering) -> None:
        pytest.fail("a replayed ticket reached an engine")

    def hear(self, count: int, served: Served) -> bool:
        pytest.fail("a replayed ticket was answered")

    def ended(self, ending: Ending) -> None:
        self.got = ending


class Replaying(Interpreter):
    """Sends every forwarded request twice, ticket and all."""

    strangers: tuple[Stranger, ...] = ()

    def call(self, pop: str, head: Head, ticket: str, caller: Caller) -> Conversation:
        conversation = super().call(pop, head, ticket, caller)
        stranger = Stranger(caller.wants)
        self.strangers += (stranger,)
        super().call(pop, head, ticket, stranger)
        return conversation


def test_a_ticket_holds_once() -> None:
    scripted = (arrival("asean", "cgk"), arrival("eea-transit", "sin"))
    run = Replaying(RELEASE, Scenario(scripted=scripted), 1)
    report = run.run()
    assert report.figures.outcomes == {"complete": 2}
    assert len(run.strangers) == 2
    for stranger in run.strangers:
        assert isinstance(stranger.got, Refuse)
        assert stranger.got.refused.code == "ticket_refused"
    assert [run.pops[pop].tallied["ticket_refused"] for pop in ("sin", "fra")] == [1, 1]


def test_an_altered_body_reaches_no_engine() -> None:
    class Altering(Interpreter):
        def call(self, pop: str, head: Head, ticket: str, caller: Caller) -> Conversation:
            altered = Stranger(Wants("asean", "cgk", b"{}", Work(1, 1)))
            super().call(pop, head, ticket, altered)
            assert isinstance(altered.got, Refuse)
            assert altered.got.refused.code == "ticket_refused"
            return super().call(pop, head, ticket, caller)

    report = Altering(RELEASE, Scenario(scripted=(arrival("asean", "cgk"),)), 1).run()
    assert report.figures.codes == {"no_engine_available": 1}, "the ticket was used up"


def test_a_router_that_lies_is_caught() -> None:
    class Lying(FleetMap):
        def rank(
            self,
            ask: Ask,
            allowed: Iterable[PoP],
            load: Load,
            local_only: bool = False,
            **_: object,
        ) -> Plan | Refused:
            return Plan((Attempt("fra", "DE", None, 0, "a lie"),))

    run = Interpreter(RELEASE, Scenario(scripted=(arrival("asean"),)), 1)
    honest = run.pop("sin")
    view = msgspec.structs.replace(honest.view, routes=Lying(RELEASE, "sin"))
    honest.view = view
    with pytest.raises(AssertionError, match="1 attempts outside"):
        run.run()
    assert honest.journal.receipts[0].code == "no_engine_available"
    assert run.pops["fra"].journal.attestations == [], "the peer's own release refused it"


def test_a_race_has_no_model_yet() -> None:
    run = Interpreter(RELEASE, Scenario(), 1)
    asked = arrival("asean")
    ask = Ask(Route.CHAT, MODEL)
    head = Head("r", "r", Route.CHAT, None, None, 0, 10**9)
    job = Job(head, ask, asked.body, "asean", "default", "asean/default", ("sin",))
    asked_of = Asked(bytes(32), b"", "", MODEL)
    racer = Attempt("sin", "SG", "smol", 0, "")

    def racing() -> Story:
        recall = Recall(Scope("asean", "default", "asean"), CacheRule(), NO_WISH, asked_of, ask)
        yield recall
        yield Remember(recall)
        yield Relay((racer, racer), job)
        return Drop()

    story = racing()
    next(story)
    with pytest.raises(NotImplementedError, match="race"):
        run.resume(Conversation(run.pop("sin"), Client(asked), head, story), Recalled((), 0))


def test_an_outage_has_a_length() -> None:
    with pytest.raises(ValueError, match="ends after"):
        down("sin", 5, 5)


def test_nothing_happens_without_traffic() -> None:
    assert play().figures.arrived == 0
