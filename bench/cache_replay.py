"""Replay of labelled questions against a decider, one after the other, as a cache would see them.

Each question looks for its nearest entry (past the gates, where they are on). Where the decider
serves it, that is a hit: right if and only if both have one label. Otherwise the model answers; the
judge, who knows the labels, compares with that entry's answer, and, where it is another, with a few
more near by, so that the question joins the cluster of its answer; the decider learns, and the
question becomes an entry if the decider wants it. One would-be hit in ``audit_one_in``, drawn with
the seed, is an audit: it is answered by the model, so it counts as a miss. Only `bounded` needs
audits; the others are spared them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np
import numpy.typing as npt

from bench.cache_questions import Questions, vectors
from selvedge.cache import Slots, also_compared, clash, content_words, pair_of, slots_of
from selvedge.cache.bounds import at_most
from selvedge.cache.deciding import Decider

NEIGHBOURS = 32
CLOSEST = 400
GATED_MAX = 8
"""Entries that the gates may turn away before a look-up ends: as in the cache's process."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Questions with all that is computed of them once."""

    questions: Questions
    similar: npt.NDArray[np.float32]
    words: Sequence[frozenset[str]]
    slots: Sequence[Slots]
    closest: npt.NDArray[np.int32]
    """Of each question the most similar others, most similar first."""
    clashes: dict[tuple[int, int], bool] = field(default_factory=dict)

    def may(self, new: int, kept: int) -> bool:
        """Whether the gates let a question have an entry's answer."""
        key = (new, kept)
        found = self.clashes.get(key)
        if found is None:
            found = self.clashes[key] = clash(self.slots[new], self.slots[kept]) is None
        return found


def staged(questions: Questions) -> Stage:
    """Embeds what was not embedded before; some minutes for the first time."""
    made = vectors(questions.texts)
    similar = made @ made.T
    count = min(CLOSEST, len(similar))
    closest = np.empty((len(similar), count), np.int32)
    for number, row in enumerate(similar):
        top = np.argpartition(-row, count - 1)[:count]
        closest[number] = top[np.argsort(-row[top], kind="stable")]
    return Stage(
        questions,
        similar,
        [content_words(text) for text in questions.texts],
        [slots_of(text) for text in questions.texts],
        closest,
    )


@dataclass(slots=True)
class Course:
    """What became of each question, in order."""

    served: list[bool] = field(default_factory=list)
    right: list[bool] = field(default_factory=list)
    audits: int = 0
    identical: int = 0
    """Hits of the first cache: the text had been answered before."""
    entries: int = 0

    @property
    def hits(self) -> int:
        return sum(self.served)

    @property
    def wrong(self) -> int:
        return sum(
            not right for served, right in zip(self.served, self.right, strict=True) if served
        )

    @property
    def hit_rate(self) -> float:
        return self.hits / max(1, len(self.served))

    @property
    def wrong_rate(self) -> float:
        """Of hits."""
        return self.wrong / max(1, self.hits)

    @property
    def wrong_at_most(self) -> float:
        """The 95 % upper bound of the wrong share of hits."""
        return at_most(self.wrong, self.hits, 0.05) if self.hits else 1.0

    def first(self, count: int) -> tuple[int, int]:
        """Hits and wrong hits among the first ``count``."""
        pairs = zip(self.served[:count], self.right[:count], strict=True)
        part = [right for served, right in pairs if served]
        return len(part), sum(not right for right in part)


def replay(
    stage: Stage,
    order: Sequence[int],
    decider: Decider,
    *,
    gates: bool,
    audit_one_in: int = 0,
    identical: bool = False,
    keeps: Sequence[bool] | None = None,
) -> Course:
    """The stream in its order; draws are seeded by its first question.

    With ``identical``, a text that the model has answered is a right hit without being looked for.
    ``keeps`` says which questions' answers may be kept at all, and learned from.
    """
    rng, course = Random(order[0]), Course()
    labels, texts = stage.questions.labels, stage.questions.texts
    clusters = np.full(len(texts), -1, np.int64)  # of each question, where it is an entry
    kept = 0
    answers: list[int] = []  # the label of each cluster
    answered: set[int] = set()
    for new in order:
        if identical and new in answered:
            course.identical += 1
            course.served.append(True)
            course.right.append(True)
            continue
        near, chosen = _nearest(stage, new, kept, clusters, gates)
        served = right = False
        may_keep = keeps is None or keeps[new]
        if chosen >= 0:
            entry = near[chosen][2]
            pair = pair_of([(s, c) for s, c, _ in near], chosen, texts[new], stage.words[entry])
            right = labels[entry] == labels[new]
            name = str(entry), near[chosen][1]
            served = decider.decide(pair, *name, rng.random()).serve
            if served and audit_one_in and rng.random() * audit_one_in < 1.0:
                course.audits += 1
                served = False
            if not served and may_keep:
                decider.learn(pair, *name, right)
        if not served and may_keep and (chosen < 0 or decider.inserts(right)):
            cluster = _cluster(near, chosen, labels[new], answers)
            if cluster == len(answers):
                answers.append(labels[new])
            kept += clusters[new] < 0
            clusters[new] = cluster
        if not served and may_keep:
            answered.add(new)
        course.served.append(served)
        course.right.append(right)
    course.entries = kept
    return course


def _cluster(
    near: Sequence[tuple[float, str, int]], chosen: int, label: int, answers: Sequence[int]
) -> int:
    """Where the judge puts a new answer: a cluster near by that has it, or a new one."""
    ranked = [(similarity, cluster) for similarity, cluster, _ in near]
    for number in [chosen] * (chosen >= 0) + also_compared(ranked, chosen):
        cluster = int(near[number][1])
        if answers[cluster] == label:
            return cluster
    return len(answers)


def _nearest(
    stage: Stage,
    new: int,
    kept: int,
    clusters: npt.NDArray[np.int64],
    gates: bool,
) -> tuple[list[tuple[float, str, int]], int]:
    """The nearest entries as (similarity, cluster, question), and which of them is asked about."""
    closest = stage.closest[new]
    found = closest[clusters[closest] >= 0][:NEIGHBOURS]
    if len(found) < min(NEIGHBOURS, kept):  # few are entries yet, or all that is close is none
        entries = np.nonzero(clusters >= 0)[0]
        found = entries[np.argsort(-stage.similar[new][entries], kind="stable")[:NEIGHBOURS]]
    near = [
        (similarity, str(cluster), entry)
        for similarity, cluster, entry in zip(
            stage.similar[new][found].tolist(),
            clusters[found].tolist(),
            found.tolist(),
            strict=True,
        )
    ]
    if not near:
        return [], -1
    if not gates:
        return near, 0
    passed = (n for n, one in enumerate(near[:GATED_MAX]) if stage.may(new, one[2]))
    return near, next(passed, -1)
