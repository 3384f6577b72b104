"""Ours: each term of the prediction, and what is done among near-equals."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import Ask, Route
from selvedge.routing import (
    Attempt,
    Candidate,
    Load,
    LoadBook,
    Predictive,
    PredictiveKnobs,
)
from tests.support.boards import Said, model_report
from tests.support.fleets import IDLE

ASK = Ask(Route.CHAT, "chat", prompt_bytes=39_996)  # 10,000 tokens: a second at 10,000/s
SHARP = PredictiveKnobs(band_us=0, band_share=0, drain=1.0, crowd_us=0, harm=0)


def near(count: int, step_us: int = 10_000, rate: int = 10_000) -> list[Candidate]:
    return [Candidate(f"p{at}", "SG", at * step_us, rate) for at in range(count)]


def order(
    signals: Said | None,
    candidates: list[Candidate],
    ask: Ask = ASK,
    load: Load = IDLE,
    knobs: PredictiveKnobs = SHARP,
) -> list[Attempt]:
    return Predictive(knobs, "t").order(ask, candidates, signals, load, 1_000_000)


def said(count: int, at_us: int = 1_000_000) -> Said:
    signals = Said()
    for at in range(count):
        signals.say(f"p{at}", at_us=at_us)
    return signals


def names(attempts: list[Attempt]) -> list[str]:
    return [one.pop for one in attempts]


def test_the_nearest_where_all_are_idle_and_the_reason_in_words() -> None:
    attempts = order(said(4), near(4))
    assert names(attempts) == ["p0", "p1", "p2"]
    assert attempts[0].ttft_us == 1_000_000
    assert attempts[1].ttft_us == 1_010_000
    assert attempts[0].reason == "best: rtt 0 ms + wait 0 ms + prefill 1000 ms"


def test_a_choice_may_take_as_long_as_the_next_and_a_little() -> None:
    knobs = msgspec.structs.replace(SHARP, patience_us=30_000)
    attempts = order(said(4), near(4), knobs=knobs)
    # Until it costs what the next one does, and a little; the last takes as long as it takes.
    assert [one.patience_us for one in attempts] == [1_040_000, 1_040_000, 0]
    assert [one.patience_us for one in order(None, near(4), knobs=knobs)] == [0, 0, 0]
    never = msgspec.structs.replace(SHARP, patience_us=-1)
    assert [one.patience_us for one in order(said(4), near(4), knobs=never)] == [0, 0, 0]


def test_a_reported_wait_is_time_at_its_rate() -> None:
    signals = said(3)
    signals.say("p0", model_report(waiting_tokens=500), at_us=1_000_000)
    attempts = order(signals, near(3))
    assert names(attempts) == ["p1", "p2", "p0"]
    assert (attempts[2].wait_us, attempts[2].ttft_us) == (50_000, 1_050_000)


def test_a_report_ages_as_its_pop_works() -> None:
    signals = said(2)
    signals.say("p0", model_report(waiting_tokens=5_000), at_us=800_000)
    assert order(signals, near(2, 400_000))[0].wait_us == 300_000
    half = PredictiveKnobs(band_us=0, band_share=0, drain=0.5, crowd_us=0, harm=0)
    assert order(signals, near(2, 500_000), knobs=half)[0].wait_us == 400_000


def test_what_left_since_the_report_is_added_and_what_left_before_is_in_it() -> None:
    signals = said(2)
    book = LoadBook()
    book.enter("p0", 1_000, 400_000)
    assert order(signals, near(2), load=book.view)[0].wait_us == 0
    book.enter("p0", 300, 1_000_001)
    book.enter("p0", 400, 1_000_002)
    attempts = order(signals, near(2), load=book.view)
    assert names(attempts) == ["p1", "p0"]
    assert attempts[1].wait_us == 70_000


def test_a_slot_is_waited_for_where_all_run() -> None:
    signals = said(2)
    signals.say("p0", model_report(running=4, slots=4), at_us=1_000_000)
    attempts = order(signals, near(2))
    assert names(attempts) == ["p1", "p0"]
    assert attempts[1].wait_us == 5_000_000 // 4
    signals.say("p0", model_report(running=3, slots=4), at_us=1_000_000)
    assert names(order(signals, near(2))) == ["p0", "p1"]
    signals.say("p0", model_report(running=3, slots=4, kv_free=0.01), at_us=1_000_000)
    assert order(signals, near(2))[1].wait_us == 5_000_000 // 3, "no memory is no slot"
    signals.say("p0", model_report(running=0, slots=4, kv_free=0.0), at_us=1_000_000)
    assert order(signals, near(2))[0].wait_us == 0, "what nobody uses can be evicted"


def test_each_answer_that_runs_adds_a_little() -> None:
    signals = said(2)
    signals.say("p0", model_report(running=3), at_us=1_000_000)
    crowd = PredictiveKnobs(band_us=0, band_share=0, drain=1.0, crowd_us=4_000, harm=0)
    attempts = order(signals, near(2), knobs=crowd)
    assert names(attempts) == ["p1", "p0"]
    assert (attempts[1].wait_us, attempts[1].ttft_us) == (0, 1_000_000), "it is no queue"
    assert attempts[1].reason.endswith(" + crowd 12 ms")


def test_a_short_prompt_is_not_sent_far_for_company() -> None:
    """An answer that runs adds a share of what the prompt takes, and so much at most."""
    signals = said(2)
    signals.say("p0", model_report(running=20), at_us=1_000_000)
    knobs = PredictiveKnobs(band_us=0, band_share=0, drain=1.0, harm=0)
    short = Ask(Route.CHAT, "chat", prompt_bytes=396)  # 100 tokens: 10 ms
    attempts = order(signals, near(2, 40_000), short, knobs=knobs)
    assert names(attempts) == ["p0", "p1"]
    assert attempts[0].reason.endswith("prefill 10 ms + crowd 20 ms"), "20 x 0.1 x 10 ms"
    attempts = order(signals, near(2, 590_000), knobs=knobs)
    assert names(attempts) == ["p1", "p0"]
    assert attempts[1].reason.endswith(" + crowd 600 ms"), "20 x 30 ms, not x 100 ms"


def test_a_long_prompt_counts_the_wait_of_those_who_come_meanwhile() -> None:
    """Of n answers of 8 s each, n / 8 come in a second, and wait half a second on average."""
    signals = said(2)
    signals.say("p0", model_report(running=4, residence_ms=8_000), at_us=1_000_000)
    harm = PredictiveKnobs(band_us=0, band_share=0, drain=1.0, crowd_us=0, harm=1.0)
    second = order(signals, near(2, 200_000), knobs=harm)[1]
    assert (second.pop, second.ttft_us) == ("p0", 1_000_000)
    assert second.reason.endswith(" + crowd 250 ms"), "4 / 8 s x 1 s x 0.5 s"
    short = Ask(Route.CHAT, "chat", prompt_bytes=3_996)
    first = order(signals, near(2, 200_000), short, knobs=harm)[0]
    assert first.reason.endswith(" + crowd 2 ms"), "a tenth of the prompt, a hundredth of the harm"


def test_a_queue_makes_a_cold_prompt_dear_to_those_who_come_while_it_lasts() -> None:
    """In an overload who holds the prefix keeps it, though its queue is longer."""
    signals = said(2)
    busy = {"running": 4, "residence_ms": 8_000}
    signals.say("p0", model_report(waiting_tokens=100_000, **busy), at_us=1_000_000)
    signals.say("p1", model_report(waiting_tokens=80_000, **busy), at_us=1_000_000)
    signals.held["p0"] = 30
    ask = Ask(Route.CHAT, "chat", prompt_bytes=39_996, prefix=tuple(range(1, 40)))
    cold = PredictiveKnobs(
        tau_us=0, band_us=0, band_share=0, drain=1.0, crowd_us=0, harm=0, queue_harm=0
    )
    assert names(order(signals, near(2, 0), ask, knobs=cold))[0] == "p1"
    kind = msgspec.structs.replace(cold, queue_harm=1.0)
    chosen, second = order(signals, near(2, 0), ask, knobs=kind)
    assert (chosen.pop, second.pop) == ("p0", "p1")
    assert second.reason.endswith(" + crowd 4000 ms"), "4 / 8 s x 8 s x 1 s"


def test_memory_is_waited_for_at_the_rate_at_which_answers_free_it() -> None:
    """9,000 of 40,000 are free, 4,000 of them wanted: 5,000 lack, of 31,000 that 6 s free."""
    signals = said(2)
    full = model_report(running=5, kv_tokens=40_000, kv_free=0.225, kv_wanted=4_000)
    full = msgspec.structs.replace(full, residence_ms=6_200)
    signals.say("p0", full, at_us=1_000_000)
    attempts = order(signals, near(2))
    assert names(attempts) == ["p1", "p0"]
    assert attempts[1].wait_us == 5_000 * 6_200_000 // 31_000 == 1_000_000
    book = LoadBook()
    book.enter("p0", 3_100, 1_000_001)
    more = order(signals, near(2), load=book.view)[1].wait_us
    assert more == 1_000_000 + 620_000 + 310_000, "what was sent since wants memory, too"
    room = msgspec.structs.replace(full, kv_free=0.5)
    signals.say("p0", room, at_us=1_000_000)
    assert order(signals, near(2))[0].wait_us == 0


@given(st.integers(0, 80_000), st.integers(0, 80_000), st.integers(0, 90_000), st.integers(1, 64))
def test_more_that_waits_never_lowers_the_predicted_wait(
    waiting: int, wanted: int, more: int, running: int
) -> None:
    def wait_us(waiting: int, wanted: int) -> int:
        signals = said(1)
        report = model_report(
            waiting, running, kv_free=0.4, kv_tokens=90_000, kv_wanted=wanted, residence_ms=9_000
        )
        signals.say("p0", report, at_us=900_000)
        return order(signals, near(1))[0].wait_us

    least = wait_us(waiting, wanted)
    assert least <= wait_us(waiting + more, wanted)
    assert least <= wait_us(waiting, wanted + more)


def test_scarce_memory_has_a_price_of_its_own() -> None:
    signals = said(2)
    knobs = PredictiveKnobs(
        band_us=0, band_share=0, drain=1.0, crowd_us=0, harm=0, crowd_kv_us=10_000
    )
    half = model_report(running=1, kv_tokens=100_000, kv_free=0.6)
    signals.say("p0", half, at_us=1_000_000)
    assert order(signals, near(1), knobs=knobs)[0].reason.endswith(" + crowd 10 ms"), "half used"
    tenth = model_report(running=1, kv_tokens=100_000, kv_free=0.2)
    signals.say("p0", tenth, at_us=1_000_000)
    assert order(signals, near(1), knobs=knobs)[0].reason.endswith(" + crowd 90 ms")


def test_what_is_held_is_not_prefilled() -> None:
    signals = said(3)
    signals.held["p2"] = 30
    ask = Ask(Route.CHAT, "chat", prompt_bytes=39_996, prefix=tuple(range(1, 40)))
    attempts = order(signals, near(3), ask)
    assert attempts[0].pop == "p2"
    assert attempts[0].ttft_us == 20_000 + 1_000_000 - 30 * 25_600
    assert attempts[0].reason.startswith("warm: ")
    assert attempts[0].reason.endswith("(7680 tokens held)")


def test_digests_of_farther_ones_are_asked_where_no_near_one_is_warm() -> None:
    signals = said(40)
    signals.held["p30"] = 30  # 768 ms of prefill, 150 ms away
    ask = Ask(Route.CHAT, "chat", prompt_bytes=39_996, prefix=tuple(range(1, 40)))
    assert order(signals, near(40, 5_000), ask)[0].pop == "p30"
    assert order(signals, near(40, 50_000), ask)[0].pop == "p0", "1.5 s away it is not worth it"
    signals.held["p2"] = 25
    assert order(signals, near(40, 5_000), ask)[0].pop == "p2"


def test_a_warm_one_is_left_where_it_costs_more_than_tau() -> None:
    ask = Ask(Route.CHAT, "chat", prompt_bytes=39_996, prefix=(1, 2))
    signals = said(2)
    signals.held["p0"] = 2  # worth 51 ms
    for wait_ms, first in ((70, "p0"), (100, "p1")):
        load = model_report(waiting_tokens=wait_ms * 10)
        signals.say("p0", load, at_us=1_000_000)
        assert order(signals, near(2), ask)[0].pop == first, "51 + 10 + tau of 30"


def test_a_prefix_is_remembered_where_it_went() -> None:
    signals = said(8)
    policy = Predictive(SHARP, "t")
    ask = Ask(Route.CHAT, "chat", prompt_bytes=39_996, prefix=tuple(range(1, 30)))
    candidates = near(8, 0)
    first = policy.order(ask, candidates, signals, IDLE, 1_000_000)[0]
    longer = Ask(Route.CHAT, "chat", prompt_bytes=50_000, prefix=tuple(range(1, 40)))
    again = policy.order(longer, candidates, signals, IDLE, 1_500_000)[0]
    assert again.pop == first.pop
    assert again.reason.startswith("warm")
    assert "7424 tokens held" in again.reason


def test_the_owner_takes_a_prefix_among_equals_wherever_it_enters() -> None:
    firsts = set()
    for seed in range(5):
        ask = Ask(Route.CHAT, "chat", prompt_bytes=39_996, prefix=(77, 78))
        made = Predictive(PredictiveKnobs(), str(seed))
        firsts.add(made.order(ask, near(8, 100), said(8), IDLE, 1_000_000)[0].pop)
    assert len(firsts) == 1
    owners = Counter(
        Predictive()
        .order(Ask(Route.CHAT, "chat", prefix=(block,)), near(8, 0), said(8), IDLE, 1_000_000)[0]
        .pop
        for block in range(1, 801)
    )
    assert len(owners) == 8
    assert all(60 < count < 150 for count in owners.values()), "each owns its share"


def test_ingresses_with_one_report_do_not_all_go_to_one() -> None:
    firsts = Counter(
        Predictive(PredictiveKnobs(), f"ingress-{at}")
        .order(ASK, near(8, 100), said(8), IDLE, 1_000_000)[0]
        .pop
        for at in range(400)
    )
    assert len(firsts) == 7, "of two drawn the worst is never the better"
    assert max(firsts.values()) < 400 * 0.3


def test_headroom_has_a_price_and_its_lack_is_a_no() -> None:
    signals = said(2)
    for reserve, price_ms in ((0.2, 0), (0.1, 50), (0.02, 450)):
        signals.say("p0", at_us=1_000_000, reserve=reserve)
        attempts = order(signals, near(2, 20_000))
        assert names(attempts) == (["p1", "p0"] if price_ms else ["p0", "p1"])
        ours = attempts[names(attempts).index("p0")]
        assert ours.ttft_us == 1_000_000, "the price is not a time that passes"
        assert ("headroom price" in ours.reason) == bool(price_ms)
        assert f"{price_ms} ms" in ours.reason
    signals.say("p0", at_us=1_000_000, reserve=0.0)
    assert names(order(signals, near(2))) == ["p1"]
    signals.say("p1", at_us=1_000_000, reserve=0.0)
    assert order(signals, near(2)) == []


def test_too_old_a_report_is_not_believed() -> None:
    signals = said(2)
    signals.say("p0", model_report(waiting_tokens=0), at_us=-14_500_000)
    attempts = order(signals, near(2))
    assert names(attempts) == ["p1", "p0"], "a prior is assumed of it"
    assert attempts[1].wait_us == 300_000
    book = LoadBook()
    book.enter("p0", 1_000, 900_000)
    assert order(signals, near(2), load=book.view)[1].wait_us == 400_000, "and own work"
    del signals.reports["p0"]
    assert order(signals, near(2))[1].wait_us == 300_000, "who never reported is no better"
    assert order(None, near(2))[0].wait_us == 0, "where nobody reports there is no prior"


def test_few_are_looked_at_and_the_best_is_found_still() -> None:
    signals = said(160)
    attempts = order(signals, near(160, 2_000))
    assert attempts[0].pop == "p0"
    assert len(set(signals.asked)) < 161
    quick = PredictiveKnobs(band_us=0, band_share=0, nearest=4, looks_max=200)
    signals = said(160)
    short = Ask(Route.CHAT, "chat", prompt_bytes=36)
    order(signals, near(160, 2_000), short, knobs=quick)
    assert len(set(signals.asked)) <= 4, "one round trip is more than all of the nearest"
    for at in range(30):
        signals.say(f"p{at}", model_report(waiting_tokens=2_000), at_us=1_000_000)
    assert order(signals, near(160, 2_000), short, knobs=quick)[0].pop == "p30"


@pytest.mark.parametrize("seed", range(20))
def test_the_same_seed_says_the_same(seed: int) -> None:
    policies = [Predictive(PredictiveKnobs(), str(seed)) for _ in range(2)]
    for _ in range(10):
        one, other = (
            policy.order(ASK, near(8, 100), said(8), IDLE, 1_000_000) for policy in policies
        )
        assert one == other
