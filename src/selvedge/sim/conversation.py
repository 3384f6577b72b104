"""One story under way at one virtual PoP, and the other side of it: a client, or an ingress PoP."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from typing import Protocol

from selvedge.exchange import Ending, FleetView, Served, Story
from selvedge.fabric import Ask, Attestation, Head, Receipt
from selvedge.routing import LoadBook
from selvedge.sim.batching import BatchedAnswering
from selvedge.sim.engines import Answering, Work
from selvedge.sim.journal import Journal
from selvedge.sim.traffic import Arrival
from selvedge.wire import TicketBook


class VirtualPoP:
    """What a PoP process holds while it runs."""

    __slots__ = ("id", "journal", "load", "tallied", "tickets", "view")

    def __init__(
        self, view: FleetView, load: LoadBook, journal: Journal, tickets: TicketBook
    ) -> None:
        self.id: str = view.here.id
        self.view = view
        self.load = load
        self.journal = journal
        self.tickets = tickets
        self.tallied: Counter[str] = Counter()


class Wants:
    """A caller's request and plans, in absolute times; the same for every PoP on the way.

    ``watch_tokens`` is the token at which the client will hang up, if it plans so. ``sealed``:
    tickets and attestations are written, signed and checked, as on a wire.
    """

    __slots__ = (
        "ask",
        "asked",
        "body",
        "body_us",
        "ingress",
        "key",
        "leaves_us",
        "sealed",
        "watch_tokens",
        "work",
    )

    def __init__(
        self,
        key: str,
        ingress: str,
        body: bytes,
        work: Work,
        *,
        body_us: int = 0,
        leaves_us: int | None = None,
        watch_tokens: int | None = None,
        ask: Ask | None = None,
        sealed: bool = True,
        asked: tuple[str, int] = ("", 0),
    ) -> None:
        self.key = key
        self.ingress = ingress
        self.body = body
        self.work = work
        self.body_us = body_us
        self.leaves_us = leaves_us
        self.watch_tokens = watch_tokens
        self.ask = ask
        self.sealed = sealed
        self.asked = asked
        """By which release, and when, it was let in."""

    def at_peer(self) -> Wants:
        """As a serving PoP sees them: the ingress closes the line when its client leaves."""
        return Wants(
            self.key,
            self.ingress,
            self.body,
            self.work,
            watch_tokens=self.watch_tokens,
            ask=self.ask,
            sealed=self.sealed,
            asked=self.asked,
        )


class Caller(ABC):
    """The other side of a conversation."""

    __slots__ = ("wants",)

    wants: Wants
    """What it asks."""

    @abstractmethod
    def began(self, answering: Answering | BatchedAnswering) -> None:
        """An engine has taken the request."""

    @abstractmethod
    def hear(self, count: int, served: Served) -> bool:
        """Token number ``count`` of a stream is sent; whether the caller hangs up on it."""

    @abstractmethod
    def ended(self, ending: Ending) -> None:
        """The story is over, and this is sent."""


class Pump(Protocol):
    """A relay under way."""

    def leave(self) -> None:
        """The caller has hung up."""


class Conversation:
    """A story and what has been seen of it.

    ``recorded`` is the receipt of its last `Record`, ``word`` what it last attested unsealed.
    """

    __slots__ = (
        "caller",
        "ending",
        "head",
        "pop",
        "recorded",
        "relay",
        "story",
        "tallied",
        "unwritten",
        "view",
        "word",
    )

    def __init__(self, pop: VirtualPoP, caller: Caller, head: Head, story: Story) -> None:
        self.pop = pop
        self.view = pop.view
        """The release by which it began: it ends by that one, whatever the PoP serves by then."""
        self.caller = caller
        self.head = head
        self.story = story
        self.relay: Pump | None = None
        self.tallied: str | None = None
        self.recorded: Receipt | None = None
        self.word: Attestation | None = None
        self.unwritten = False
        self.ending: Ending | None = None

    def leave(self) -> None:
        """The caller has hung up; without a relay under way there is nothing to stop."""
        if self.relay is not None:
            self.relay.leave()


class Client(Caller):
    """A client of the fabric, as traffic planned it."""

    __slots__ = ()

    def __init__(
        self, arrival: Arrival, sealed: bool = True, asked: tuple[str, int] = ("", 0)
    ) -> None:
        leaves = arrival.leaves_after_us
        self.wants = Wants(
            arrival.key,
            arrival.ingress,
            arrival.body,
            arrival.work,
            body_us=arrival.at_us + arrival.body_after_us,
            leaves_us=None if leaves is None else arrival.at_us + leaves,
            watch_tokens=arrival.leaves_after_tokens,
            ask=arrival.ask,
            sealed=sealed,
            asked=asked,
        )

    def began(self, answering: Answering | BatchedAnswering) -> None:
        """A client does not see engines."""

    def hear(self, count: int, served: Served) -> bool:
        """It leaves at the token it planned to."""
        watch = self.wants.watch_tokens
        return watch is not None and count >= watch

    def ended(self, ending: Ending) -> None:
        """It has what it gets."""
