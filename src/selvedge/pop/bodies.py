"""One limit on all request bodies held at once: memory has a ceiling whatever clients send."""

from __future__ import annotations

from selvedge.adapters import Cell
from selvedge.fabric import Refused
from selvedge.pop.http_inbound import BodyTooLarge
from selvedge.wire import ProtocolViolation


class BodyBudget:
    """Bytes that may be held in request bodies; taken before reading, given back at the end.

    ``cell`` counts them for all workers of the PoP: the limit is one for all.
    """

    __slots__ = ("_bytes_max", "_cell")

    def __init__(self, bytes_max: int, cell: Cell) -> None:
        self._bytes_max = bytes_max
        self._cell = cell

    @property
    def held(self) -> int:
        """Bytes held now, by all workers."""
        return self._cell.total()

    def take(self, size: int) -> bool:
        """Reserve ``size`` bytes; False where there is no room now."""
        # Taken first and compared then: two workers may both step back, never both go over.
        self._cell.inc(size)
        if self._cell.total() <= self._bytes_max:
            return True
        self._cell.dec(size)
        return False

    def give_back(self, size: int) -> None:
        """Return what was taken."""
        self._cell.dec(size)


def body_refusal(fault: BodyTooLarge | ProtocolViolation, bytes_max: int) -> Refused:
    """The refusal of a body that cannot be read; ``bytes_max`` is the largest that is."""
    if isinstance(fault, BodyTooLarge):
        words = f"The body exceeds body_bytes_max, {bytes_max} bytes; send less."
        return Refused("request_too_large", words)
    code = "request_timeout" if fault.status == 408 else "invalid_header"
    return Refused(code, f"The body cannot be read: {fault}.")
