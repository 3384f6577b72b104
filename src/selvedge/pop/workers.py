"""One process among the workers of its PoP: what the keeper handed to it, and what it says back.

A process that was handed nothing is alone: it opens its own socket and counts in its own memory,
and nothing here costs it anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Final

import msgspec

from selvedge.adapters import Memory, SharedTickets, journal_of, journals_of
from selvedge.fabric import BadSetting, SelvedgeError
from selvedge.pop import answered_together
from selvedge.pop.answered import HeldKeys
from selvedge.pop.answered_together import AnsweredTogether, Shape
from selvedge.pop.metrics import Metrics
from selvedge.pop.settings import Settings
from selvedge.pop.shared import GAUGES, Shared, bytes_for
from selvedge.wire import TicketBook

PART_VARIABLE: Final = "SELVEDGE_PART"
COVER_S: Final = 0.5
READY: Final = b"R"
READY_UNRELEASED: Final = b"N"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What the keeper hands to one worker, through its environment; descriptors are inherited.

    ``number`` is of its journal, ``row`` of its cells, ``slot`` of its socket. ``settle`` are
    journals that nobody owns: their interrupted requests get their receipts before it serves.
    """

    slot: int
    number: int
    row: int
    rows: int
    sockets: dict[str, tuple[int, ...]]
    cells_fd: int
    tickets_fd: int
    ready_fd: int
    started_us: int
    layout: str
    pop: str
    state_dir: str
    settle: tuple[int, ...] = ()
    answers_fd: int = -1
    answers: Shape = Shape(1, 0)


def take_part(environment: MutableMapping[str, str]) -> Part | None:
    """What this process was handed, taken out of the environment; None where it is alone."""
    written = environment.pop(PART_VARIABLE, None)
    return msgspec.json.decode(written, type=Part) if written else None


def layout() -> str:
    """A hash of what lies where in shared memory: processes that differ in it cannot share."""
    sizes = bytes_for(1), Metrics("").layout, SharedTickets.bytes_for()
    told = repr((GAUGES, sizes, answered_together.layout()))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


class Worker:
    """This process's place among the workers of the PoP; alone where ``part`` is None."""

    def __init__(self, settings: Settings, part: Part | None) -> None:
        self._settings = settings
        self._part = part
        self.number = part.number if part is not None else 0
        self.settle = part.settle if part is not None else _others(Path(settings.state_dir))
        self.shared = Shared.alone() if part is None else _shared(settings, part)

    def directory(self) -> Path:
        """Where this process keeps its journal."""
        return journal_of(Path(self._settings.state_dir), self.number)

    def tickets(self, now_us: int) -> TicketBook:
        """The book of used tickets: one for all workers."""
        if self._part is None:
            return TicketBook(self._settings.pop, now_us)
        memory = Memory(self._part.tickets_fd, SharedTickets.bytes_for())
        return TicketBook(self._settings.pop, self._part.started_us, SharedTickets(memory))

    def answered(self) -> HeldKeys | None:
        """The keys of all workers' requests; None where this process is alone."""
        if self._part is None:
            return None
        memory = Memory(self._part.answers_fd, self._part.answers.size())
        ttl_us = self._settings.idempotency_ttl_ms * 1000
        return AnsweredTogether(memory, self._part.answers, ttl_us, os.getpid())

    def socket(self, name: str, slot: int | None = None) -> socket.socket | None:
        """The listening socket of a slot, as a descriptor to be closed; None where alone."""
        if self._part is None or getattr(self._settings, name) is None:
            return None
        if name not in self._part.sockets:
            words = "was not set when this PoP was started; stop the PoP and start it"
            raise BadSetting(name, words)
        found = self._part.sockets[name][self._part.slot if slot is None else slot]
        return socket.socket(fileno=os.dup(found))

    def serves(self, *, released: bool) -> None:
        """Tell the keeper, and every other worker, that this one serves."""
        if self._part is None:
            return
        self.shared.serves(self._part.slot)
        with contextlib.suppress(OSError):
            os.write(self._part.ready_fd, READY if released else READY_UNRELEASED)
            os.close(self._part.ready_fd)

    def leaves(self) -> None:
        """This process accepts no more connections, and holds none of the sockets."""
        self.shared.leaves()
        if self._part is not None:
            for fd in (fd for slots in self._part.sockets.values() for fd in slots):
                os.close(fd)

    def uncovered(self) -> Iterator[int]:
        """Slots in which no process serves: somebody must accept what comes to their sockets."""
        if self._part is not None:
            slots = len(next(iter(self._part.sockets.values())))
            yield from sorted(set(range(slots)) - self.shared.slots() - {self._part.slot})


def _others(state_dir: Path) -> tuple[int, ...]:
    return tuple(number for number in journals_of(state_dir) if number != 0)


def _shared(settings: Settings, part: Part) -> Shared:
    """The tables that were handed over. Raises where this process cannot share with the others."""
    for name in ("pop", "state_dir"):
        if getattr(settings, name) != getattr(part, name):
            raise BadSetting(
                name,
                f"is {getattr(settings, name)!r} now and {getattr(part, name)!r} at the other "
                "workers; stop the PoP and start it to change it",
            )
    if layout() != part.layout:
        raise SelvedgeError(
            "this version counts otherwise than the one that runs; stop the PoP and start it"
        )
    return Shared(Memory(part.cells_fd, bytes_for(part.rows)), part.rows, part.row)
