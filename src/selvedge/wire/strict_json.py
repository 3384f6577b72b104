"""JSON that reads the same to everyone: a second look at a body that was already decoded.

Parsers differ on an object that names a key twice (RFC 8259 section 4): some take the first value,
some the last. A few, Go's among them, also take `"MODEL"` for `"model"`. What is judged here must
be what the engine reads, so either is refused. I-JSON (RFC 7493) asks the same of a sender.

Refuses to know: what a key means, sockets, engines.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Final

KEY_SHOWN_MAX: Final = 64

Tree = dict[str, object]


class Ambiguous(ValueError):
    """Two parsers could read this body differently; ``key`` is where, ``words`` say how."""

    def __init__(self, key: str, words: str) -> None:
        super().__init__(words)
        # It may hold half a pair or a control character: only ASCII leaves.
        self.key = ascii(key[:KEY_SHOWN_MAX])[1:-1]
        self.words = words


def read_once(body: bytes) -> object:
    """Decode UTF-8 JSON in which no object names a key twice; numbers stay text.

    Raises `Ambiguous`; `ValueError` or `RecursionError` where it is not JSON that we read.
    """
    return _decoder.decode(body.decode())


def _once(pairs: list[tuple[str, object]]) -> Tree:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Ambiguous(key, "comes twice in one object")
            seen.add(key)
    return found


# A number of many digits costs its square to convert, and none is needed.
_decoder: Final = json.JSONDecoder(object_pairs_hook=_once, parse_int=str, parse_float=str)


def check_case(found: Tree, names: Collection[str]) -> None:
    """Raises `Ambiguous` where a key is one of ``names`` but for its case."""
    for key in found.keys() - names:
        if key.casefold() in names:
            raise Ambiguous(key, f"differs from {key.casefold()!r} only in case")
