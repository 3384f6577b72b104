"""What two similar questions must agree on before one may have the other's answer."""

from __future__ import annotations

import re
from typing import Final

import msgspec

_FORM: Final = 0
_TOKEN: Final = re.compile(r"\d[\d.,:]*|[^\W\d_]+(?:'[^\W\d_]+)?|[^\w\s]")
_NEGATIONS: Final = frozenset({"no", "not", "never", "without", "cannot", "none", "nor"})


class Slots(msgspec.Struct, frozen=True):
    """What the gates compare of one text; made by `slots_of` and kept beside the entry."""

    form: int
    """Of the gates that made it: those of another version are never compared."""
    numbers: tuple[str, ...] = ()
    negations: int = 0
    names: tuple[str, ...] = ()


def slots_of(text: str) -> Slots:
    """What the gates compare of ``text``, which is in Unicode's NFC."""
    tokens = _TOKEN.findall(text)
    words = [token.lower() for token in tokens]
    return Slots(
        _FORM,
        tuple(token for token in words if token[0].isdigit()),
        sum(word in _NEGATIONS or word.endswith("n't") for word in words),
        tuple(token for token in tokens[1:] if token[0].isupper() and token != "I"),
    )


def clash(new: Slots, kept: Slots) -> str | None:
    """Why ``new`` may not have the answer of ``kept``; None where nothing speaks against it."""
    if new.form != kept.form:
        return "was read by another version of the gates"
    if new.numbers != kept.numbers:
        return "numbers differ"
    if new.negations % 2 != kept.negations % 2:
        return "one is negated"
    if new.names != kept.names:
        return "names differ"
    return None
