"""What PoPs tell each other between requests: one question, one answer, both sealed by the pair.

An ingress asks the nearest PoPs that it may ever route to. Each answers with its load now and with
what the asker lacks of its digests. No moment travels: the answer says how old its facts were when
it left, and the asker reckons by its own clock, from when the answer came, less half the round
trip. So no PoP's clock can make a report look new, or drop all that follow.

A digest of a zone class is told to PoPs of that zone class only, by the teller's own release; where
a policy decides within it, to those alone that may keep something by that rule. What
does not hold is refused with the reason and changes nothing. Proposal 0008 has the reasons.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from selvedge.exchange.pair_messages import PairMessage, Sender
from selvedge.exchange.view import FleetView
from selvedge.fabric import BadTicket, Refused
from selvedge.routing import Board, Delta, Known, ModelReport, Publications, Report

QUESTION_BYTES_MAX: Final = 64 * 1024
ANSWER_BYTES_MAX: Final = 256 * 1024
NONCE_BYTES: Final = 16
MODELS_MAX: Final = 256
AGE_US_MAX: Final = 60_000_000
VERSION: Final = 1
_ASKS: Final = b"selvedge/report-asked/v1\n"
_TELLS: Final = b"selvedge/report-told/v1\n"

Nonce = Annotated[bytes, Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
Heard = Annotated[dict[str, dict[str, tuple[int, int]]], Meta(max_length=MODELS_MAX)]


class Question(msgspec.Struct, frozen=True):
    """What the asker has heard of the asked PoP's digests; ``known`` None: digests not wanted."""

    asker: str
    asked: str
    nonce: Nonce
    known: Heard | None
    v: int = VERSION


class Told(msgspec.Struct, frozen=True):
    """A PoP's report, ``age_us`` old when it left, and what the asker lacked of its digests."""

    pop: str
    asker: str
    nonce: Nonce
    age_us: Annotated[int, Meta(ge=0, le=AGE_US_MAX)]
    reserve: Annotated[float, Meta(ge=0, le=1)]
    models: Annotated[dict[str, ModelReport], Meta(max_length=MODELS_MAX)]
    deltas: list[Delta]
    v: int = VERSION


class _Asker(Sender, frozen=True, rename={"pop": "asker"}):
    """Who asks, and by which version."""

    pop: str


_ASKED: Final = PairMessage(_ASKS, Question, "question", QUESTION_BYTES_MAX, sender=_Asker)
_TOLD: Final = PairMessage(_TELLS, Told, "answer", ANSWER_BYTES_MAX)


def ask(view: FleetView, asked: str, nonce: bytes, known: Known | None) -> bytes:
    """A question to another PoP of the release."""
    heard = None if known is None else {model: dict(zones) for model, zones in known.items()}
    question = Question(view.here.id, asked, nonce, heard)
    return _ASKED.write(question, view.pair_keys[asked])


def read_question(written: bytes, view: FleetView, certificate_of: str | None) -> Question:
    """A question that holds. ``certificate_of`` is the PoP whose certificate came with it.

    Raises `BadTicket`.
    """

    def key_of(asker: str) -> bytes | None:
        if certificate_of is not None and certificate_of != asker:
            raise BadTicket("the question is not of the PoP whose certificate came with it")
        return view.pair_keys.get(asker)

    question = _ASKED.read_of(written, key_of)
    if question.asked != view.here.id:
        raise BadTicket("the question is for another PoP")
    return question


def tell(
    question: Question,
    view: FleetView,
    report: Report,
    publications: Publications | None,
    now_us: int,
) -> bytes:
    """The answer to a question that holds."""
    deltas: list[Delta] = []
    if question.known is not None and publications is not None:
        deltas = publications.since(zones_of(view, question.asker, now_us), question.known)
    told = Told(
        pop=view.here.id,
        asker=question.asker,
        nonce=question.nonce,
        age_us=min(max(0, now_us - report.at_us), AGE_US_MAX),
        reserve=report.reserve,
        models=report.models,
        deltas=deltas,
    )
    return _TOLD.write(told, view.pair_keys[question.asker])


def read_answer(written: bytes, view: FleetView, asked: str, nonce: bytes) -> Told:
    """The answer of the PoP that was asked, to this question. Raises `BadTicket`."""
    told = _TOLD.read(written, view.pair_keys.get(asked))
    if (told.pop, told.asker, told.nonce, told.v) != (asked, view.here.id, nonce, VERSION):
        raise BadTicket("the answer is to something else")
    if any(delta.pop != asked for delta in told.deltas):
        raise BadTicket("the answer has digests of another PoP")
    return told


def take(told: Told, view: FleetView, board: Board, size: int, times_us: tuple[int, int]) -> None:
    """Put an answer on the board. ``times_us``: when it was asked, and when it came.

    Models that the PoP does not serve by this release are left out. Raises `ValueError` for a
    digest that should not have been told.
    """
    asked_us, came_us = times_us
    at_us = came_us - max(0, came_us - asked_us) // 2 - told.age_us
    served = {one.model for engine in view.pops[told.pop].engines for one in engine.serves}
    models = {name: report for name, report in told.models.items() if name in served}
    digests = sum(delta.size for delta in told.deltas)
    board.put(Report(told.pop, at_us, told.reserve, models), max(0, size - digests), came_us)
    for delta in told.deltas:
        if delta.model in served:
            board.put_delta(delta, came_us)


def zones_of(view: FleetView, pop: str, at_us: int) -> frozenset[str]:
    """The zone classes that a PoP lies in, and the rules of a policy by which it may keep something
    there now: those whose digests it may be told.
    """
    zones = view.zones[view.pops[pop].country]
    if not view.scopes:
        return zones
    found = set(zones)
    for scope, (tenant, data_class) in view.scopes.items():
        rule = view.rules.rule(tenant, data_class, at_us)
        if rule is not None and view.rules.holds(rule.cache, pop):
            found.add(scope)
    return frozenset(found)


def nearest(view: FleetView, count: int, at_us: int) -> list[str]:
    """The PoPs to ask: engines have they, and requests that enter here may go there.

    Each rule in turn names its nearest one, so that a zone far away is heard as well.
    """
    found: dict[str, None] = {}
    for turn in zip_longest(*_lists(view, at_us)):
        for pop in turn:
            if pop is not None and len(found) < count:
                found[pop] = None
    return list(found)


def _lists(view: FleetView, at_us: int) -> Iterator[list[str]]:
    """Of each allowed set of this ingress, its other PoPs with engines, nearest first."""
    here = view.here.id
    seen: set[int] = set()
    for tenant in view.release.tenants:
        for one in tenant.classes:
            allowed = view.rules.allowed(tenant.id, one.id, here, at_us)
            if isinstance(allowed, Refused) or allowed.bits in seen:
                continue
            seen.add(allowed.bits)
            members = [
                one.id
                for one in view.rules.members(allowed.bits)
                if one.engines and one.id != here and one.id in view.pops
            ]
            yield sorted(members, key=lambda pop: (view.routes.rtt_us(pop), pop))
