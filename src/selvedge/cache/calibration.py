"""From labelled or judged pairs to the curve of hits and wrong hits, to choose by looking. Pure.

A pair is a question, its nearest kept question, how similar they are (or how a model scores them),
and whether one answer serves both. Each threshold is a point: what share of the pairs it would
serve, what share of those wrongly, and Clopper and Pearson's interval of that.

The points share their pairs, so the best-looking one flatters itself. What `suggested` proposes is
therefore the lowest threshold that a fixed sequence of tests from strict to lax reaches (Learn then
Test, arXiv 2110.01052), which holds with the confidence stated as often as new questions are like
these. It starts where there are twice the pairs that would do if none was wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log
from typing import Final

from selvedge.cache.bounds import interval, tail
from selvedge.fabric.value import Value

POINTS_MAX: Final = 200
_START: Final = 2.0
_BAR: Final = 30


class Judged(Value, frozen=True):
    """One pair: its similarity (or score), whether the gates let it through, and the truth."""

    similarity: float
    correct: bool
    passed: bool = True


class Point(Value, frozen=True):
    """What serving from a threshold on would have done to the pairs."""

    threshold: float
    hits: int
    wrong: int
    hit_rate: float
    """Of all pairs, those that the gates turn away among them."""
    wrong_rate: float
    """Of hits."""
    low: float
    high: float
    """Its 95 % interval by Clopper and Pearson, two-sided, at this point alone."""


class Suggestion(Value, frozen=True):
    """What to set for a wrong share of hits; no threshold: the pairs do not carry one."""

    wrong_max: float
    confidence: float
    threshold: float | None
    hit_rate: float
    words: str


def curve(pairs: Sequence[Judged], points_max: int = POINTS_MAX) -> tuple[Point, ...]:
    """From the strictest threshold to the laxest: one at each similarity, or evenly many."""
    steps = _steps(pairs)
    if len(steps) > points_max:
        chosen = {round(n * (len(steps) - 1) / (points_max - 1)) for n in range(points_max)}
        steps = [step for number, step in enumerate(steps) if number in chosen]
    points = []
    for threshold, hits, wrong in steps:
        low, high = interval(wrong, hits)
        points.append(Point(threshold, hits, wrong, hits / len(pairs), wrong / hits, low, high))
    return tuple(points)


def suggested(pairs: Sequence[Judged], wrong_max: float, confidence: float = 0.95) -> Suggestion:
    """The lowest threshold whose wrong share of hits is at most ``wrong_max``, so sure."""
    alpha = 1.0 - confidence
    enough = ceil(_START * log(alpha) / log(1.0 - wrong_max))
    best: tuple[float, int] | None = None
    failed: tuple[int, int] | None = None
    for threshold, hits, wrong in _steps(pairs):
        if hits < enough:
            continue
        if 1.0 - tail(wrong + 1, hits, wrong_max) > alpha:  # its upper bound lies above
            failed = hits, wrong
            break
        best = threshold, hits
    if best is not None:
        rate = best[1] / len(pairs)
        words = f"serve from {best[0]:.3f} on: {rate:.1%} of these pairs"
        return Suggestion(wrong_max, confidence, best[0], rate, words)
    if failed is not None:
        words = f"no threshold: of the {failed[0]} most similar pairs {failed[1]} are wrong"
    else:
        words = f"too few pairs: {len(pairs)}, of the most similar at least {enough} are needed"
    return Suggestion(wrong_max, confidence, None, 0.0, words)


def as_text(points: Sequence[Point], suggestions: Sequence[Suggestion], rows: int = 20) -> str:
    """The curve as a table with bars, and what is suggested; for a terminal."""
    lines = [f"{'threshold':>9} {'hits':>7} {'wrong':>6}  wrong of hits, 95 % interval"]
    part = max(1, ceil(len(points) / rows))
    chosen = [point for n, point in enumerate(points) if n % part == 0 or n == len(points) - 1]
    most = max((point.high for point in chosen if point.hits >= _BAR), default=1.0)
    for point in chosen:
        bar = "█" * round(_BAR * min(1.0, point.wrong_rate / most))
        bar += "░" * (round(_BAR * min(1.0, point.high / most)) - len(bar))
        lines.append(
            f"{point.threshold:9.3f} {point.hit_rate:7.1%} {point.wrong_rate:6.2%}"
            f"  {point.low:6.2%} to {point.high:6.2%} {bar}"
        )
    for one in suggestions:
        lines.append(f"wrong hits ≤ {one.wrong_max:.1%} ({one.confidence:.0%} sure): {one.words}")
    return "\n".join(lines) + "\n"


def chart(points: Sequence[Point]) -> dict[str, list[tuple[float, float]]]:
    """Lines of a chart, hit rate across and wrong share of hits up: the share and its interval."""
    return {
        "wrong of hits": [(point.hit_rate, point.wrong_rate) for point in points],
        "at least": [(point.hit_rate, point.low) for point in points],
        "at most": [(point.hit_rate, point.high) for point in points],
    }


def _steps(pairs: Sequence[Judged]) -> list[tuple[float, int, int]]:
    """Threshold, hits, wrong: at each similarity that occurs, from the highest down."""
    steps: list[tuple[float, int, int]] = []
    passed = sorted((one for one in pairs if one.passed), key=lambda one: -one.similarity)
    wrong = 0
    for hits, one in enumerate(passed, 1):
        wrong += not one.correct
        if steps and steps[-1][0] == one.similarity:
            steps.pop()
        steps.append((one.similarity, hits, wrong))
    return steps
