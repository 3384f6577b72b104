"""The PoP's book of receipts: sequence numbers, intents still open, and the journal under them.

What dies between intent and record is found at the next start and becomes an ``interrupted``
receipt before the PoP serves again. One process owns a book.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable
from typing import Final

from selvedge.adapters.journal_store import Appender
from selvedge.adapters.vault import Vault
from selvedge.fabric import Attested, Personal, Receipt, StoreFailed
from selvedge.ledger import (
    SALT_BYTES,
    Intent,
    Recovery,
    SegmentHeader,
    Summary,
    interrupted,
    seal,
    write_line,
)

MINUTE_US: Final = 60_000_000
SUMMARY_CODES_MAX: Final = 64


class ReceiptBook:
    """Writes intents and receipts. All methods return after ``write(2)``; `StoreFailed` otherwise.

    ``entropy`` gives salts (``os.urandom``; seeded in tests).
    """

    def __init__(
        self,
        pop: str,
        appender: Appender,
        vault: Vault,
        found: Recovery,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._pop = pop
        self._appender = appender
        self._vault = vault
        self._entropy = entropy
        self._seqs = dict(found.seqs)
        self._open = dict(found.open)
        self._segment = found.segment
        self._tally: dict[str, int] = {}
        self._tally_minute_us = 0
        self._roll()

    @property
    def open_intents(self) -> int:
        """Requests intended and not yet recorded."""
        return len(self._open)

    @property
    def broken(self) -> str | None:
        """Why nothing can be written until a restart, or None."""
        return self._appender.broken

    def close_interrupted(self, now_us: int) -> int:
        """Give every intent found at the start its ``interrupted`` receipt; how many."""
        left = list(self._open.values())
        for intent in left:
            self._write_receipt(interrupted(intent.receipt, now_us), intent.personal)
        return len(left)

    def intend(self, receipt: Receipt, personal: Personal) -> None:
        """Write down what stands if this PoP dies now."""
        intent = Intent(receipt, self._encrypt(receipt, personal))
        self._appender.append(write_line(intent))
        self._open[receipt.id] = intent

    def record(self, receipt: Receipt, personal: Personal) -> None:
        """Seal and write a receipt; its sequence number is taken only if it is written."""
        intent = self._open.get(receipt.id)
        ciphertext = intent.personal if intent else self._encrypt(receipt, personal)
        self._write_receipt(receipt, ciphertext)
        self._roll()

    def attest(self, attested: Attested) -> None:
        """Write down an attestation given to a peer."""
        self._appender.append(write_line(attested))

    def tally(self, code: str, now_us: int) -> None:
        """Count an unauthenticated refusal into the current minute."""
        minute_us = now_us - now_us % MINUTE_US
        if minute_us != self._tally_minute_us:
            self.flush_tally()
            self._tally_minute_us = minute_us
        known = code in self._tally or len(self._tally) < SUMMARY_CODES_MAX
        name = code if known else "other"
        self._tally[name] = self._tally.get(name, 0) + 1

    def flush_tally(self) -> None:
        """Write the minute's summary, if anything was counted."""
        if self._tally:
            summary = Summary(self._pop, self._tally_minute_us, dict(self._tally))
            self._appender.append(write_line(summary))
            self._tally.clear()

    def close(self) -> None:
        """Write what is counted, sync and close. Open intents stay for the next start."""
        with contextlib.suppress(StoreFailed):
            self.flush_tally()
        self._appender.close()
        self._vault.close()

    def _write_receipt(self, receipt: Receipt, ciphertext: str | None) -> None:
        seq = self._seqs.get(receipt.tenant, 0) + 1
        raw = base64.b64decode(ciphertext) if ciphertext is not None else None
        sealed = seal(receipt, seq, self._entropy(SALT_BYTES), raw)
        self._appender.append(write_line(sealed))
        self._seqs[receipt.tenant] = seq
        self._open.pop(receipt.id, None)

    def _encrypt(self, receipt: Receipt, personal: Personal) -> str:
        ciphertext = self._vault.seal(receipt.tenant, personal, receipt.id, receipt.received_us)
        return base64.b64encode(ciphertext).decode()

    def _roll(self) -> None:
        header = SegmentHeader(self._pop, self._segment + 1, self._seqs, tuple(self._open.values()))
        if self._appender.roll(header):
            self._segment += 1
