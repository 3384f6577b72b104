"""The PoP's book of receipts: sequence numbers, intents still open, and the journal under them.

Lines are gathered and written together: one ``write(2)`` for all requests of a turn of the event
loop, all or none of it. Whoever asked goes on when it has returned.

What dies between intent and record is found at the next start and becomes an ``interrupted``
receipt before the PoP serves again. One process owns a book.
"""

from __future__ import annotations

import binascii
import contextlib
from collections.abc import Callable
from typing import Final

import msgspec

from selvedge.adapters.entropy import Entropy
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

Then = Callable[[StoreFailed | None], None]
"""Called when ``write(2)`` has returned, with None, or with the reason why nothing was written."""


Schedule = Callable[[Callable[[], None]], object]
"""Runs a write soon."""


def at_once(write: Callable[[], None]) -> None:
    """A schedule that gathers nothing."""
    write()


def raising(error: StoreFailed | None) -> None:
    """For callers without an event loop: raises what went wrong."""
    if error is not None:
        raise error


class _Staged(msgspec.Struct):
    """A line that waits for its write, and what follows from it."""

    line: bytes
    then: Then
    opens: Intent | None = None
    closes: str | None = None


class ReceiptBook:
    """Writes intents and receipts.

    ``entropy`` gives salts (seeded in tests). ``schedule`` runs the write of what was gathered: an
    event loop's ``call_soon``; by default at once, so that a method returns after its write and
    raises `StoreFailed`. ``worker`` is the journal's number.
    """

    def __init__(
        self,
        pop: str,
        appender: Appender,
        vault: Vault,
        found: Recovery,
        entropy: Callable[[int], bytes] | None = None,
        *,
        schedule: Schedule = at_once,
        worker: int = 0,
    ) -> None:
        self._pop = pop
        self._worker = worker
        self._appender = appender
        self._vault = vault
        self._entropy = entropy or Entropy().take
        self._schedule = schedule
        self._staged: list[_Staged] = []
        self._seqs_before: dict[str, int] = {}
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
            self._stage_receipt(interrupted(intent.receipt, now_us), intent.personal, raising)
        self.flush()
        return len(left)

    def intend(self, receipt: Receipt, personal: Personal, then: Then = raising) -> None:
        """Write down what stands if this PoP dies now."""
        try:
            intent = Intent(receipt, self._encrypt(receipt, personal))
        except StoreFailed as error:
            then(error)
            return
        self._stage(_Staged(write_line(intent), then, opens=intent))

    def record(self, receipt: Receipt, personal: Personal, then: Then = raising) -> None:
        """Seal and write a receipt; its sequence number is taken only if it is written."""
        intent = self._open.get(receipt.id)
        try:
            ciphertext = intent.personal if intent else self._encrypt(receipt, personal)
        except StoreFailed as error:
            then(error)
            return
        self._stage_receipt(receipt, ciphertext, then)

    def attest(self, attested: Attested, then: Then = raising) -> None:
        """Write down an attestation given to a peer."""
        self._stage(_Staged(write_line(attested), then))

    def flush(self) -> None:
        """Write what was gathered: all of it, or nothing, in which case no number was taken."""
        staged, self._staged = self._staged, []
        before, self._seqs_before = self._seqs_before, {}
        if not staged:
            return
        failed: StoreFailed | None = None
        try:
            self._appender.append(b"".join([one.line for one in staged]))
        except StoreFailed as error:
            failed = error
            self._seqs.update(before)
        else:
            for one in staged:
                if one.opens is not None:
                    self._open[one.opens.receipt.id] = one.opens
                elif one.closes is not None:
                    self._open.pop(one.closes, None)
            self._roll()
        fault: Exception | None = None
        for one in staged:
            try:
                one.then(failed)
            except Exception as error:  # noqa: BLE001 (the others are told first)
                fault = fault or error
        if fault is not None:
            raise fault

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
            self.flush()
            self.flush_tally()
        self._appender.close()
        self._vault.close()

    def _stage_receipt(self, receipt: Receipt, ciphertext: str | None, then: Then) -> None:
        seq = self._seqs.get(receipt.tenant, 0)
        sealed = seal(receipt, seq + 1, self._entropy(SALT_BYTES), ciphertext, self._worker)
        self._seqs_before.setdefault(receipt.tenant, seq)
        self._seqs[receipt.tenant] = seq + 1
        self._stage(_Staged(write_line(sealed), then, closes=receipt.id))

    def _stage(self, staged: _Staged) -> None:
        self._staged.append(staged)
        if len(self._staged) == 1:
            self._schedule(self.flush)

    def _encrypt(self, receipt: Receipt, personal: Personal) -> str:
        ciphertext = self._vault.seal(receipt.tenant, personal, receipt.id, receipt.received_us)
        return binascii.b2a_base64(ciphertext, newline=False).decode("ascii")

    def _roll(self) -> None:
        if not self._appender.full:
            return
        header = SegmentHeader(self._pop, self._segment + 1, self._seqs, tuple(self._open.values()))
        if self._appender.roll(header):
            self._segment += 1
