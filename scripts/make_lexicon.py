"""Make the cache's word table out of WordNet 3.0 (Debian: `wordnet-base`).

    python scripts/make_lexicon.py /usr/share/wordnet VOCABULARY > src/selvedge/cache/lexicon.txt

VOCABULARY is a list of words, one a line (the bundled embedder's `vocab.txt`): a word is taken when
it is in there, or when WordNet's own texts use it. Of synonyms only those are kept that share the
sense in which both words are mostly used; of forms derived from one another only a verb's event
("cancel", "cancellation"), never its people ("employer", "employee").
"""

from __future__ import annotations

import collections
import sys
from pathlib import Path

FILES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
PARTS = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}
EVENTS = ("ation", "ition", "tion", "sion", "ment", "al", "ance", "ence", "ure", "ery", "ing", "y")
PEOPLE = ("er", "or", "ee", "ist", "ant", "ent", "man")
DENIED = Path(__file__).with_name("lexicon_denied.txt")
NOTICE = """\
# Made by scripts/make_lexicon.py out of WordNet 3.0; do not edit.
# WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved.
# Its licence, which permits use, change and distribution, is in NOTICE at the root of the source.
# One word a line: the word, its synonyms, its opposites; each pair once."""

Pair = tuple[str, str]


def pair(a: str, b: str) -> Pair:
    """Two words in the order of the alphabet."""
    return (a, b) if a < b else (b, a)


class WordNet:
    """The files of WordNet, read."""

    def __init__(self, folder: Path) -> None:
        self.uses: dict[Pair, dict[int, int]] = collections.defaultdict(dict)
        for line in (folder / "cntlist.rev").read_text().splitlines():
            sense, number, count = line.split()
            lemma, rest = sense.split("%")
            self.uses[lemma, PARTS[rest[0]]][int(number)] = int(count)
        self.total: dict[str, int] = collections.Counter()
        for (lemma, _), counts in self.uses.items():
            self.total[lemma] += sum(counts.values())
        self.senses: dict[Pair, list[str]] = {}
        self.sets: dict[Pair, tuple[list[str], list[tuple[str, str, str, str]]]] = {}
        for part, name in FILES.items():
            self._read(part, folder, name)

    def _read(self, part: str, folder: Path, name: str) -> None:
        for line in (folder / f"index.{name}").read_text().splitlines():
            if not line.startswith("  "):
                fields = line.split()
                self.senses[fields[0], part] = fields[6 + int(fields[3]) :]
        for line in (folder / f"data.{name}").read_text().splitlines():
            if not line.startswith("  "):
                fields = line.split(" | ")[0].split()
                count = int(fields[3], 16)
                words = [fields[4 + 2 * i].split("(")[0] for i in range(count)]
                at = 5 + 2 * count
                links = int(fields[at - 1])
                self.sets[part, fields[0]] = (
                    words,
                    [
                        (fields[i], fields[i + 1], fields[i + 2], fields[i + 3])
                        for i in range(at, at + 4 * links, 4)
                    ],
                )

    def mostly(self, word: str, part: str, sense: str) -> bool:
        """Whether this is what the word mostly means."""
        senses = self.senses.get((word, part), [])
        if sense not in senses:
            return False
        number = senses.index(sense) + 1
        counts = self.uses.get((word, part), {})
        total = sum(counts.values())
        if total < 0.25 * self.total[word]:
            return False
        return number == 1 or (total >= 5 and counts.get(number, 0) >= 0.35 * total)


def derived(a: str, b: str) -> bool:
    """Whether one is the event that the other, a verb, names."""
    short, long = sorted((a, b), key=len)
    stem = short[: max(3, len(short) - 2)]
    event = long.startswith(stem) and long.endswith(EVENTS)
    return event and not short.endswith(PEOPLE) and not long.endswith(PEOPLE)


def main() -> None:
    """Print the table."""
    net = WordNet(Path(sys.argv[1]))
    listed = set(Path(sys.argv[2]).read_text("utf-8").split())
    denied = {line for line in DENIED.read_text().split() if "/" in line}
    never = set(DENIED.read_text().split()) - denied
    every = {w for words, _ in net.sets.values() for w in words if w.isalpha() and w.islower()}
    known = {w for w in every if len(w) > 1 and (w in listed or net.total[w] > 0)}
    opposites: set[Pair] = set()
    synonyms: set[Pair] = set()
    for (part, sense), (words, links) in net.sets.items():
        for sign, to, kind, ends in links:
            if sign in "!+" and ends != "0000":
                a = words[int(ends[:2], 16) - 1].lower()
                b = net.sets["a" if kind == "s" else kind, to][0][int(ends[2:], 16) - 1].lower()
                if a != b and a in known and b in known:
                    if sign == "!":
                        opposites.add(pair(a, b))
                    elif derived(a, b):
                        synonyms.add(pair(a, b))
        same = [w for w in words if w in known and len(w) > 2 and net.mostly(w, part, sense)]
        synonyms |= {pair(a, b) for a in same for b in same if a < b}
    synonyms = {p for p in synonyms - opposites if "/".join(p) not in denied}
    synonyms = {(a, b) for a, b in synonyms if a not in never and b not in never}
    print(NOTICE)
    for word in sorted(known):
        cells = [" ".join(sorted(b for a, b in of if a == word)) for of in (synonyms, opposites)]
        print("\t".join([word, *cells]).rstrip())


if __name__ == "__main__":
    main()
