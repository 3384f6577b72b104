"""JSON that reads the same to everyone: a second look at a body that was already decoded.

Parsers differ on an object that names a key twice (RFC 8259 section 4): some take the first value,
some the last. A few, Go's among them, also take `"MODEL"` for `"model"`. What is judged here must
be what the engine reads, so either is refused in every object whose fields are judged. What only
passes through (a tool's schema) is the client's own.

Refuses to know: what a key means, sockets, engines.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Final

import msgspec

KEY_SHOWN_MAX: Final = 64

Tree = dict[str, object]


class Ambiguous(ValueError):
    """Two parsers could read this body differently; ``key`` is where, ``words`` say how."""

    def __init__(self, key: str, words: str) -> None:
        super().__init__(words)
        # It may hold half a pair or a control character: only ASCII leaves.
        self.key = ascii(key[:KEY_SHOWN_MAX])[1:-1]
        self.words = words


class _Twice(dict[str, object]):
    """An object that names ``key`` twice: refused where its fields are judged, else let through."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                self.key = key
                break
            seen.add(key)


def read_judged(body: bytes) -> object:
    """Decode UTF-8 JSON; numbers stay text. Ask `check_keys` of every object that is judged.

    Raises `ValueError` or `RecursionError` where it is not JSON that we read.
    """
    return _decoder.decode(body.decode())


def read_shallow(raw: bytes) -> dict[str, bytes]:
    """One object, its values left as they are written: for bodies too large to build in full.

    Exact without looking inside: what is neither a kept key, a kept value, punctuation nor space
    belongs to a pair that was dropped, or to an escape in a key, which no serialiser writes here.
    Raises `Ambiguous`, `ValueError`.
    """
    found = {key: bytes(value) for key, value in _shallow.decode(raw).items()}
    kept = "".join(found).encode() + b"".join(found.values())
    size = len(kept) + (4 * len(found) + 1 if found else 2)
    if size != len(raw) and size + _spaces(raw) - _spaces(kept) != len(raw):
        raise Ambiguous("", "comes twice in one object, or is written with escapes")
    return found


def read_list(raw: bytes) -> list[bytes]:
    """The items of a list, left as they are written. Raises `ValueError`."""
    return [bytes(item) for item in _items.decode(raw)]


def _spaces(text: bytes) -> int:
    return text.count(b" ") + text.count(b"\n") + text.count(b"\r") + text.count(b"\t")


def check_keys(found: Tree, names: Collection[str]) -> None:
    """Raises `Ambiguous` where a key comes twice, or is one of ``names`` but for its case."""
    if isinstance(found, _Twice):
        raise Ambiguous(found.key, "comes twice in one object")
    for key in found.keys() - names:
        if key.casefold() in names:
            raise Ambiguous(key, f"differs from {key.casefold()!r} only in case")


def _object(pairs: list[tuple[str, object]]) -> Tree:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Twice(pairs)


# A number of many digits costs its square to convert, and none is needed.
_shallow: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_items: Final = msgspec.json.Decoder(list[msgspec.Raw])
_decoder: Final = json.JSONDecoder(object_pairs_hook=_object, parse_int=str, parse_float=str)
