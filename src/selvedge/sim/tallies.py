"""What clients saw, counted while a run goes on: one side of every law of conservation.

Nothing here is taken from what the other side, journals and the border, count for themselves.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from selvedge.exchange import Deliver, Ending, Refuse
from selvedge.fabric import Outcome, Receipt
from selvedge.sim.columns import Columns
from selvedge.sim.conversation import Conversation

UNRECORDED: Final = "unrecorded"
"""Ended without its receipt written: only where a write failed."""


class Tallies:
    """Counted at the clients."""

    __slots__ = (
        "arrived",
        "codes",
        "columns",
        "endings",
        "in_band_errors",
        "outcomes",
        "recorded",
        "running",
        "unauthenticated",
        "unrecorded",
    )

    def __init__(self, columns: Columns | None = None) -> None:
        self.arrived = 0
        self.outcomes: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.endings: Counter[str] = Counter()
        self.unauthenticated = 0
        self.in_band_errors = 0
        self.running: set[str] = set()
        self.recorded: set[str] = set()
        self.unrecorded: set[str] = set()
        self.columns = columns
        """Where receipts are not kept: rows in their place."""

    def arrive(self) -> int:
        """A request arrives; its number, from 1."""
        self.arrived += 1
        self.running.add("rcpt-" + str(self.arrived).zfill(8))
        return self.arrived

    def end(self, conversation: Conversation, ending: Ending) -> None:
        """A client's story is over."""
        receipt, receipt_id = conversation.recorded, conversation.head.receipt_id
        self.running.remove(receipt_id)
        self.endings[type(ending).__name__.lower()] += 1
        if conversation.tallied is not None:
            self.unauthenticated += 1
            self.outcomes[Outcome.REFUSED.value] += 1
            self.codes[conversation.tallied] += 1
        elif receipt is None or conversation.unwritten:
            self.outcomes[UNRECORDED] += 1
            self.unrecorded.add(receipt_id)
        else:
            if self.columns is None:
                self.recorded.add(receipt_id)
            else:
                self.columns.add(receipt)
            self.outcomes[receipt.outcome.value] += 1
            if receipt.code is not None:
                self.codes[receipt.code] += 1
            _check_ending(receipt, ending)
            self.in_band_errors += isinstance(ending, Refuse) and receipt.status == 200


def _check_ending(receipt: Receipt, ending: Ending) -> None:
    """What the client got last is what its receipt says."""
    outcome = receipt.outcome
    if outcome is Outcome.COMPLETE:
        assert isinstance(ending, Deliver)
    elif outcome is Outcome.CLIENT_GONE:
        assert not isinstance(ending, (Deliver, Refuse))
    else:
        assert isinstance(ending, Refuse)
        assert ending.refused.code == receipt.code
