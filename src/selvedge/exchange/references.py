"""Answers that a PoP keeps for their clients, and requests that refer to one.

OpenAI's responses may be read again, and gone on from, by an id. What is kept stays at the PoP
where it entered, which its id names: a request that refers to it elsewhere fails at once, with
where to ask, or with the rule that keeps this client from asking there.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final

import msgspec

from selvedge.cache import Scope
from selvedge.exchange.commands import BodyRead, BodyRefused, Command, Reply, Resume
from selvedge.exchange.keeping import may_keep
from selvedge.exchange.view import FleetView, prefix_scope
from selvedge.fabric import Head, Refused
from selvedge.ledger import Admitted
from selvedge.residency import Allowed

_ID: Final = re.compile(r"resp_(.{1,128})_[0-9a-f]{1,64}", re.DOTALL)
_SHOWN_MAX: Final = 128


def kept_in(view: FleetView, admitted: Admitted, allowed: Allowed) -> Scope | None:
    """Where an answer may be kept here for its client; None where none may: a PoP outside the zone
    keeps nothing, nor one that the class's rule forbids to, nor any of a class without retention.
    """
    if allowed.transit or not may_keep(view, allowed, allowed.rule.handling):
        return None
    return Scope(admitted.tenant, admitted.data_class, prefix_scope(allowed.rule))


def keep_of(head: Head, view: FleetView, admitted: Admitted, allowed: Allowed) -> Scope | None:
    """Where the answer to this request may be kept, by whose form one may be asked for again."""
    return kept_in(view, admitted, allowed) if head.dialect == "responses" else None


def kept_elsewhere(
    view: FleetView, admitted: Admitted, response_id: str, now_us: int
) -> Refused | None:
    """Why this id cannot be found here, by what it says itself: whether there is such an answer is
    asked of nobody.
    """
    named = _ID.fullmatch(response_id)
    pop = view.pops.get(named.group(1)) if named is not None else None
    if pop is None or pop.id == view.here.id:
        return None
    tenant, data_class, zones = admitted.tenant, admitted.data_class, admitted.zones
    allowed = view.rules.allowed(tenant, data_class, pop.id, now_us, zones)
    if isinstance(allowed, Refused):
        return allowed
    words = f"Answer {shown(response_id)!r} entered at PoP {pop.id!r} and is kept there; ask "
    return Refused("response_elsewhere", f"{words}{pop.url}.", param="previous_response_id")


def resumed(
    arrived: BodyRead, view: FleetView, admitted: Admitted, allowed: Allowed
) -> Generator[Command, Reply, Reply]:
    """The body of a request that goes on from a kept answer, with what went before."""
    refers, at_us = arrived.refers or "", arrived.at_us
    barred = kept_elsewhere(view, admitted, refers, at_us)
    if barred is not None:
        return BodyRefused(barred, at_us)
    keep = kept_in(view, admitted, allowed)
    if keep is None:
        return BodyRefused(unknown_reference(refers), at_us)
    whole = yield Resume(keep, refers)
    if isinstance(whole, BodyRead):
        whole = msgspec.structs.replace(whole, written=arrived.written)
    return whole


def unknown_reference(response_id: str) -> Refused:
    """There is no such answer here, for this key."""
    words = f"Answer {shown(response_id)!r} is not kept here for this key (any more); send the "
    words += "whole input, or see docs/dialects.md."
    return Refused("previous_response_not_found", words, param="previous_response_id")


def shown(response_id: str) -> str:
    """An id as it may be told: it is the client's, and may hold anything."""
    return ascii(response_id[:_SHOWN_MAX])[1:-1]
