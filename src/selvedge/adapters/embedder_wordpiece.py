"""WordPiece: a text as the numbers of its pieces, as BERT's uncased models read it.

Devlin et al., 2018: lower case, accents off, punctuation and CJK signs apart, then for each word
the longest piece of the vocabulary, again and again; a word that cannot be pieced together is
unknown. Special tokens in a text are not special: they are brackets and letters.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Final

TOKENS_MAX: Final = 256
"""What the model was made for; the rest of a longer text is not read."""
_WORD_CHARS_MAX: Final = 100
_WORDS_KEPT: Final = 20_000
_CJK: Final = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)
_SPACE, _APART, _INSIDE, _NOTHING = range(4)


class WordPiece:
    """A vocabulary and what was read with it; raises `ValueError` where it is not BERT's."""

    def __init__(self, vocabulary: Path) -> None:
        lines = vocabulary.read_text(encoding="utf-8").split("\n")
        self._ids = {piece: number for number, piece in enumerate(lines) if piece}
        for special in ("[UNK]", "[CLS]", "[SEP]", "[PAD]"):
            if special not in self._ids:
                raise ValueError(f"{vocabulary.name} has no {special}")
        self._unknown = (self._ids["[UNK]"],)
        self._word = lru_cache(_WORDS_KEPT)(self._pieces)

    def read(self, text: str, tokens_max: int = TOKENS_MAX) -> list[int]:
        """The numbers, with the marks of beginning and end."""
        ids = [self._ids["[CLS]"]]
        for word in _words(text):
            ids += self._word(word)
            if len(ids) >= tokens_max:
                break
        del ids[tokens_max - 1 :]
        ids.append(self._ids["[SEP]"])
        return ids

    def _pieces(self, word: str) -> tuple[int, ...]:
        if len(word) > _WORD_CHARS_MAX:
            return self._unknown
        found: list[int] = []
        start = 0
        while start < len(word):
            front = "##" if start else ""
            for stop in range(len(word), start, -1):
                number = self._ids.get(front + word[start:stop])
                if number is not None:
                    break
            else:
                return self._unknown
            found.append(number)
            start = stop
        return tuple(found)


def _words(text: str) -> list[str]:
    text = text.lower() if text.isascii() else unicodedata.normalize("NFD", text.lower())
    words: list[str] = []
    word = ""
    for char in text:
        kind = _kind(char)
        if kind == _INSIDE:
            word += char
        elif kind != _NOTHING:
            if word:
                words.append(word)
                word = ""
            if kind == _APART:
                words.append(char)
    if word:
        words.append(word)
    return words


@lru_cache(8192)
def _kind(char: str) -> int:
    """Where a character belongs; the ASCII signs stand apart although some are no punctuation."""
    if char in " \t\n\r":
        return _SPACE
    category = unicodedata.category(char)
    code = ord(char)
    if category == "Zs":
        return _SPACE
    if category in ("Mn", "Cc", "Cf", "Co", "Cs") or code == 0xFFFD:
        return _NOTHING
    if category[0] == "P" or (code < 128 and not char.isalnum()):
        return _APART
    if code >= 0x3400 and any(first <= code <= last for first, last in _CJK):
        return _APART
    return _INSIDE
