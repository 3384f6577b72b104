"""The third interpreter of the exchange: the story that serves users, told in virtual time.

The PoP process answers the story's commands with sockets and disks, a test with a script, this one
with a virtual clock, modelled engines and links. `exchange.serve` and `exchange.serve_peer` run
unchanged, with real keys, bodies, tickets and attestations: what is measured here is what they do.
It refuses to know any policy: it answers commands, and the witness at the border counts.

What takes no virtual time: parsing, deciding, writing. What does: bodies, links, engines.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Final, Protocol

import msgspec

from selvedge.exchange import (
    Attest,
    BodyRead,
    BodyRefused,
    Claim,
    Claimed,
    ClientLeft,
    Command,
    Compiled,
    Ending,
    FleetView,
    Intend,
    NotWritten,
    ReadBody,
    Recall,
    Recalled,
    Record,
    Relay,
    Remember,
    Reply,
    Resume,
    Tally,
    Vouched,
    Written,
    compile_release,
    serve,
    serve_peer,
    serve_ticket,
    view_at,
)
from selvedge.fabric import Attested, Head, PoP, Receipt, Refused, Release
from selvedge.ledger import hash_secret, write_key
from selvedge.routing import EngineStates, LoadBook, Policy, Signals, place
from selvedge.sim.batching import BatchingEngine, BatchingModel
from selvedge.sim.border import Border, Law
from selvedge.sim.clock import Clock
from selvedge.sim.columns import Columns
from selvedge.sim.conversation import Caller, Client, Conversation, VirtualPoP
from selvedge.sim.engines import ModelledEngine
from selvedge.sim.forward import Forward
from selvedge.sim.journal import Journal
from selvedge.sim.links import Distances, Links
from selvedge.sim.provider_relay import ProviderRelay
from selvedge.sim.relay import LocalRelay, Relaying, World
from selvedge.sim.report import Report, report_of
from selvedge.sim.scenario import Scenario
from selvedge.sim.tallies import Tallies
from selvedge.sim.traffic import Arrival, arrivals
from selvedge.wire import Ticket, TicketBook, attest

PEPPER: Final = b"of a simulation: hides nothing"
UNSEALED: Final = Attested(msgspec.Raw(b"{}"), "")
"""Stands for the word of a PoP where no law looks at its MAC."""


def simulate(release: Release, scenario: Scenario, seed: int) -> Report:
    """Run a scenario to its end, assert the laws, and report.

    Any release will do: its keys get secrets of the simulation's own. The same arguments give the
    same bytes of `Report.canonical`.
    """
    return Interpreter(release, scenario, seed).run()


class Wiring(Protocol):
    """What PoPs are given beside the release, and traffic of another making."""

    def policy(self, pop: str) -> Policy | None:
        """The policy of an ingress; None for the one that is used otherwise."""

    def signals(self, pop: str) -> Signals | None:
        """What an ingress hears."""

    def states(self, pop: str) -> EngineStates | None:
        """What the engines of a PoP say to it."""

    def arrivals(self) -> Iterator[Arrival]:
        """Requests in the order of time, besides those of the scenario."""

    def compiled(self) -> tuple[Compiled, Distances]:
        """The release, compiled with the secrets of `with_keys_of_simulation`, and distances."""


class Interpreter(World):
    """One run. Everything random comes from ``seed``; ``takes`` gets each receipt as written."""

    def __init__(
        self,
        release: Release,
        scenario: Scenario,
        seed: int,
        wiring: Wiring | None = None,
        *,
        takes: Callable[[Receipt], None] | None = None,
        laws: Mapping[str, Law] | None = None,
    ) -> None:
        """``laws`` are the witness's, by release, where several are in flight: see `swap`."""
        self._wiring = wiring
        self._takes = takes
        self.clock = Clock(scenario.start_us)
        compiled, distances = wiring.compiled() if wiring else (compile_simulated(release), None)
        self._compiled = compiled
        jitter = Random(f"{seed}/links")
        self.links = Links(release, scenario.jitter_us, jitter, distances)
        self.border = Border(release, laws)
        self.pops: dict[str, VirtualPoP] = {}
        self._scenario = scenario
        self._seed = seed
        self._engines: dict[str, ModelledEngine | BatchingEngine] = {}
        self._tallies = Tallies(None if scenario.keeps else Columns(scenario.watches))
        self._authorizations = {key.id: authorization(key.id) for key in release.keys}
        self._arrivals = self._all_arrivals()

    def run(self) -> Report:
        """Run once."""
        for outage in self._scenario.outages:
            engine = self.engine(outage.pop, outage.engine)
            self.clock.at(outage.from_us, engine.go_down)
            self.clock.at(outage.until_us, engine.come_up)
        self._expect_next()
        self.clock.run_until(self._scenario.until_us)
        report = report_of(self._seed, self._tallies, self.border, self.pops.values())
        if not self._tallies.running:
            assert all(pop.load.is_idle for pop in self.pops.values()), "load is left in a book"
            assert not any(one.in_flight for one in self._engines.values()), "an engine works on"
        return report

    def pop(self, pop_id: str) -> VirtualPoP:
        """A PoP of the fleet, started when it is first needed."""
        known = self.pops.get(pop_id)
        if known is None:
            load = LoadBook()
            view = self._view(pop_id, self._compiled, load)
            scenario = self._scenario
            journal = Journal(
                pop_id, scenario.write_faults, keeps=scenario.keeps, takes=self._takes
            )
            tickets = TicketBook(pop_id, self._scenario.start_us)
            known = self.pops[pop_id] = VirtualPoP(view, load, journal, tickets)
        return known

    def swap(self, pop_id: str, compiled: Compiled) -> None:
        """A PoP serves by another release from now on; what is under way ends by its own."""
        known = self.pop(pop_id)
        known.view = self._view(pop_id, compiled, known.load)

    def _view(self, pop_id: str, compiled: Compiled, load: LoadBook) -> FleetView:
        wiring = self._wiring
        return view_at(
            compiled,
            pop_id,
            PairKeys(pop_id, compiled.pops),
            load.view,
            policy=wiring.policy(pop_id) if wiring else None,
            signals=wiring.signals(pop_id) if wiring else None,
            states=wiring.states(pop_id) if wiring else None,
        )

    def engine(self, pop: str, engine: str) -> ModelledEngine | BatchingEngine:
        """An engine of the fleet; raises `KeyError` where the release has none such."""
        name = place(pop, engine)
        known = self._engines.get(name)
        if known is None:
            site = self._compiled.providers.get(pop) or self._compiled.pops[pop]
            engines = site.engines
            found = {one.id: one for one in engines}[engine]
            model = self._scenario.model_of(name, found)
            if isinstance(model, BatchingModel):
                known = BatchingEngine(self.clock, model)
            else:
                known = ModelledEngine(self.clock, model)
            self._engines[name] = known
        return known

    def call(self, pop: str, head: Head, ticket: str | Ticket, caller: Caller) -> Conversation:
        """A forwarded request arrives at a PoP."""
        serving = self.pop(pop)
        limit = self._scenario.body_bytes_max
        if isinstance(ticket, Ticket):
            story = serve_ticket(head, ticket, ticket.id, serving.view, limit)
        else:
            story = serve_peer(head, ticket, serving.view, serving.tickets, limit)
        return self._begin(Conversation(serving, caller, head, story))

    def resume(self, conversation: Conversation, reply: Reply) -> None:
        """Go on with a story that waited."""
        self._tell(conversation, _next(conversation, reply))

    def _all_arrivals(self) -> Iterator[Arrival]:
        scenario = self._scenario
        flowing = arrivals(scenario.flows, self._seed, scenario.start_us)
        flowing = itertools.islice(flowing, scenario.requests_max)
        scripted = sorted(scenario.scripted, key=lambda arrival: arrival.at_us)
        if self._wiring is not None:
            assert not scenario.scripted
            assert not scenario.flows
            return self._wiring.arrivals()
        return heapq.merge(scripted, flowing, key=lambda arrival: arrival.at_us)

    def _expect_next(self) -> None:
        arrival = next(self._arrivals, None)
        if arrival is not None:
            self.clock.at(arrival.at_us, lambda: self._arrive(arrival))

    def _arrive(self, arrival: Arrival) -> None:
        self._expect_next()
        pop = self.pop(arrival.ingress)
        number = self._tallies.arrive()
        name = str(number).zfill(8)
        head = Head(
            request_id="req-" + name,
            receipt_id="rcpt-" + name,
            route=arrival.route,
            authorization=self._authorizations.get(arrival.key, "Bearer sk-nobody-unknown"),
            content_length=len(arrival.body),
            received_us=arrival.at_us,
            deadline_us=arrival.at_us + arrival.deadline_after_us,
        )
        pop.load.warm(self.clock.now_us)
        story = serve(head, pop.view, self._scenario.body_bytes_max)
        asked = (pop.view.release_hash, arrival.at_us)
        client = Client(arrival, number % self._scenario.sealed_every == 0, asked)
        self._begin(Conversation(pop, client, head, story))

    def _begin(self, conversation: Conversation) -> Conversation:
        self._tell(conversation, _next(conversation, None))
        return conversation

    def _tell(self, conversation: Conversation, command: Command | None) -> None:
        while command is not None:
            reply = self._answer(conversation, command)
            if reply is None:
                return
            command = _next(conversation, reply)
        assert conversation.ending is not None
        self._end(conversation, conversation.ending)

    def _end(self, conversation: Conversation, ending: Ending) -> None:
        conversation.caller.ended(ending)
        if isinstance(conversation.caller, Client):
            self._tallies.end(conversation, ending)

    def _answer(self, conversation: Conversation, command: Command) -> Reply | None:
        """The reply to one command, or None where it comes later, by `resume`."""
        pop, now_us = conversation.pop, self.clock.now_us
        match command:
            case ReadBody(bytes_max=bytes_max):
                return self._read_body(conversation, bytes_max)
            case Resume():
                raise NotImplementedError("a form of another API has no model yet")
            case Claim():
                return Claimed("first", now_us)
            case Recall():
                return Recalled((), now_us)
            case Intend(receipt=receipt):
                return self._written(conversation, pop.journal.intend(receipt))
            case Relay(attempts=(attempt,), job=job):
                kind: type[Relaying] = LocalRelay if attempt.pop == pop.id else Forward
                if attempt.pop in conversation.view.providers:
                    kind = ProviderRelay
                return kind(self, conversation, attempt, job).begin()
            case Relay():
                raise NotImplementedError("a race between attempts has no model yet")
            case Remember():
                return Written(now_us)
            case Record(receipt=receipt):
                assert conversation.recorded is None, "a request has one receipt"
                conversation.recorded = receipt
                return self._written(conversation, pop.journal.record(receipt))
            case Attest(attestation=attestation, ingress=ingress):
                attested = UNSEALED
                if conversation.caller.wants.sealed:
                    attested = attest(attestation, conversation.view.pair_keys[ingress])
                conversation.word = attestation
                fault = pop.journal.attest(attested)
                return NotWritten(fault, now_us) if fault else Vouched(attested, now_us)
            case Tally(code=code):
                conversation.tallied = code
                pop.tallied[code] += 1
                return Written(now_us)

    def _written(self, conversation: Conversation, fault: str | None) -> Reply:
        conversation.unwritten = fault is not None
        if fault is not None:
            return NotWritten(fault, self.clock.now_us)
        return Written(self.clock.now_us)

    def _read_body(self, conversation: Conversation, bytes_max: int) -> Reply | None:
        """The body, or what comes before it is complete: its limit, its deadline, its client."""
        wants, now_us = conversation.caller.wants, self.clock.now_us
        ready_us = max(wants.body_us, now_us)
        deadline_us, leaves_us = conversation.head.deadline_us, wants.leaves_us
        reply: Reply = BodyRead(wants.body, ready_us, wants.ask)
        if len(wants.body) > bytes_max:
            words = f"The body exceeds {bytes_max} bytes; send less."
            return BodyRefused(Refused("request_too_large", words), now_us)
        if leaves_us is not None and leaves_us <= min(ready_us, deadline_us):
            reply = ClientLeft(leaves_us)
        elif deadline_us < ready_us:
            late = Refused("deadline_exceeded", "The request's deadline passed before its body.")
            reply = BodyRefused(late, deadline_us)
        if reply.at_us <= now_us:
            return reply
        self.clock.at(reply.at_us, lambda: self.resume(conversation, reply))
        return None


def compile_simulated(release: Release) -> Compiled:
    """The release with keys of the simulation's own, compiled."""
    keyed = with_keys_of_simulation(release)
    release_hash = hashlib.sha256(msgspec.json.encode(keyed)).hexdigest()
    return compile_release(keyed, release_hash, PEPPER)


def with_keys_of_simulation(release: Release) -> Release:
    """The release with hashes of secrets that a simulation knows: it needs no real ones."""
    keys = tuple(
        msgspec.structs.replace(key, hash=hash_secret(PEPPER, key.id, _secret(key.id)))
        for key in release.keys
    )
    return msgspec.structs.replace(release, keys=keys)


def authorization(key_id: str) -> str:
    """The Authorization header of a simulated client."""
    return f"Bearer {write_key(key_id, _secret(key_id))}"


def pair_key(a: str, b: str) -> bytes:
    """The ticket key that two simulated PoPs share."""
    return hashlib.sha256("|".join(sorted((a, b))).encode()).digest()


class PairKeys(Mapping[str, bytes]):
    """The ticket keys of one PoP with every other, made when they are asked for."""

    __slots__ = ("_here", "_known", "_pops")

    def __init__(self, here: str, pops: Mapping[str, PoP]) -> None:
        self._here = here
        self._pops = pops
        self._known: dict[str, bytes] = {}

    def __getitem__(self, pop: str) -> bytes:
        known = self._known.get(pop)
        if known is None:
            if pop == self._here or pop not in self._pops:
                raise KeyError(pop)
            known = self._known[pop] = pair_key(self._here, pop)
        return known

    def __iter__(self) -> Iterator[str]:
        return (pop for pop in self._pops if pop != self._here)

    def __len__(self) -> int:
        return len(self._pops) - 1


def _secret(key_id: str) -> str:
    return hashlib.sha256(key_id.encode()).hexdigest()[:24]


def _next(conversation: Conversation, reply: Reply | None) -> Command | None:
    """The story's next command; None where it has ended."""
    try:
        return next(conversation.story) if reply is None else conversation.story.send(reply)
    except StopIteration as stop:
        conversation.ending = stop.value
        return None
