"""`bounded`: what it promises of hits, kept on drawn routes; how it starts, and with a prior."""

from __future__ import annotations

from math import exp
from random import Random

import msgspec
import pytest

from selvedge.cache import Pair, pooled
from selvedge.cache.bounded import FIRST_WITH_PRIOR, Bounded, needed
from selvedge.cache.scoring import GENERAL, features, general_score


class Route:
    """Draws pairs whose truth follows a law of their own; serves, audits and counts."""

    def __init__(
        self, decider: Bounded, seed: int, shift: float = 0.0, noise: bool = False
    ) -> None:
        self.decider = decider
        self.rng = Random(seed)
        self.shift = shift
        self.noise = noise
        self.hits = self.wrong = self.requests = 0
        self.first: int | None = None

    def run(self, requests: int) -> Route:
        for _ in range(requests):
            self.requests += 1
            similarity = self.rng.uniform(0.6, 1.0)
            pair = Pair(
                similarity=similarity,
                rival=similarity - self.rng.expovariate(5.0),
                near=self.rng.randrange(3),
                overlap=self.rng.random(),
                length=self.rng.randrange(3, 20),
                agree=self.rng.randrange(8),
            )
            p = 1 / (1 + exp(-1.5 * (general_score(pair) - 1.5) + self.shift))
            correct = self.rng.random() < (0.9 if self.noise else p)
            self._ask(pair, correct)
        return self

    def _ask(self, pair: Pair, correct: bool) -> None:
        entry, cluster = str(self.rng.randrange(500)), str(self.rng.randrange(60))
        verdict = self.decider.decide(pair, entry, cluster, self.rng.random())
        if verdict.serve and self.rng.random() >= 1 / 20:
            self.hits += 1
            self.wrong += not correct
            self.first = self.requests if self.first is None else self.first
            assert verdict.bound >= 1 - self.decider.wrong_max
        else:
            self.decider.learn(pair, entry, cluster, correct)


def test_at_first_nothing_is_served_and_it_says_so() -> None:
    verdict = Bounded(0.01).decide(Pair(similarity=1.0), "e", "c", 0.5)
    assert not verdict.serve
    assert verdict.why == "no bound yet: 0 observations"


@pytest.mark.parametrize("wrong_max", [0.01, 0.03])
def test_of_its_hits_no_more_are_wrong(wrong_max: float) -> None:
    """20 routes of 6,000 requests: nearly all serve, and at most one errs more than is allowed."""
    served = over = 0
    for seed in range(20):
        route = Route(Bounded(wrong_max), seed, shift=-2.0).run(6000)
        served += route.hits > 0
        over += route.hits > 0 and route.wrong / route.hits > wrong_max
    assert served >= 18
    assert over <= 1


def test_it_serves_a_large_part_of_an_easy_route() -> None:
    route = Route(Bounded(0.03), 1, shift=-3.0).run(6000)
    assert route.hits > 0.5 * 6000
    assert route.first is not None
    assert route.first < 1200


def test_a_score_that_knows_nothing_is_not_trusted() -> None:
    """Nine in ten are right whatever the pair: no threshold is within 3 %."""
    for seed in range(10):
        assert Route(Bounded(0.03), seed, noise=True).run(4000).hits == 0


def test_an_entry_with_wrong_answers_leaves_at_once() -> None:
    decider = Bounded(0.03)
    Route(decider, 1, shift=-3.0).run(4000)
    pair = Pair(similarity=0.95, rival=0.7, overlap=0.5, length=8, agree=2)
    assert decider.decide(pair, "bad", "new", 0.5).serve
    decider.learn(pair, "bad", "new", correct=False)
    decider.learn(pair, "bad", "new", correct=False)
    assert not decider.decide(pair, "bad", "new", 0.5).serve
    assert decider.decide(pair, "good", "other", 0.5).serve


def test_what_was_bounded_and_becomes_worse_is_served_no_more() -> None:
    decider = Bounded(0.03)
    assert Route(decider, 1, shift=-3.0).run(4000).hits
    worse = Route(decider, 2, shift=6.0).run(20_000)
    later = Route(decider, 3, shift=6.0).run(2000)
    assert worse.hits
    assert later.hits < 100


def test_a_tenant_s_other_routes_make_it_start_within_tens() -> None:
    others = [Bounded(0.01), Bounded(0.01)]
    for seed, other in enumerate(others):
        Route(other, seed, shift=-2.0).run(5000)
    prior = pooled([other.dump() for other in others])
    alone = Route(Bounded(0.01), 9, shift=-2.0).run(3000)
    helped = Route(Bounded(0.01, prior=prior), 9, shift=-2.0).run(3000)
    assert helped.first is not None
    assert helped.first <= 2 * FIRST_WITH_PRIOR
    assert alone.first is None or alone.first > 5 * helped.first
    assert helped.wrong <= 0.015 * helped.hits


def test_a_prior_that_does_not_fit_is_put_aside() -> None:
    """The others are easy and this one is hard: it errs at first, then serves nothing."""
    other = Bounded(0.01)
    Route(other, 1, shift=-3.0).run(5000)
    decider = Bounded(0.01, prior=pooled([other.dump()]))
    Route(decider, 2, shift=3.0).run(4000)
    later = Route(decider, 3, shift=3.0).run(4000)
    assert later.hits < 80


def test_it_is_kept_whole() -> None:
    decider = Bounded(0.03)
    Route(decider, 1, shift=-3.0).run(2500)
    again = Bounded(0.03, kept=decider.dump())
    assert again.dump() == decider.dump()
    ours, theirs = Route(decider, 5).run(500), Route(again, 5).run(500)
    assert (ours.hits, ours.wrong) == (theirs.hits, theirs.wrong)
    assert again.dump() == decider.dump()


def test_another_promise_is_proved_anew() -> None:
    decider = Bounded(0.03)
    Route(decider, 1, shift=-3.0).run(2500)
    stricter = Bounded(0.001, kept=decider.dump())
    pair = Pair(similarity=0.97, rival=0.5, overlap=0.9, length=8, agree=5)
    assert decider.decide(pair, "e", "c", 0.5).serve
    assert not stricter.decide(pair, "e", "c", 0.5).serve
    laxer = Bounded(0.05, kept=decider.dump())
    assert not laxer.decide(pair, "e", "c", 0.5).serve
    laxer.learn(pair, "e", "c", correct=True)
    assert laxer.decide(pair, "e", "c", 0.5).serve


def test_pooling_leaves_out_what_it_cannot_read() -> None:
    assert pooled([]) is None
    assert pooled([b"", b"nonsense", msgspec.msgpack.encode([2])]) is None
    one = Bounded(0.01)
    Route(one, 1).run(500)
    prior = pooled([one.dump(), b"nonsense"])
    assert prior is not None
    assert Bounded(0.01, prior=prior).prior


def test_what_another_version_kept_is_refused() -> None:
    kept = msgspec.msgpack.decode(Bounded(0.01).dump())
    kept[0] = 9
    with pytest.raises(ValueError, match="observations of version 9, this is 1"):
        Bounded(0.01, kept=msgspec.msgpack.encode(kept))


def test_every_miss_becomes_an_entry() -> None:
    assert Bounded(0.01).inserts(correct=True)
    assert Bounded(0.01).inserts(correct=False)


def test_299_would_do_for_one_percent() -> None:
    assert needed(0.01, 0.05) == pytest.approx(299.6, abs=0.1)


def test_features_are_one_each_of_the_general_weights() -> None:
    pair = Pair(similarity=0.9)
    assert len(features(pair)) == len(GENERAL)
    assert features(pair)[2] == 5.0  # no rival: the widest margin
