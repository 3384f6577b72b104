"""What two similar questions must agree on before one may have the other's answer.

An embedder puts "turn it on" beside "turn it off": it sees what a text is about, and hardly what it
says. The gates look at the rest, and they trust a closed world: **whatever stands in one text alone
must be explained**, by a synonym in the other or by saying nothing (`english.WEAK`). What is not
explained clashes: a number, a name, a word of code, an opposite, or a word that nobody thought of.
Over that, both must ask the same kind of question, in the same time, of the same persons, with the
same duty (can, must, should), deny the same words, and put them in the same roles: "from A to B",
"A before B", "A pays B".

In a language that the gates do not read, texts agree only when they are equal but for case and
punctuation.

Refuses to know: similarities, thresholds, scopes.
"""

from __future__ import annotations

from typing import Final

import msgspec

from selvedge.cache import english
from selvedge.cache.comparing import Compared, compare
from selvedge.cache.lexicon import lexicon
from selvedge.cache.reading import HARD, flat, is_english, read
from selvedge.cache.replaced import replaced
from selvedge.cache.sentence import examine

FORM: Final = 1
"""Raise it whenever the same text would have other slots."""


class Slots(msgspec.Struct, frozen=True, array_like=True):
    """What the gates compare of one text; made by `slots_of` and kept beside the entry."""

    form: int
    """Of the gates that made it: those of another version are never compared."""
    flat: str = ""
    """The text without case and punctuation, where it is in no language that is read."""
    words: tuple[str, ...] = ()
    """In their order; see `cache.reading`."""
    asks: str = ""
    """What kind of question: how, who, when, yes (or no)...; "": it states or commands."""
    tense: str = ""
    duties: tuple[str, ...] = ()
    """Of can, must, ought and will, those that are said."""
    persons: tuple[str, ...] = ()
    """As subjects and objects, in their order."""
    denied: tuple[str, ...] = ()
    """Words after a negation."""
    leads: tuple[tuple[str, str], ...] = ()
    """Words and the preposition before them."""


def slots_of(text: str) -> Slots:
    """What the gates compare of ``text``."""
    words = lexicon()
    tokens = read(text, words)
    if not is_english(text, tokens, words):
        return Slots(FORM, flat(text))
    found = examine(tokens)
    return Slots(
        FORM,
        "",
        found.words,
        found.asks,
        found.tense,
        found.duties,
        found.persons,
        found.denied,
        found.leads,
    )


def clash(new: Slots, kept: Slots) -> str | None:
    """Why ``new`` may not have the answer of ``kept``; None where nothing speaks against it."""
    if new.form != kept.form:
        return "one was read by another version of the gates"
    if new.flat or kept.flat:
        if new.flat == kept.flat:
            return None
        both = new.flat and kept.flat
        return "says it differently, in a language that is not read" if both else "languages differ"
    if new.words == kept.words:
        return None
    compared = compare(new.words, kept.words)
    return (
        compared.clash
        or _kinds(new, kept)
        or _duties(new, kept)
        or _denied(new, kept, compared)
        or _roles(new, kept, compared)
        or _leads(new, kept)
        or replaced(compared.new, compared.kept, (new.asks, kept.asks), lexicon())
    )


_KINDS: Final = frozenset(
    {
        *(frozenset(("", kind)) for kind in ("how", "why", "what")),
        frozenset(("what", "how-much")),
        frozenset(("when", "what-time")),
        frozenset(("when", "what-day")),
        frozenset(("when", "how-long-take")),
        frozenset(("how-long", "how-long-take")),
    }
)
"""Kinds of question that may have one answer; "" only states or commands."""
_CAN_KINDS: Final = frozenset(("", "how", "why", "where"))
"""Kinds of question in which "can" says nothing: "how can I" is "how do I"."""
_NEED_KINDS: Final = ("yes", "who", "when", "where")
_GETS: Final = english.words("get find see access obtain buy purchase order locate")
"""How one gets a thing is often where."""


def _kinds(new: Slots, kept: Slots) -> str | None:
    """Whether they ask for the same kind of answer, about the same time."""
    a, b = new.asks, kept.asks
    if a != b and not _same_kind(new, kept):
        return f"one asks {a or 'nothing'!r}, the other {b or 'nothing'!r}"
    if a == b and a in _NEED_KINDS and _needs(new) != _needs(kept):
        return "only one asks what is needed"
    if not new.tense or not kept.tense or new.tense == kept.tense:
        return None
    times = {new.tense, kept.tense}
    if "would" in times and "later" in times:
        return None
    if "later" in times and "now" not in times:
        return "one asks of the past, the other of the future"
    own = (_speaks_of_self(new) or _speaks_of_self(kept)) and (
        times == {"now", "later"} or {a, b} <= {"", "why", "how"}
    )
    if times == {"past", "done"} or (own and "did" not in new.words + kept.words):
        return None
    return "the times differ"


def _needs(slots: Slots) -> bool:
    return "need" in slots.words or "want" in slots.words


def _same_kind(new: Slots, kept: Slots) -> bool:
    a, b = new.asks, kept.asks
    kinds = {a, b}
    if kinds == {"how", "where"}:
        return all(_GETS & set(of.words) for of in (new, kept))
    if kinds in ({"how", "yes"}, {"", "yes"}):
        asker = new if a == "yes" else kept
        return "can" in asker.duties or not a or not b
    return frozenset(kinds) in _KINDS


def _speaks_of_self(slots: Slots) -> bool:
    return bool({"I", "my", "me"} & set(slots.persons))


def _duties(new: Slots, kept: Slots) -> str | None:
    a, b = set(new.duties), set(kept.duties)
    for duty in ("must", "ought"):
        if (duty in a) != (duty in b):
            return f"only one asks what {duty} be done"
    kinds = {new.asks, kept.asks}
    own = _speaks_of_self(new) or _speaks_of_self(kept)
    if ("can" in a) != ("can" in b) and not (own or kinds & _CAN_KINDS):
        return "only one asks what can be"
    if ("will" in a - b and "can" in b - a) or ("will" in b - a and "can" in a - b):
        return "one asks what will be, the other what can be"
    return None


def _denied(new: Slots, kept: Slots, compared: Compared) -> str | None:
    if bool(new.denied) != bool(kept.denied):
        return "only one denies something"
    if "?" in new.denied or "?" in kept.denied:
        return None
    here = {compared.renamed.get(word, word) for word in new.denied}
    apart = (here ^ set(kept.denied)) & compared.shared
    return f"only one denies {min(apart)!r}" if apart else None


def _roles(new: Slots, kept: Slots, compared: Compared) -> str | None:
    a, b = new.persons, kept.persons
    if a == b:
        return None
    mine, yours = {"I", "me", "my"}, {"you", "thee", "your"}
    if mine & set(a) and yours & set(a) and mine & set(b) and yours & set(b):
        if not _within(_subjects(a), _subjects(b)):
            return "who does it to whom differs"
    elif "your" in a and "my" in b and "my" not in a and "your" not in b:
        return "one speaks of yours, the other of mine"
    elif "my" in a and "your" in b and "your" not in a and "my" not in b:
        return "one speaks of mine, the other of yours"
    if new.asks == kept.asks == "yes" and {_subjects(a), _subjects(b)} == {("I",), ("you",)}:
        return "one asks about me, the other about you"
    if {"thee", "me"} <= {*a, *b} and not ({"thee", "me"} <= {*a} or {"thee", "me"} <= {*b}):
        return "one speaks to you, the other of me"
    if ("I" in a) != ("I" in b) and ("me" in a) != ("me" in b) and ("I" in a) != ("me" in a):
        return "who does it to whom differs"
    return None


def _subjects(persons: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(person for person in persons if person in ("I", "me", "you", "thee"))


def _within(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """Whether the shorter comes, in its order, in the longer."""
    if len(a) > len(b):
        a, b = b, a
    rest = iter(b)
    return all(person in rest for person in a)


def _leads(new: Slots, kept: Slots) -> str | None:
    here, there = dict(new.leads), dict(kept.leads)
    for a, b, texts in ((here, there, kept), (there, here, new)):
        for word, lead in a.items():
            other = b.get(word)
            if other is None:
                loose = lead == "from" and (not word or HARD + word in texts.words)
            else:
                named = HARD + word in texts.words
                rivals = english.NAME_LEAD_RIVALS if named else english.LEAD_RIVALS
                loose = frozenset((lead, other)) in rivals
            if loose:
                return f"one says {lead!r} {word!r}, the other does not"
    return None
