"""The memory twin of a PoP's journal, with a fault hook: what is written stays, in order.

A receipt gets its number here, per tenant and without gaps, when it is written and not before.
Nothing is sealed: salts and ciphertexts hide nothing in a simulation. It refuses to know stories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Literal

import msgspec

from selvedge.fabric import Attested, Receipt
from selvedge.fabric.value import Value

WriteKind = Literal["intend", "record", "attest"]
_FAILED: Final = "fault hook: failed, not written"
_FAILED_BUT: Final = "fault hook: failed, but written"


class WriteFault(Value, frozen=True):
    """The ``nth`` write of this kind at a PoP fails, counted from 1.

    ``written``: it is there all the same.
    """

    pop: str
    kind: WriteKind
    nth: int
    written: bool = False


class Journal:
    """Intents, receipts and attestations of one PoP. Each write returns None, or why it failed."""

    __slots__ = (
        "_faults",
        "_keeps",
        "_seqs",
        "_takes",
        "_writes",
        "attestations",
        "open",
        "receipts",
        "written",
    )

    def __init__(
        self,
        pop: str,
        faults: Iterable[WriteFault] = (),
        *,
        keeps: bool = True,
        takes: Callable[[Receipt], None] | None = None,
    ) -> None:
        self._faults = {(one.kind, one.nth): one.written for one in faults if one.pop == pop}
        self._writes: dict[WriteKind, int] = {"intend": 0, "record": 0, "attest": 0}
        self._seqs: dict[str, int] = {}
        self._keeps = keeps
        self._takes = takes
        self.written = 0
        """Receipts, also where they are not kept: millions of them would not fit."""
        self.open: dict[str, Receipt] = {}
        """Intents without a receipt, by receipt id: what recovery would find."""
        self.receipts: list[Receipt] = []
        self.attestations: list[Attested] = []

    def intend(self, receipt: Receipt) -> str | None:
        """Write down what stands if the PoP dies now."""
        fault = self._fault("intend")
        if fault != _FAILED:
            self.open[receipt.id] = receipt
        return fault

    def record(self, receipt: Receipt) -> str | None:
        """Number a receipt and write it."""
        fault = self._fault("record")
        if fault != _FAILED:
            self.written += 1
            self.open.pop(receipt.id, None)
            if self._keeps or self._takes is not None:
                seq = self._seqs[receipt.tenant] = self._seqs.get(receipt.tenant, 0) + 1
                self._give(msgspec.structs.replace(receipt, seq=seq))
        return fault

    def _give(self, receipt: Receipt) -> None:
        """Keep it, hand it to whoever takes receipts, or both."""
        if self._keeps:
            self.receipts.append(receipt)
        if self._takes is not None:
            self._takes(receipt)

    def attest(self, attested: Attested) -> str | None:
        """Write down an attestation given to a peer."""
        fault = self._fault("attest")
        if fault != _FAILED and self._keeps:
            self.attestations.append(attested)
        return fault

    def _fault(self, kind: WriteKind) -> str | None:
        if not self._faults:
            return None
        self._writes[kind] += 1
        written = self._faults.get((kind, self._writes[kind]))
        if written is None:
            return None
        return _FAILED_BUT if written else _FAILED
