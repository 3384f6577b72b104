"""What a sentence asks, of whom, when, and what it denies: read off its folded words."""

from __future__ import annotations

from typing import Final

from selvedge.cache import english
from selvedge.cache.reading import HARD, STOP
from selvedge.fabric.value import Value

ALWAYS_ASK: Final = english.words(
    "how why what how-long how-long-take how-much how-many how-often how-far how-old how-big "
    "what-time what-day what-happens"
)
"""Ask wherever they stand; others only where a clause begins, because they also join clauses."""
SOMETIMES_ASK: Final = english.words("who whom whose when where which")
_ANY: Final = ALWAYS_ASK | SOMETIMES_ASK
_SAME: Final = {"whom": "who", "which": "what"}
_TELLING: Final = english.words("know tell see sure ask about find check and so in at for to")
_AUXILIARY: Final = {
    **dict.fromkeys(("is", "are", "am", "do", "does"), "now"),
    **dict.fromkeys(("was", "were", "did", "had"), "past"),
    **dict.fromkeys(("will",), "later"),
    **dict.fromkeys(("has", "have"), "done"),
    "would": "would",
    **dict.fromkeys(("can", "could", "may", "might", "must", "should", "shall"), ""),
}
_PERSONS: Final = {
    **dict.fromkeys(("i", "we"), "I"),
    **dict.fromkeys(("me", "us"), "me"),
    **dict.fromkeys(("my", "our", "mine", "ours"), "my"),
    **dict.fromkeys(("your", "yours"), "your"),
    "you": "you",
}
_DUTIES: Final = (
    ("can", english.CAN),
    ("must", english.MUST),
    ("ought", english.OUGHT),
    ("will", english.WILL),
)


class Sentence(Value, frozen=True):
    """What `gates.Slots` keeps of a text."""

    words: tuple[str, ...]
    asks: str
    tense: str
    duties: tuple[str, ...]
    persons: tuple[str, ...]
    denied: tuple[str, ...]
    leads: tuple[tuple[str, str], ...]


def examine(found: list[str]) -> Sentence:
    """Read folded tokens."""
    asks = _asks(found)
    return Sentence(
        tuple(found),
        asks,
        _tense(found),
        tuple(name for name, said in _DUTIES if any(word in said for word in found)),
        _persons(found),
        _denied(found),
        _leads(found),
    )


def _asks(found: list[str]) -> str:
    """The kind of question; the first one's, where there are several."""
    for at, word in enumerate(found[:-2]):
        if word in _ANY and found[at + 1] in ("and", "or") and found[at + 2] in _ANY:
            return " and ".join(sorted((word, found[at + 2])))
    begins = True
    first = side = ""
    for at, word in enumerate(found):
        if word in ALWAYS_ASK:
            return _SAME.get(word, word)
        before = found[at - 1] if at else STOP
        if word in SOMETIMES_ASK and (begins or before in _TELLING):
            if not _joins(found, at):
                return _SAME.get(word, word)
            side = side or word
        if begins and not first and word in _AUXILIARY:
            first = "yes"
        begins = word in (STOP, ",") or (begins and word in ("and", "but", "so", "please"))
    return first or side


def _joins(found: list[str], at: int) -> bool:
    """Whether the word begins a side clause: "when I travel", and not "when do I travel"."""
    after = found[at + 1 : at + 2]
    return found[at] in ("when", "where") and after != [] and after[0] in ("i", "my", "you", "we")


def _tense(found: list[str]) -> str:
    """Of the first auxiliary that says one."""
    for at, word in enumerate(found):
        tense = _AUXILIARY.get(word)
        if tense and (tense != "done" or _opens(found, at)):
            return tense
        if word == "how" and found[at + 1 : at + 2] in (["i"], ["you"]):
            return "now"  # "How do I", folded.
    return "done" if "has" in found else ""


def _persons(found: list[str]) -> tuple[str, ...]:
    out: list[str] = []
    for at, word in enumerate(found):
        person = _PERSONS.get(word)
        if person == "you" and at and found[at - 1] in english.OBJECT_AFTER:
            person = "thee"
        if person is not None and (not out or out[-1] != person):
            out.append(person)
    return tuple(out)


def _denied(found: list[str]) -> tuple[str, ...]:
    """The first word after each negation that says something."""
    out: list[str] = []
    waiting = False
    for at, word in enumerate(found):
        if word in (STOP, ","):
            if waiting and out[-1:] != [""]:
                out.append("")
            waiting = False
        elif word in english.NEGATIONS:
            # "No, I mean ..." denies nothing of what follows.
            alone = found[at + 1 : at + 2] in ([","], [STOP]) and found[at - 1 : at] in ([], [STOP])
            waiting = not (word == "no" and alone)
            if waiting and at and found[at - 1] in _AUXILIARY and _opens(found, at - 1):
                out.append("?")  # "Isn't it late?": what is denied comes after the subject.
                waiting = False
        elif waiting and word not in english.SILENT and word not in ("yet", "still", "get"):
            out.append(word.removeprefix(HARD))
            waiting = False
    return tuple([*out, ""] if waiting else out)


def _opens(found: list[str], at: int) -> bool:
    """Whether a clause begins here, or a question word stands before."""
    before = found[at - 1] if at else STOP
    return before in (STOP, ",") or before in _ANY


def _leads(found: list[str]) -> tuple[tuple[str, str], ...]:
    out: list[tuple[str, str]] = []
    lead, bound = "", False
    for word in found:
        says = english.LEADS.get(word)
        if says is not None:
            lead, bound = says, False
        elif word in english.ARTICLES or word in _PERSONS or word in ("this", "that", "these"):
            bound = bound or False
            if bound:
                lead, bound = "", False
        elif word in (STOP, ",", "and", "or", "but") or word in english.SILENT:
            if lead and not bound:
                out.append(("", lead))
            lead, bound = "", False
        elif lead:
            out.append((word.removeprefix(HARD), lead))
            bound = True
    if lead and not bound:
        out.append(("", lead))
    return tuple(out)
