"""Audits: a sample of hits is answered again and judged; too many wrong ones shut the cache off.

One in so many hits, drawn at random, so the audited hits are a fair sample of all hits, and their
errors a binomial count whatever decided them: no model is assumed, no threshold, no independence of
questions from one another beyond the draw's. **A report of a bad hit is no audit** (nobody reports
the good ones): it goes to the decider.

Tested is "at most ``wrong_max`` of hits are wrong" by Clopper and Pearson's lower bound, at each
wrong audit. Looking again and again would shut off a good cache some day, so the k-th wrong audit
of an epoch is tested at level alpha / (k (k + 1)): these add up to alpha, and for each k there is
one look, at whatever audit it comes (the count of audits until the k-th wrong one is small with the
binomial tail's probability, and no other). Epochs of `EPOCH` audits keep a long good past from
hiding a bad present; alpha is per epoch.
"""

from __future__ import annotations

from typing import Final

import msgspec

from selvedge.cache.bounds import at_least, tail

EPOCH: Final = 1000


class _Kept(msgspec.Struct, array_like=True):
    version: int
    audits: int
    wrong: int
    before: int
    broken: str | None


class Audit:
    """Audits of one route; once `broken` it stays so, until an operator begins a new one."""

    def __init__(
        self, wrong_max: float, confidence: float = 0.95, kept: bytes | None = None
    ) -> None:
        self.wrong_max = wrong_max
        self.confidence = confidence
        self.audits = 0
        self.wrong = 0
        self.before = 0
        """Audits of the epochs before."""
        self._broken: str | None = None
        if kept:
            state = msgspec.msgpack.decode(kept, type=_Kept)
            if state.version != 1:
                raise ValueError(f"audits of version {state.version}, this is 1")
            self.audits, self.wrong, self.before = state.audits, state.wrong, state.before
            self._broken = state.broken

    @property
    def broken(self) -> str | None:
        """Why the semantic cache of the route is shut off; None: it is not."""
        return self._broken

    def take(self, correct: bool) -> None:
        """One audited hit."""
        if self.audits >= EPOCH:
            self.before += self.audits
            self.audits = self.wrong = 0
        self.audits += 1
        if correct:
            return
        self.wrong += 1
        alpha = (1.0 - self.confidence) / (self.wrong * (self.wrong + 1))
        if self._broken is None and tail(self.wrong, self.audits, self.wrong_max) <= alpha:
            least = at_least(self.wrong, self.audits, alpha)
            self._broken = (
                f"{self.wrong} of {self.audits} audited hits were wrong: at least {least:.1%} of"
                f" hits are, more than the {self.wrong_max:.1%} allowed ({self.confidence:.0%} sure"
                " over all looks)"
            )

    def dump(self) -> bytes:
        """The counts and the word, for ``kept``."""
        return msgspec.msgpack.encode(_Kept(1, self.audits, self.wrong, self.before, self._broken))
