"""From a question and its nearest kept entries to the `Pair` that deciders see."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from selvedge.cache.deciding import NEAR, Pair

NEIGHBOURS: Final = 32
"""How many of the nearest entries are looked at; `pair_of` takes fewer or more."""
COMPARED_MAX: Final = 2
"""With how many answers more a new one is compared that is not its neighbour's."""
_WORD: Final = re.compile(r"\w+")
_EMPTY: Final = (
    "a about an and any are as at be been but by can could did do does for from get got had has"
    " have how i if in is it its me my of on or our please should so some than that the their"
    " them there these they this to us was we were what when where which who why will with would"
    " you your"
)
_EMPTY_WORDS: Final = frozenset(_EMPTY.split())


def content_words(text: str) -> frozenset[str]:
    """The words of a text that say what it is about; what only other languages have is content."""
    return frozenset(word for word in _WORD.findall(text.lower()) if word not in _EMPTY_WORDS)


def pair_of(
    near: Sequence[tuple[float, str]], chosen: int, new: str, words: frozenset[str] | None = None
) -> Pair:
    """The pair of the question ``new`` and entry ``chosen`` of ``near``.

    ``near`` are the nearest entries as (similarity, cluster), most similar first; those before
    ``chosen`` were turned away by the gates. ``words`` are the chosen entry's `content_words`;
    None, where they are not at hand: they count as none in common. Where all of ``near`` has one
    answer, the rival is taken to be as similar as the last: it can be no nearer.
    """
    similarity, cluster = near[chosen]
    rival, others, agree = -1.0, set[str](), 0
    for number, (other, its) in enumerate(near):
        if number == chosen:
            continue
        if its != cluster:
            rival = max(rival, other)
        if other > similarity - NEAR:
            if its == cluster:
                agree += 1
            else:
                others.add(its)
    if rival < 0.0 and len(near) >= NEIGHBOURS:
        rival = near[-1][0]
    own = content_words(new)
    either = len(own | words) if words is not None else 0
    overlap = len(own & words) / either if words is not None and either else 0.0
    return Pair(similarity, rival, len(others), overlap, len(new.split()), agree)


def also_compared(near: Sequence[tuple[float, str]], chosen: int) -> list[int]:
    """Which of ``near`` a new answer is compared with where it is not the chosen one's (-1: where
    none was chosen): the nearest entry of each of the next clusters, those that the gates turned
    away too. The question joins the first cluster whose answer it has.

    This is no hit and needs no gate: it only tells which entries share an answer. Without it, an
    answer falls into many clusters, which look like rivals of each other, and fewer hits are sure.
    """
    seen = {near[chosen][1]} if chosen >= 0 else set[str]()
    found: list[int] = []
    for number, (_, cluster) in enumerate(near):
        if cluster not in seen:
            seen.add(cluster)
            found.append(number)
            if len(found) == COMPARED_MAX:
                break
    return found
