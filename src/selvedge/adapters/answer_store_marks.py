"""What was purged: a mark says that everything of its kind up to a number is gone.

A mark is a few bytes in the map that every process reads, so a purge costs one small write whatever
it covers. Records carry the number of their write (`Head.seq`), which no clock moves. A mark also
has a time: an answer that was made before the purge and is handed in after it is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from selvedge.adapters.answer_store_records import Head
from selvedge.adapters.scope_keys import TAG_BYTES, ScopeKeys, SealKey
from selvedge.cache import Scope
from selvedge.fabric.value import Value

_MARK: Final = struct.Struct("<Qq")
_NOBODY: Final = bytes(TAG_BYTES)


class Purge(Value, frozen=True):
    """What to make unfindable; each field that is given narrows it.

    ``tenant`` None means everybody's, and only ``model`` goes with it. A scope or an entry stands
    alone, an entry with its tenant.
    """

    tenant: str | None = None
    scope: Scope | None = None
    entry: str | None = None
    tag: str | None = None
    model: str | None = None


class Marks:
    """The marks of one map, in memory."""

    def __init__(self) -> None:
        self._marks: dict[bytes, tuple[int, int]] = {}

    def covers(self, key: SealKey, head: Head) -> bool:
        """Whether a record is gone."""
        marks = self._marks
        if not marks:
            return False
        return any(one in marks and head.seq <= marks[one][0] for one in _names(key, head))

    def refuses(self, key: SealKey, head: Head) -> bool:
        """Whether an answer was made before a purge that would have taken it."""
        marks = self._marks
        if not marks:
            return False
        return any(one in marks and head.made_us <= marks[one][1] for one in _names(key, head))

    def set(self, name: bytes, seq: int, at_us: int) -> bytes:
        """Set a mark; its bytes in the map."""
        self._marks[name] = (seq, at_us)
        return _MARK.pack(seq, at_us)

    def read(self, found: Iterator[tuple[bytes, bytes]]) -> None:
        """Take the marks of the map in place of these."""
        marks: dict[bytes, tuple[int, int]] = {}
        for name, value in found:
            if len(value) == _MARK.size:
                marks[name] = _MARK.unpack(value)
        self._marks = marks

    def newest(self) -> int:
        """The highest number that a mark has."""
        return max((seq for seq, _ in self._marks.values()), default=0)

    def drop_old(self, before_us: int) -> list[bytes]:
        """Forget the marks older than that; their names."""
        old = [name for name, (_, at_us) in self._marks.items() if at_us < before_us]
        for name in old:
            del self._marks[name]
        return old


def name_of(what: Purge, keys: ScopeKeys) -> bytes:
    """The mark of a purge of more than one entry."""
    if what.scope is not None:
        return b"s" + keys.tag(what.scope)
    owner = _NOBODY if what.tenant is None else keys.tenant(what.tenant)
    if what.model is not None:
        return b"m" + owner + keys.hide("model", what.model)
    if what.tag is not None:
        return b"g" + owner + keys.hide("tag", what.tag)
    return b"t" + owner


def _names(key: SealKey, head: Head) -> Iterator[bytes]:
    """Every mark that would cover a record."""
    tenant = key.tenant
    yield b"s" + key.tag
    yield b"t" + tenant
    yield b"m" + tenant + head.model
    yield b"m" + _NOBODY + head.model
    for tag in head.tags:
        yield b"g" + tenant + tag
