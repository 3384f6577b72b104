"""Which words mean as much as each other: WordNet's table and our own, read once when first asked.

The tables are files of the package, read as its code is: they are the same for everyone and never
change while a process runs. What they cost (a tenth of a second, twelve megabytes) is paid by the
process that judges similar questions, and by nobody else.

- `lexicon.txt`: WordNet's words, synonyms and opposites; `scripts/make_lexicon.py` makes it.
- `synonyms.txt` and `phrases.txt`: made by hand.
"""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Mapping
from typing import Final

from selvedge.cache import english
from selvedge.fabric.value import Value

_VERB_FORMS: Final = (
    *("do doing", "go going goes went gone", "get got gotten", "buy bought", "pay paid"),
    *("send sent", "lose lost", "steal stole stolen", "choose chose chosen", "find found"),
    *("forget forgot forgotten", "give gave given", "take took taken", "make made", "say said"),
    *("tell told", "think thought", "know knew known", "see saw seen", "come came"),
    *("become became", "begin began begun", "break broke", "bring brought", "build built"),
    *("catch caught", "draw drew drawn", "drink drank drunk", "drive drove driven", "beat beaten"),
    *("eat ate eaten", "fall fell fallen", "feel felt", "fight fought", "fly flew flown"),
    *("freeze froze frozen", "grow grew grown", "hear heard", "hide hid hidden", "hold held"),
    *("keep kept", "lead led", "learn learnt", "lend lent", "mean meant", "meet met"),
    *("ride rode ridden", "rise rose risen", "run ran", "sell sold", "shake shook", "sing sang"),
    *("sit sat", "sleep slept", "speak spoke spoken", "spend spent", "stand stood", "sing sung"),
    *("swim swam swum", "teach taught", "throw threw thrown", "understand understood"),
    *("wake woke", "wear wore worn", "win won", "withdraw withdrew withdrawn"),
    *("write wrote written", "cancel cancelled canceled canceling cancelling", "shoot shot"),
    *("travel travelled travelling", "die died dying", "lie lying", "tie tying", "show shown"),
    *("prove proven", "update updated updating", "refer referred", "verify verified"),
    *("bill billed", "fund funded funds", "miss missing", "sink sank sunk", "bite bit bitten"),
)
_NOUN_FORMS: Final = (
    *("man men", "woman women", "child children", "person people", "foot feet", "tooth teeth"),
    *("mouse mice", "fee fees", "atm atms", "pin pins", "app apps", "bus buses"),
    *("process processes", "address addresses", "business businesses", "access accesses"),
    *("currency currencies", "sum summed", "cost costs"),
)
_IRREGULAR: Final = {
    form: line.split()[0] for line in _VERB_FORMS + _NOUN_FORMS for form in line.split()[1:]
}
_VERBS: Final = frozenset(line.split()[0] for line in _VERB_FORMS)
_WHOLE: Final = english.words(
    "news goods means thanks sales series species physics mathematics politics economics always "
    "morning evening during nothing something anything everything king ring spring string thing "
    "less unless across perhaps whereas gas bus lens plus pass glass class press address access "
    "process business status virus campus us is as was has does this its yes his hers ours red bed "
    "need speed feed seed indeed exceed proceed succeed hundred sacred wicked naked glasses "
    "daily weekly monthly yearly hourly family reply apply supply only early likely lovely "
    "friendly hardly lately nearly shortly highly directly fairly july italy fly rely ally holy "
    "ugly "
    "customs arms works spectacles pants clothes stairs outing being building meeting"
)


class Lexicon(Value, frozen=True):
    """Words, their synonyms and opposites, and the phrases that are folded."""

    words: frozenset[str]
    """Plain English words: neither names nor misspelt."""
    synonyms: Mapping[str, frozenset[str]]
    opposites: Mapping[str, frozenset[str]]
    phrases: Mapping[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]]
    """By the first word: phrase and what stands for it, the longest first."""

    def stem(self, word: str) -> str:
        """The word without its inflection: plural, -ed, -ing, and -ly where it changes little."""
        if word in _IRREGULAR:
            return _IRREGULAR[word]
        if word in _WHOLE or len(word) < 4:
            return word
        for base in _bases(word):
            if len(base) > 2 and base in self.words:
                return self._spelt(base)
        return _guess(word) if len(word) > 6 and word not in self.words else self._spelt(word)

    def _spelt(self, word: str) -> str:
        """As Americans spell it."""
        if len(word) > 5:
            for british, american in (("is", "iz"), ("our", "or"), ("ys", "yz")):
                found = american.join(word.rsplit(british, 1))
                if found != word and found in self.words:
                    return found
        return word

    def past(self, word: str) -> bool:
        """Whether a verb is in its past form."""
        base = self.stem(word)
        regular = word.endswith("ed") and base != word
        return regular or (
            word in _IRREGULAR and base in _VERBS and not word.endswith(("ing", "s"))
        )

    def knows(self, word: str) -> bool:
        """Whether it is English: a plain word, or one that binds others."""
        return word in self.words or word in english.CLOSED or "-" in word

    def agree(self, a: str, b: str) -> bool:
        """Whether one may stand for the other."""
        return b in self.synonyms.get(a, ()) and b not in self.opposites.get(a, ())

    def oppose(self, a: str, b: str) -> bool:
        """Whether one is the opposite of the other."""
        return b in self.opposites.get(a, ())


def _guess(word: str) -> str:
    """The root of a word that is in no table: "unblocking"."""
    for end in ("ing", "ed"):
        if word.endswith(end):
            root = word[: -len(end)]
            return root[:-1] if root[-1] == root[-2] else root
    return word


def _bases(word: str) -> list[str]:
    if word.endswith("ies"):
        return [word[:-3] + "y", word[:-1]]
    if word.endswith("es"):
        return [word[:-1], word[:-2]]
    if word.endswith("s") and not word.endswith("ss"):
        return [word[:-1]]
    if word.endswith("ied"):
        return [word[:-3] + "y"]
    if word.endswith("eed"):
        return [word[:-1]] if word.endswith(("greed", "freed", "anteed")) else []
    for end in ("ed", "ing"):
        if word.endswith(end):
            root = word[: -len(end)]
            if root.endswith(("ss", "ll", "ff", "zz", "dd")):
                return [root, root[:-1]]
            doubled = [root[:-1]] if len(root) > 3 and root[-1] == root[-2] else []
            silent = [root + "e"]
            vowel = [root] if any(c in "aeiouy" for c in root) else []
            return doubled + silent + vowel if root[-1:] in "csvzgu" else doubled + vowel + silent
    if word.endswith("ily"):
        return [word[:-3] + "y"]
    if word.endswith("ly"):
        return [word[:-2]]
    return []


@functools.cache
def lexicon() -> Lexicon:
    """The one table."""
    synonyms: dict[str, set[str]] = {}
    opposites: dict[str, set[str]] = {}
    groups = [line.split() for line in _lines("synonyms.txt")]
    words = {word for group in groups for word in group} | set(english.UNITS.values())
    lines = [line.split("\t") for line in _lines("lexicon.txt")]
    words.update(line[0] for line in lines)
    words.update(word for of in _phrases().values() for _, stands in of for word in stands)
    bare = Lexicon(frozenset(words), {}, {}, {})
    for word, *cells in lines:
        for table, cell in zip((synonyms, opposites), cells, strict=False):
            for found in cell.split():
                _both_ways(table, bare.stem(word), bare.stem(found))
    for group in groups:
        stems = [bare.stem(word) for word in group]
        for at, one in enumerate(stems):
            for other in stems[at + 1 :]:
                _both_ways(synonyms, one, other)
    return Lexicon(
        bare.words,
        {word: frozenset(found) for word, found in synonyms.items()},
        {word: frozenset(found) for word, found in opposites.items()},
        _phrases(),
    )


def _lines(name: str) -> list[str]:
    data = pkgutil.get_data("selvedge.cache", name) or b""
    return [line for line in data.decode().splitlines() if line[:1] != "#"]


def _both_ways(table: dict[str, set[str]], one: str, other: str) -> None:
    table.setdefault(one, set()).add(other)
    table.setdefault(other, set()).add(one)


def _phrases() -> dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]]:
    found: dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
    for line in _lines("phrases.txt"):
        left, _, right = line.partition("=")
        words = tuple(left.split())
        found.setdefault(words[0], []).append((words, tuple(right.split())))
    return {first: tuple(sorted(of, key=lambda one: -len(one[0]))) for first, of in found.items()}
