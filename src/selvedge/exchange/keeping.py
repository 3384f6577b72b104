"""What of a request a PoP may keep, and what it reads of it: nothing is made that may not be kept.

An answer for its `Idempotency-Key`, a place in the cache, the fingerprints of its prompt: all are
for later requests, and live where the rule of the data class lets something be kept, if anywhere.
"""

from __future__ import annotations

import msgspec

from selvedge.exchange.commands import BodyRead
from selvedge.exchange.view import FleetView
from selvedge.fabric import Ask, Handling, Head, Refused
from selvedge.residency import Allowed
from selvedge.wire import BLOCK_BYTES, ImageUrls, fingerprint, parse


def may_keep(view: FleetView, allowed: Allowed, handling: tuple[Handling, ...]) -> bool:
    """Whether this PoP may keep an answer or a prefix for later, in memory too."""
    if handling and "zero-retention" in handling:
        return False
    return view.rules.holds(allowed.rule.cache, view.here.id)


def read_ask(
    head: Head,
    arrived: BodyRead,
    view: FleetView,
    tenant: str,
    image_urls: ImageUrls,
    *,
    keeps: bool = True,
) -> Ask | Refused:
    """The facts of a body, with the fingerprints of its prompt where it is long enough for any.

    Where this PoP may keep nothing of it there are none: nobody can remember or tell them.
    """
    known = arrived.ask
    if known is not None:
        return known if keeps else msgspec.structs.replace(known, prefix=())
    ask = parse(head.route, arrived.body, image_urls)
    if isinstance(ask, Refused) or ask.prompt_bytes <= BLOCK_BYTES or not keeps:
        return ask
    salt = view.salts.get(tenant)
    if salt is None:
        return ask
    prefix = fingerprint(head.route, ask.model, arrived.body, salt)
    return msgspec.structs.replace(ask, prefix=prefix) if prefix else ask
