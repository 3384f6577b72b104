"""Which `Idempotency-Key`s stand for a request already, and answers that may be given again.

Here in the memory of a process that serves alone, bounded by keys, bytes and time; several workers
have `AnsweredTogether`. What is forgotten costs its client a second answer at most, never a wrong
one: a key is looked up by tenant, project and word, and stands for one route and body.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol, TypeAlias

from selvedge.exchange import Claim, Claimed, Kept

Key: TypeAlias = tuple[str, str, str]


class _Held:
    """One key: what it stands for, and how far that is."""

    __slots__ = ("at_us", "fingerprint", "finished", "keeps", "kept", "receipt")

    def __init__(self, claim: Claim, at_us: int) -> None:
        self.fingerprint = claim.fingerprint
        self.receipt = claim.receipt
        self.keeps = claim.keeps
        self.at_us = at_us
        self.finished = False
        self.kept: Kept | None = None


class HeldKeys(Protocol):
    """Keys that stand for requests, as an interpreter uses them."""

    def claim(self, command: Claim, at_us: int) -> Claimed:
        """Whose the key is; from now on this request's, where it was nobody's."""

    def end(self, command: Claim, *, spent: bool, kept: Kept | None) -> None:
        """The request that claimed it has ended: with something billed, or the key is free."""


class Answered:
    """One per process, on the event loop's thread.

    Of ``keys_max`` keys the oldest that does not run is forgotten first.
    """

    def __init__(self, bytes_max: int, ttl_us: int, keys_max: int) -> None:
        self._bytes_max = bytes_max
        self._ttl_us = ttl_us
        self._keys_max = keys_max
        self._held: OrderedDict[Key, _Held] = OrderedDict()
        self._with_answer: OrderedDict[Key, _Held] = OrderedDict()
        self.bytes = 0
        """Of the answers that are kept."""

    def __len__(self) -> int:
        return len(self._held)

    def claim(self, command: Claim, at_us: int) -> Claimed:
        """Whose the key is; from now on this request's, where it was nobody's."""
        self._forget(at_us)
        held = self._held.get(command.key)
        if held is not None and held.finished and at_us - held.at_us >= self._ttl_us:
            self._drop(command.key)
            del self._held[command.key]
            held = None
        if held is None:
            self._held[command.key] = _Held(command, at_us)
            return Claimed("first", at_us)
        if held.fingerprint != command.fingerprint:
            return Claimed("other", at_us, held.receipt)
        if not held.finished:
            return Claimed("running", at_us, held.receipt)
        return Claimed("finished", at_us, held.receipt, held.kept)

    def end(self, command: Claim, *, spent: bool, kept: Kept | None) -> None:
        """The request that claimed it has ended: with something billed, or the key is free."""
        key = command.key
        held = self._held[key]
        if not spent:
            del self._held[key]
            return
        held.finished = True
        if kept is None or not held.keeps or len(kept.body) > self._bytes_max:
            return
        held.kept = kept
        self._with_answer[key] = held
        self.bytes += len(kept.body)
        while self.bytes > self._bytes_max:
            self._drop(next(iter(self._with_answer)))

    def _forget(self, at_us: int) -> None:
        """Let go of what is too old, and of the oldest where there are too many."""
        for _ in range(min(2, len(self._held))):
            key, held = next(iter(self._held.items()))
            if held.finished and at_us - held.at_us >= self._ttl_us:
                self._drop(key)
                del self._held[key]
        turns = 0
        while len(self._held) >= self._keys_max and turns < self._keys_max:
            turns += 1
            key, held = next(iter(self._held.items()))
            if not held.finished:
                self._held.move_to_end(key)
                continue
            self._drop(key)
            del self._held[key]

    def _drop(self, key: Key) -> None:
        """Let go of a kept answer; its key stays spent."""
        held = self._with_answer.pop(key, None)
        if held is not None and held.kept is not None:
            self.bytes -= len(held.kept.body)
            held.kept = None
