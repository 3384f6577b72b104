"""What stands in one text alone, and whether the rest is in the same order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from selvedge.cache import english
from selvedge.cache.lexicon import Lexicon, lexicon
from selvedge.cache.reading import HARD
from selvedge.fabric.value import Value

_TYPO_CHARS_MIN: Final = 5
_JOINS: Final = frozenset({"and", "or", "=vs", "vs", "versus", "difference", "between"})
_EMPTY: Final = frozenset(
    ["a", "an", "the", "do", "does", "did", "is", "are", "was", "were", ",", "."]
)
_UNCOUNTED: Final = english.NEGATIONS | frozenset([",", "."])
"""Compared apart, or not at all."""
_WORDS_MAX: Final = 120
"""Longer texts are not compared in their order, and so do not agree."""


class Compared(Value, frozen=True):
    """Two texts beside each other."""

    clash: str | None = None
    shared: frozenset[str] = frozenset()
    """Words of both, as they stand in the kept one."""
    new: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    """The words of both, the new one's as the kept one has them."""
    renamed: Mapping[str, str] = MappingProxyType({})
    """Words of the new one that have a synonym in the kept one, and which."""


def compare(new: tuple[str, ...], kept: tuple[str, ...]) -> Compared:
    """Match the words of two texts, and see what is left over."""
    words = lexicon()
    alone_new, alone_kept = _alone(new, kept), _alone(kept, new)
    renamed = _explain(alone_new, alone_kept, words)
    for one, other in renamed.items():
        alone_new.remove(one)
        alone_kept.remove(other)
    alone_new = [word for word in alone_new if not _told(word, kept, words)]
    alone_kept = [word for word in alone_kept if not _told(word, new, words)]
    reason = (
        _left(_strong(alone_new, new), _strong(alone_kept, kept), words)
        or _soft(alone_new, alone_kept)
        or _rivals(alone_new, alone_kept)
    )
    if reason is not None:
        return Compared(reason)
    same = tuple(renamed.get(word, word).removeprefix(HARD) for word in new)
    bare = tuple(word.removeprefix(HARD) for word in kept)
    hard = frozenset(word[1:] for word in (*new, *kept) if word[0] == HARD)
    shared = frozenset(same) & frozenset(bare)
    return Compared(_turned(same, bare, hard), shared, same, bare, renamed)


def _alone(here: tuple[str, ...], there: tuple[str, ...]) -> list[str]:
    """Words of ``here`` that ``there`` has not, less what is silent; repeated ones count once."""
    others = {word.removeprefix(HARD) for word in there}
    found = dict.fromkeys(
        word
        for word in here
        if word.removeprefix(HARD) not in others
        and (word[0] == HARD or not (word in english.SILENT or word in _UNCOUNTED))
    )
    counts, more = Counter(here), Counter(there)
    for word in counts:
        if word[0] == HARD and word[1:2].isdigit() and counts[word] > max(more[word], 1):
            found[word] = None
    return list(found)


def _explain(new: list[str], kept: list[str], words: Lexicon) -> dict[str, str]:
    """Which word of one text stands for which of the other."""
    found: dict[str, str] = {}
    for one in new:
        for other in kept:
            if other not in found.values() and _stands(one, other, words):
                found[one] = other
                break
    return found


def _told(word: str, text: tuple[str, ...], words: Lexicon) -> bool:
    """Whether the other text says as much in a word that is already matched."""
    return word[0] != HARD and any(words.agree(word, other) for other in text)


def _stands(one: str, other: str, words: Lexicon) -> bool:
    if one[0] == HARD or other[0] == HARD:
        return False
    if one.rstrip("s") == other.rstrip("s") and not (one in words.words and other in words.words):
        return True
    return words.agree(one, other) or _misspelt(one, other, words)


def _misspelt(one: str, other: str, words: Lexicon) -> bool:
    """Whether one is the other with a slip: one word is English, the other none, a key apart."""
    if (one in words.words) == (other in words.words):
        return False
    if min(len(one), len(other)) < _TYPO_CHARS_MIN or one[0] != other[0]:
        return False
    return not any(map(str.isdigit, one + other)) and _one_slip(one, other)


def _one_slip(a: str, b: str) -> bool:
    """Damerau and Levenshtein's distance of one."""
    if len(a) > len(b):
        a, b = b, a
    at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(a) < len(b):
        return len(b) - len(a) == 1 and a[at:] == b[at + 1 :]
    swapped = a[at : at + 2] == b[at : at + 2][::-1] and a[at + 2 :] == b[at + 2 :]
    return a[at + 1 :] == b[at + 1 :] or swapped


def _left(strong: list[str], other: list[str], words: Lexicon) -> str | None:
    """Say what is not explained."""
    if not strong and not other:
        return None
    for one in strong:
        for two in other:
            if words.oppose(one, two):
                return f"{_shown(one)!r} is the opposite of {_shown(two)!r}"
    if strong and other:
        return f"one says {_shown(strong[0])!r}, the other {_shown(other[0])!r}"
    return f"only one says {_shown((strong or other)[0])!r}"


def _strong(alone: list[str], text: tuple[str, ...]) -> list[str]:
    """Of the words that stand in one text alone, those that bind it."""
    return [word for word in alone if word not in english.SOFT or not _apart(word, text, alone)]


def _apart(word: str, text: tuple[str, ...], alone: list[str]) -> bool:
    """Whether a soft word stands by itself: not beside a word that both texts have."""
    if word in english.WEAK:
        return True
    at = text.index(word)
    if word in english.MODIFIERS:  # "a new phone", and not "new mexico".
        return at + 1 == len(text) or lexicon().knows(text[at + 1]) or not text[at + 1].isalpha()
    if text[at + 1 : at + 2] and text[at + 1] in ("of", "for", "on"):
        return False  # "the status of", "a charge for": what is asked about.
    beside = text[max(at - 1, 0) : at] + text[at + 1 : at + 2]
    return all(one in english.SOFT or one in alone or not one[-1].isalnum() for one in beside)


def _soft(new: list[str], kept: list[str]) -> str | None:
    """Soft words in one text alone are let pass, in both they are one against the other."""
    a, b = (next((w for w in side if w not in english.WEAK), None) for side in (new, kept))
    return f"one says {a!r}, the other {b!r}" if a and b else None


def _shown(word: str) -> str:
    return word.removeprefix(HARD)


def _rivals(new: Iterable[str], kept: Iterable[str]) -> str | None:
    here, there = set(new), set(kept)
    for one, other in english.RIVALS:
        for a, b in ((here, there), (there, here)):
            if a & one and b & other:
                return f"one says {min(a & one)!r}, the other {min(b & other)!r}"
    here, there = here - english.LOOSE, there - english.LOOSE
    if len(here) == 1 == len(there) and not any(here | there <= group for group in english.ALIKE):
        return f"one says {min(here)!r}, the other {min(there)!r}"
    return None


def _turned(new: tuple[str, ...], kept: tuple[str, ...], hard: frozenset[str]) -> str | None:
    """Whether two words changed places: "A before B" and "B before A".

    Round a third word that both have, or with no other difference between the texts at all.
    """
    if max(len(new), len(kept)) > _WORDS_MAX:
        return "one is too long to compare"
    alike = set(new) - _EMPTY == set(kept) - _EMPTY
    places = [
        (at, kept.index(word), word)
        for at, word in enumerate(new)
        if new.count(word) == 1 == kept.count(word) and (word in hard or _places(word))
    ]
    if _clauses_swapped(new, kept, [w for _, _, w in places]):
        return None
    for i, (a1, b1, one) in enumerate(places):
        for a2, b2, two in places[i + 1 :]:
            if b1 > b2 and _round(new[a1 + 1 : a2], kept[b2 + 1 : b1], (one, two), alike):
                return f"{one!r} and {two!r} change places"
    return None


def _clauses_swapped(new: tuple[str, ...], kept: tuple[str, ...], words: list[str]) -> bool:
    """Whether one text is the other with the parts round a comma or full stop exchanged."""
    ordered = [[w for w in text if w in words] for text in (new, kept)]
    for text, other in ((new, ordered[1]), (kept, ordered[0])):
        for at, word in enumerate(text):
            if word in (",", ".") and [w for w in text[at:] + text[:at] if w in words] == other:
                return ordered[0] != ordered[1]
    return False


def _places(word: str) -> bool:
    return word not in english.WEAK and word not in _UNCOUNTED


def _round(
    between: tuple[str, ...], again: tuple[str, ...], pair: tuple[str, str], alike: bool
) -> bool:
    if pair[0][0].isdigit() and pair[1][0].isdigit():
        return not _JOINS & set(between)
    both = set(between) & set(again)
    if both & _JOINS:
        return False
    if alike and not any(word in english.LEADS for word in (*between, *again)):
        return True
    return any(word in english.LEADS or word not in english.SILENT for word in both)
