"""A help desk's day against both caches, identical and similar: how often they answer, how wrongly.

The law, which is an assumption (no public log has texts and answers): a request is, with
probability `Law.particular`, about a case of its own: a question of Banking77 with an amount, a
date or a reference that no other has. Its answer serves nobody else, and being served any other is
wrong. The rest are about the set's topics (its intents), whose popularity falls as 1 / rank; with
probability `Law.verbatim` in the words of an earlier request of the topic (drawn from all of them,
so that what was asked often is asked more), otherwise in words of its own: the next of the topic's
questions.

MeanCache found that 31 % of its users' queries repeat an earlier one in meaning (arXiv
2403.02694): that is ``shareable`` here, what a cache without faults could answer at most. `LAWS`
has it, and two desks with more that repeats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import median

from bench.cache_questions import Questions
from bench.cache_replay import Course, Stage, replay, staged
from selvedge.cache import Decider
from selvedge.cache.keepable import why_not_kept

REQUESTS = 10_000
ANSWER = "You find it in the app, under Help."
MONTHS = ("January", "March", "April", "May", "June", "July", "August", "October", "November")


@dataclass(frozen=True, slots=True)
class Law:
    """How requests repeat."""

    name: str
    particular: float
    verbatim: float = 0.3


LAWS = (
    Law("31 % repeat (MeanCache)", 0.68),
    Law("half repeats", 0.49),
    Law("two thirds repeat", 0.31),
)


@dataclass(frozen=True, slots=True)
class Desk:
    """The stream: texts once each, and which of them is asked when."""

    stage: Stage
    order: Sequence[int]
    shareable: float
    identical: float


def desk(questions: Questions, law: Law, requests: int, seed: int = 11) -> Desk:
    """Draws the stream and embeds what is new in it."""
    rng = Random(seed)
    topics: dict[int, list[str]] = {}
    for text, label in zip(questions.texts, questions.labels, strict=True):
        topics.setdefault(label, []).append(text)
    ranked = sorted(topics)
    rng.shuffle(ranked)
    for texts in topics.values():
        rng.shuffle(texts)
    weights = [1.0 / (rank + 1) for rank in range(len(ranked))]
    numbers: dict[str, int] = {}
    labels: list[int] = []
    order: list[int] = []
    asked: dict[int, list[str]] = {label: [] for label in ranked}
    for number in range(requests):
        label = rng.choices(ranked, weights)[0]
        if rng.random() < law.particular:
            text = _case(rng.choice(topics[label]), rng, number)
            label = len(ranked) + number
        elif asked[label] and (rng.random() < law.verbatim or len(asked[label]) > 1500):
            text = rng.choice(asked[label])
            asked[label].append(text)
        else:
            text = topics[label][len(set(asked[label])) % len(topics[label])]
            asked[label].append(text)
        if text not in numbers:
            numbers[text] = len(numbers)
            labels.append(label)
        order.append(numbers[text])
    return Desk(
        staged(Questions(law.name, list(numbers), labels)),
        order,
        1.0 - len(set(labels)) / requests,
        sum(count - 1 for count in Counter(order).values()) / requests,
    )


def served(one: Desk, decider: Decider, *, gates: bool, audit_one_in: int = 0) -> Course:
    """Both caches over the stream. With the gates goes what else guards the cache: answers that
    look personal or time-bound are not kept. Answers are taken to be neutral words, so that only
    the question can give a case away."""
    keeps = [why_not_kept(text, ANSWER, "stop") is None for text in one.stage.questions.texts]
    return replay(
        one.stage,
        one.order,
        decider,
        gates=gates,
        audit_one_in=audit_one_in,
        identical=True,
        keeps=keeps if gates else None,
    )


def middle(courses: Sequence[Course]) -> tuple[float, float, float]:
    """Medians: hit rate, that of identical requests alone, wrong share of hits."""
    return (
        median(course.hit_rate for course in courses),
        median(course.identical / len(course.served) for course in courses),
        median(course.wrong_rate for course in courses),
    )


def _case(text: str, rng: Random, number: int) -> str:
    """The question with a particular of its own; ``number`` keeps it unique."""
    amount = f"£{rng.randrange(3, 900)}.{number % 100:02d}"
    day = f"{rng.randrange(1, 29)} {rng.choice(MONTHS)}"
    return rng.choice(
        (
            f"{text} It is about {amount} on {day}.",
            f"{text} The reference is {700_000 + number}.",
            f"On {day} I paid {amount}. {text}",
            f"{text} (case {40_000 + number})",
        )
    )
