"""From a text to its words: taken apart, folded and stemmed, so that equal things look equal.

A token is a stem; with `=` in front it is *hard*: a name, a number, code, an address, a word in
quotes or in capitals. Hard tokens have no synonyms and are never silent. `.` ends a sentence.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from selvedge.cache import english
from selvedge.cache.lexicon import Lexicon

HARD: Final = "="
STOP: Final = "."

_QUOTES: Final = str.maketrans(
    dict.fromkeys("‘’‛ʼ´", "'") | dict.fromkeys("“”„«»", '"') | dict.fromkeys("−–—", "-")
)
_INVISIBLE: Final = re.compile(r"[\u00ad\u200b-\u200f\u2060\ufeff\ufe0f]")
_TOKEN: Final = re.compile(
    r"""
    (?P<code>`[^`]+`|https?://\S+|www\.\S+|[^\s@<>()]+@[^\s@]+\.\w+
      |(?<!\S)--?[A-Za-z][\w-]*
      |(?<![\w/])(?:~|\.{1,2})?/[\w.-]+(?:/[\w.*-]*)*|\b[A-Za-z]:\\\S+|\b\w+(?:/[\w.-]+){2,})
    |(?P<date>\b\d{1,4}([-/.])\d{1,2}\3\d{1,4}\b)
    |(?P<time>\b\d{1,2}(?::\d\d){1,2}(?:\s?[ap]\.?m\b\.?)?|\b\d{1,2}\s?[ap]\.?m\b\.?)
    |(?P<number>(?<![\w.])-?\d+(?:[.,]\d+)*|\d+(?:[.,]\d+)*)
    |(?P<short>\b(?:[A-Za-z]\.){2,})
    |(?P<name>[A-Za-z_]\w*(?:(?:\.|::|_)[a-z_]\w*)+(?:\(\))?|[A-Za-z]*_\w+|[A-Za-z]+\d\w*
      |[A-Za-z]\w*\(\)|[a-z]+[A-Z]\w*|\b[A-Za-z]\#|\b[A-Za-z]\+\+)
    |(?P<word>[^\W\d_]+(?:'[^\W\d_]+)*)
    |(?P<sign>[=!<>]=+|=>|->|<-|&&|\|\||\+\+|--|\*\*|<<|>>|::|[+*%&|^~@\#$€£¥₹<>=]|!(?=\w))
    |(?P<stop>[.?!;]+|\n)
    |(?P<quote>")
    |(?P<other>[^\s\w])
    """,
    re.VERBOSE,
)
_TRAILING: Final = ".,;:!?)'\""
_LOUD: Final = frozenset({"it", "us", "who", "may", "will", "mark"})
"""Words that say nothing in small letters, and a name in capitals."""
_SIGNS: Final = {sign: english.UNITS[sign] for sign in "$€£¥₹"}
"""Written before the number or after it."""
_ASKED: Final = english.words("what where how who it that there when why here he she")
"""With `'s` they are; others own."""
_NOUNS: Final = english.words(
    "if while for and or not when any with as is in on off to from by out up down no yes "
    "used known unknown given taken needed wanted liked looking helping sure possible certain"
)
"""Words that say little, and do after one of `_DETERMINERS`: "a for loop", "buy a used car"."""
_DETERMINERS: Final = english.words("a an the any some buy sell my your")
_WORKS: Final = {
    **dict.fromkeys(("work", "complete", "succeed", "function"), "fail"),
    **dict.fromkeys(("correct", "accurate"), "wrong"),
}
"""What a negation before it makes of a word."""
_QUOTED_WORDS_MAX: Final = 4


def read(text: str, words: Lexicon) -> list[str]:
    """The tokens of a text, folded."""
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).translate(_QUOTES)
    return _failing(_fold(_marked(_join_numbers(_split(plain)), words), words))


def flat(text: str) -> str:
    """A text without case and punctuation: all that is compared in a language we do not read."""
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold()
    return " ".join(re.findall(r"\w+|[^\s\w.,;:!?¿¡。，、！？؟'\"’]", plain))


def is_english(text: str, tokens: list[str], words: Lexicon) -> bool:
    """Whether all letters of a text are Latin, and most of its plain words English."""
    if not text.isascii() and not all(map(_is_latin, text)):
        return False
    plain = [token for token in tokens if token[0].isalpha()]
    known = sum(words.knows(token) for token in plain)
    return known >= 0.6 * len(plain)


def _is_latin(char: str) -> bool:
    return not char.isalpha() or char.isascii() or unicodedata.name(char, "").startswith("LATIN")


def _split(text: str) -> list[str]:
    """Words in small letters, hard ones marked."""
    shouted = _is_shouted(text)
    quoted = _quoted(text)
    found: list[str] = []
    begins = True
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or "other"
        token = match.group()
        if kind == "word":
            hard = (begins is False and not shouted and token[0].isupper()) or (
                len(token) > 1 and token.isupper() and not shouted
            )
            inside = any(a < match.start() < b for a, b in quoted)
            found += _word(token, hard, inside)
            begins = False
        elif kind == "stop":
            found.append(STOP)
            begins = True
        elif kind not in ("quote", "other"):
            found += _exact(kind, token)
            begins = False
        elif kind == "other" and unicodedata.category(token) in ("So", "Sc", "Sm"):
            found.append(HARD + token)
        elif token == ":":
            begins = True
        elif token == ",":
            found.append(",")
    return found


def _is_shouted(text: str) -> bool:
    """Whether capitals tell nothing: a headline, or all of them."""
    found = [word for word in re.findall(r"[^\W\d_]+", text) if len(word) > 1]
    loud = sum(word[0].isupper() for word in found)
    return len(found) > 2 and loud >= 0.7 * len(found)


def _quoted(text: str) -> list[tuple[int, int]]:
    marks = [at for at, char in enumerate(text) if char == '"']
    spans = list(zip(marks[::2], marks[1::2], strict=False))
    spans += [m.span() for m in re.finditer(r"(?<!\w)'[^']+'(?!\w)", text)]
    return [(a, b) for a, b in spans if len(text[a:b].split()) <= _QUOTED_WORDS_MAX]


def _word(token: str, hard: bool, inside: bool) -> list[str]:
    low = token.lower()
    if low in english.CONTRACTED and not inside:
        return english.CONTRACTED[low].split()
    for suffix, stands in english.SUFFIXES:
        if low.endswith(suffix) and len(low) > len(suffix):
            return [low[: -len(suffix)], stands]
    if low.endswith("'d"):
        return [low[:-2], "would"]
    if low.endswith("'s"):
        base = low[:-2]
        return [base, "is"] if base in _ASKED else [HARD + base if hard else base]
    low = low.replace("'", "")
    if inside:
        return [HARD + low]
    if len(token) == 1 and token.isupper() and token != "I" and hard:
        return [HARD + low]
    plain = low in english.QUANTIFIERS or low in english.NEGATIONS or low in ("i", "from")
    if hard and low in ("us", "usa", "uk"):
        return [HARD + {"us": "usa"}.get(low, low)]
    if hard and not plain and (low not in english.WEAK or low in _LOUD):
        return [HARD + low]
    return [low]


def _exact(kind: str, token: str) -> list[str]:
    if kind == "number":
        return [HARD + _number(token)]
    if kind == "time":
        return [HARD + _time(token)]
    if kind == "short":
        letters = token.replace(".", "").lower()
        return [] if letters in ("eg", "ie") else [HARD + {"us": "usa"}.get(letters, letters)]
    if kind == "sign":
        if token in _SIGNS:
            return [token]
        return ["and" if token == "&" else english.UNITS.get(token, HARD + token)]
    if kind == "code":
        return [HARD + token.strip("`").rstrip(_TRAILING)]
    return [HARD + token.removesuffix("()")]


def _number(token: str) -> str:
    token = re.sub(r",(?=\d{3}\b)", "", token)
    return token.removesuffix(".00").lstrip("0") or "0"


def _time(token: str) -> str:
    digits = re.findall(r"\d+", token)
    hour = int(digits[0])
    half = re.search(r"([ap])\.?m", token, re.IGNORECASE)
    if half is not None:
        hour = hour % 12 + (12 if half.group(1).lower() == "p" else 0)
    return ":".join([str(hour), *(digits[1:] or ["00"])])


def _join_numbers(found: list[str]) -> list[str]:
    """Number words as digits, units by one name."""
    out: list[str] = []
    at = 0
    while at < len(found):
        word = found[at]
        bare = word.removeprefix(HARD)
        if word in _SIGNS and found[at + 1 : at + 2] and found[at + 1][1:2].isdigit():
            out += [found[at + 1], _SIGNS[word]]
            at += 2
            continue
        value, taken = _spelt(found, at)
        if taken and not (value == 1 and taken == 1):
            out.append(f"{HARD}{value}")
            at += taken
            continue
        at += 1
        if out and out[-1][:1] == HARD and out[-1][1:2].isdigit() and bare.isalpha():
            short = bare.rstrip("s") if bare not in english.UNITS else bare
            ordinal = english.ORDINALS.get(out[-1][1:] + bare)
            if bare in ("st", "nd", "rd", "th"):
                out[-1] = ordinal or out[-1] + bare
            elif bare == "k":
                out[-1] = f"{HARD}{out[-1][1:]}000"
            else:
                month = english.MONTHS.get(bare, word)
                out.append(english.UNITS.get(bare) or english.UNITS.get(short) or month)
        else:
            out.append(_SIGNS.get(word) or _unit(word))
    return out


def _unit(word: str) -> str:
    bare = word.removeprefix(HARD)
    if bare in ("dollar", "dollars", "buck", "bucks", "euro", "euros", "rupee", "rupees"):
        return english.UNITS[bare.rstrip("s")]
    if bare in ("kilo", "kilos", "kg", "km", "kilometre", "kilometres", "lbs"):
        return english.UNITS.get(bare, english.UNITS.get(bare.rstrip("s"), bare))
    if word.startswith(HARD) and bare in english.MONTHS:
        return english.MONTHS[bare]
    return word


def _spelt(found: list[str], at: int) -> tuple[int, int]:
    """The value of number words from ``at`` on, and how many they are."""
    total = value = taken = 0
    while at + taken < len(found):
        word = found[at + taken].removeprefix(HARD)
        if word in english.NUMBERS:
            small = english.NUMBERS[word]
            if value % 10 == 0 and (
                value == 0 or (value % 100 >= 20 and small < 10) or value % 100 == 0
            ):
                value += small
            else:
                break
        elif word in english.SCALES and (taken or word != "second"):
            scale = english.SCALES[word]
            value = max(value, 1) * scale
            if scale > 100:
                total, value = total + value, 0
        else:
            break
        taken += 1
    return total + value, taken


def _fold(found: list[str], words: Lexicon) -> list[str]:
    """Phrases folded, words stemmed."""
    out: list[str] = []
    at = 0
    while at < len(found):
        token = found[at]
        bare = token.removeprefix(HARD)
        for phrase, stands in words.phrases.get(bare, ()):
            size = len(phrase)
            if tuple(one.removeprefix(HARD) for one in found[at : at + size]) == phrase:
                out += stands
                at += size
                break
        else:
            at += 1
            if token.startswith(HARD):
                out.append(HARD + words.stem(bare) if bare.isalpha() else token)
            else:
                out.append(english.QUANTIFIERS.get(token) or words.stem(token))
    return out


def _failing(found: list[str]) -> list[str]:
    """One word for what does not work; "both" and "between A and B" as "A and B"."""
    out = list(found)
    at = 0
    while at < len(out):
        ahead = out[at + 1 : at + 7]
        stop = next((i for i, word in enumerate(ahead) if word in (STOP, ",", "not")), len(ahead))
        ahead = ahead[:stop]
        if out[at] in ("not", "never"):
            place = next((i for i, word in enumerate(ahead) if word in _WORKS), None)
            if place is not None:
                out[at + 1 + place] = _WORKS[out[at + 1 + place]]
                del out[at]
                continue
        elif out[at] in ("both", "between") and "and" in ahead[:4]:
            if not (ahead and ahead[0][1:2].isdigit()):
                del out[at]
                continue
        elif out[at] == "mean" and not ahead and "what" in out[:at] and "does" in out[:at]:
            del out[at]  # "What does it mean" asks what it is.
            continue
        at += 1
    return out


def _marked(found: list[str], words: Lexicon) -> list[str]:
    """Small words that are used as nouns ("a for loop"), and the time of "who won"."""
    out: list[str] = []
    for at, token in enumerate(found):
        before = found[at - 1] if at else STOP
        if before in _DETERMINERS and token in _NOUNS:
            out.append(HARD + token)
            continue
        if token == "just" and _restricts(found, at):
            token = "only"
        if before in ("who", "what") and token.isalpha() and words.past(token):
            out.append("did")
        out.append(token)
    return out


def _restricts(found: list[str], at: int) -> bool:
    """Whether "just" means "only": "are just kids allowed", "just 5"; not "I just want"."""
    after = found[at + 1] if at + 1 < len(found) else STOP
    opens = at > 0 and found[at - 1] in ("is", "are") and found[at - 2 : at - 1] in ([], [STOP])
    return opens or after in ("a", "an", "the", "my", "your") or after[1:2].isdigit()
