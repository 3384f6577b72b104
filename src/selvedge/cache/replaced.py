"""What stands in the place of what: two texts that are alike but for a word or two.

A long question holds many words twice: "I want to send it, did you receive it" and "I want to
receive it, did you receive it" have the same set. Where most of two texts is the same, in the same
order, what stands between the same neighbours is compared as well: a person with a person, a
question word with another, a word of matter with any other.
"""

from __future__ import annotations

import difflib
from typing import Final

from selvedge.cache import english
from selvedge.cache.lexicon import Lexicon

ALIKE_MIN: Final = 0.6
"""Of the words of both texts, how many must be the same for places to mean something."""
_BLOCK_MAX: Final = 3

_FIRST: Final = english.words("i me my mine we us our ours myself")
_SECOND: Final = english.words("you your yours yourself")
_THIRD: Final = english.words("he him his himself she her hers herself they them their it its")
_ASKING: Final = english.words(
    "how why when where who whom whose what which how-long how-much how-many how-often"
)
_JOINING: Final = english.words("and or nor unless")
_POINTING: Final = english.words("this these that those")
_AMOUNTS: Final = english.words("all some any no both either few many most several")
_PAST: Final = english.words("did was were had")
_SLOTS: Final = (
    *(_FIRST | _SECOND | _THIRD, _ASKING, _JOINING, _POINTING, _AMOUNTS),
    _PAST | english.WILL,
)
"""One of these in the place of another turns a question round."""
_GROUPS: Final = (
    *(_FIRST, _SECOND, _PAST),
    *map(english.words, ("what which", "this these", "that those", "some any several")),
)
"""But not one of these."""
_NOT_WORDS: Final = english.SILENT | english.LOOSE | english.words("not no , .")


def replaced(
    new: tuple[str, ...], kept: tuple[str, ...], asks: tuple[str, str], words: Lexicon
) -> str | None:
    """Say which word stands in whose place, and turns the question round; None: none does."""
    new, kept = sorted((new, kept))  # The same either way round.
    match = difflib.SequenceMatcher(None, new, kept, autojunk=False)
    if match.ratio() < ALIKE_MIN:
        return None
    if sum(word in english.NEGATIONS for word in new) != sum(
        word in english.NEGATIONS for word in kept
    ):
        return "one denies more than the other"
    general = asks == ("how", "how") and _one_person(new) and _one_person(kept)
    asking = _ASKING if asks[0] == asks[1] else frozenset()  # Else it was compared and let pass.
    for kind, a, b, c, d in match.get_opcodes():
        if kind == "replace" and b - a <= _BLOCK_MAX and d - c <= _BLOCK_MAX:
            here = [word for word in new[a:b] if word not in kept[c:d]]
            there = [word for word in kept[c:d] if word not in new[a:b]]
            for one in here:
                for other in there:
                    if not {one, other} & (_ASKING - asking) and _rivals(
                        one, other, words, general
                    ):
                        return f"{one!r} stands where the other has {other!r}"
    return None


def _one_person(text: tuple[str, ...]) -> bool:
    """Whether the text speaks of me or of you alone: "how do you" asks as "how do I" does."""
    return not (_FIRST & set(text) and _SECOND & set(text))


def _rivals(one: str, other: str, words: Lexicon, general: bool) -> bool:
    for slot in _SLOTS:
        if one in slot and other in slot:
            if general and {one, other} <= _FIRST | _SECOND:
                return False
            return not any(one in group and other in group for group in _GROUPS)
    leads = english.LEADS.get(one), english.LEADS.get(other)
    if all(leads):
        return frozenset(leads) in english.LEAD_RIVALS
    if one in _NOT_WORDS or other in _NOT_WORDS or any(leads):
        return False
    if any({one, other} <= group for group in english.ALIKE):
        return False
    return not words.agree(one, other)
