"""The small rooms of the simulator: links, traffic, journal, border, load, the laws."""

from __future__ import annotations

import itertools
from random import Random

import msgspec
import pytest

from selvedge.exchange import Failed, Gone, cools
from selvedge.fabric import Ask, Outcome, Refused, Route, WanModel
from selvedge.sim import Flow, WriteFault, chat_body, example_flows, example_release
from selvedge.sim.border import Border
from selvedge.sim.journal import Journal
from selvedge.sim.links import Links
from selvedge.sim.report import check_conservation
from selvedge.sim.tallies import Tallies
from selvedge.sim.traffic import MALFORMED, arrivals
from selvedge.wire import parse
from tests.sim.scenes import receipt

RELEASE = example_release()


def failed(code: str, tokens: int = 0) -> Failed:
    return Failed(refused=Refused(code, "x"), started_us=0, at_us=0, tokens=tokens)


def test_a_link_takes_what_the_model_says_and_jitter_only_adds() -> None:
    rtt_us = round(WanModel().rtt_ms((1.29, 103.85), (-6.13, 106.66)) * 1000)
    links = Links(RELEASE, 0, Random(1))
    assert links.rtt_us("sin", "cgk") == links.rtt_us("cgk", "sin") == rtt_us
    assert sum(links.ways_us("sin", "cgk")) == rtt_us
    jittery = Links(RELEASE, 500, Random(1))
    drawn = [sum(jittery.ways_us("sin", "cgk")) for _ in range(100)]
    assert min(drawn) >= rtt_us
    assert len(set(drawn)) > 50


def test_traffic_is_seeded_ordered_and_of_its_rate() -> None:
    flows = example_flows(per_hour=60)
    some = list(itertools.islice(arrivals(flows, 7, 100), 3000))
    assert some == list(itertools.islice(arrivals(flows, 7, 100), 3000))
    assert some != list(itertools.islice(arrivals(flows, 8, 100), 3000))
    assert [one.at_us for one in some] == sorted(one.at_us for one in some)
    assert 3.5 < some[-1].at_us / 3.6e9 < 5  # 12 flows of 60 an hour: 3000 in 4.2 hours
    assert {one.key for one in some} == {"", "asean", "eea-transit", "eea-strict", "free"}
    assert any(one.body == MALFORMED for one in some)
    assert any(one.leaves_after_tokens for one in some)
    assert not list(arrivals((Flow("sin", "free", "m", 0),), 1, 0))


def test_another_flow_changes_no_other() -> None:
    flows = example_flows()
    alone = list(itertools.islice(arrivals(flows[:1], 3, 0), 50))
    among = [one for one in itertools.islice(arrivals(flows, 3, 0), 2000) if one.ingress == "sin"]
    assert [one.at_us for one in alone[:20]] == [
        at for at in (one.at_us for one in among) if at in {one.at_us for one in alone[:20]}
    ]


def test_bodies_are_shared_and_of_their_size() -> None:
    body = chat_body("m", 100, True)
    assert chat_body("m", 100, True) is body
    ask = parse(Route.CHAT, body)
    assert isinstance(ask, Ask)
    assert ask.stream
    assert len(body) == 400


@pytest.mark.parametrize("written", [False, True])
def test_the_journal_keeps_numbers_without_gaps_through_failed_writes(written: bool) -> None:
    faults = [WriteFault("sin", "record", 2, written), WriteFault("fra", "record", 1)]
    journal = Journal("sin", faults)
    replies = []
    for name in "abc":
        assert journal.intend(receipt(name)) is None
        replies.append(journal.record(receipt(name)))
    assert [reply is None for reply in replies] == [True, False, True]
    assert [(one.id, one.seq) for one in journal.receipts] == (
        [("a", 1), ("b", 2), ("c", 3)] if written else [("a", 1), ("c", 2)]
    )
    assert set(journal.open) == (set() if written else {"b"})


def test_an_intent_that_failed_may_be_there() -> None:
    faults = [WriteFault("sin", "intend", 1), WriteFault("sin", "intend", 2, written=True)]
    journal = Journal("sin", faults)
    assert journal.intend(receipt("a")) == "fault hook: failed, not written"
    assert journal.intend(receipt("b")) == "fault hook: failed, but written"
    assert set(journal.open) == {"b"}


def test_the_border_counts_what_is_outside() -> None:
    border = Border(RELEASE)
    for key, ingress, pop in [
        ("asean", "sin", "cgk"),
        ("asean", "sin", "fra"),  # not in the zone
        ("asean", "fra", "sin"),  # must not enter there
        ("eea-transit", "sin", "fra"),
        ("eea-strict", "sin", "fra"),  # must not enter there
        ("nobody", "sin", "sin"),
    ]:
        border.cross(key, ingress, pop)
    assert (border.crossings, border.outside) == (6, 4)


@pytest.mark.parametrize(
    "ended",
    [
        failed("engine_interrupted", tokens=3),
        failed("engine_rejected"),
        failed("ticket_refused"),
        failed("deadline_exceeded"),
        Gone(started_us=0, at_us=0),
    ],
)
def test_what_says_nothing_of_the_engine_does_not_cool_it(ended: Failed | Gone) -> None:
    assert not cools(ended)
    assert cools(failed("engine_failed"))


def test_a_lost_request_breaks_the_law() -> None:
    tallies = Tallies()
    tallies.arrive()
    check_conservation(tallies)
    tallies.running.clear()
    with pytest.raises(AssertionError, match="conserved"):
        check_conservation(tallies)
    tallies.outcomes[Outcome.COMPLETE] += 1
    with pytest.raises(AssertionError, match="one ending"):
        check_conservation(tallies)
    tallies.endings["drop"] += 1
    with pytest.raises(AssertionError, match="delivered"):
        check_conservation(tallies)


def test_the_example_release_is_plain_data() -> None:
    assert msgspec.json.decode(msgspec.json.encode(RELEASE), type=type(RELEASE)) == RELEASE
