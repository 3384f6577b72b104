"""The story of one judgement: an engine is asked whether two answers of a cache say the same.

Nobody waits for it and nobody is billed. It goes where its tenant's request might have gone: the
allowed set is asked for anew, by the release that serves now, with everything that narrowed the
request. There is no `Recall` and no `Remember` in it, so a judgement is neither cached nor judged.
Where nothing has left the PoP there is no receipt either. Proposal 0016 has the reasons.
"""

from __future__ import annotations

import msgspec

from selvedge.exchange.case import Case
from selvedge.exchange.choosing import narrow
from selvedge.exchange.commands import BodyRead, Intend, NotWritten, Refuse
from selvedge.exchange.drafts import open_receipt, with_ask, with_rule
from selvedge.exchange.planning import plan_of
from selvedge.exchange.story import Story, job_of, relay_in_turn, settle_case
from selvedge.exchange.view import FleetView
from selvedge.fabric import Ask, Head, Personal, Preferences, Receipt, Refused
from selvedge.fabric.value import Value
from selvedge.ledger import Admitted
from selvedge.residency import Allowed
from selvedge.routing import Plan
from selvedge.wire import parse

NOBODY = Personal("", None, None)


class Judged(Value, frozen=True):
    """For whom a judgement is asked, and about what: whoever keeps this keeps no text."""

    admitted: Admitted
    prefers: Preferences | None
    receipt: str
    """Of the request whose answer is compared."""


def judgement(head: Head, judged: Judged, entry: str, body: bytes, view: FleetView) -> Story:
    """One question to a judge, from its tenant's rule to its receipt. ``entry`` is judged."""
    admitted, at_us = judged.admitted, head.received_us
    allowed = _allowed(view, judged, at_us)
    if isinstance(allowed, Refused):
        return Refuse(allowed, receipt=False)
    ask = _read(head, judged, body)
    if isinstance(ask, Refused):
        return Refuse(ask, receipt=False)
    # What the client sent is not kept: with no secret of its own, its provider is not asked.
    asker = msgspec.structs.replace(admitted, passes_to=None)
    plan = plan_of(head, ask, view, allowed, admitted=asker, at_us=at_us)
    if isinstance(plan, Refused):
        return Refuse(plan, receipt=False)
    plan = Plan(plan.attempts[:1])
    draft = with_ask(with_rule(open_receipt(head, view, admitted), allowed), ask, view)
    draft = _of_judgement(draft, judged, entry, plan)

    intended = yield Intend(draft, NOBODY)
    if isinstance(intended, NotWritten):
        words = f"The judgement cannot be written down ({intended.reason}), so nobody is asked."
        return Refuse(Refused("receipt_unwritable", words), receipt=False)
    case = Case(head, ask, BodyRead(body, at_us), asker, allowed, None, keeps=False)
    ended, tried = yield from relay_in_turn(plan, job_of(case))
    return (yield from settle_case(draft, case, ended, tried))


def _allowed(view: FleetView, judged: Judged, at_us: int) -> Allowed | Refused:
    """Where the tenant's request may be processed now, less who may be asked with its own secret
    alone.
    """
    admitted = judged.admitted
    allowed = view.rules.allowed(
        admitted.tenant, admitted.data_class, view.here.id, at_us, admitted.zones
    )
    if isinstance(allowed, Allowed) and judged.prefers is not None:
        allowed = narrow(view, allowed, judged.prefers)
    if isinstance(allowed, Refused) or admitted.passes_to is None:
        return allowed
    own = allowed.bits & view.rules.bits(view.pops) if admitted.falls_back else 0
    if not own:
        words = f"Key {admitted.key!r} is answered by provider {admitted.passes_to!r} alone, with a"
        words += " secret of its client's that is not kept."
        return Refused("no_provider_left", words)
    return Allowed(allowed.rule, own, allowed.transit)


def _read(head: Head, judged: Judged, body: bytes) -> Ask | Refused:
    """The facts of the question, with the request's wishes about who may read it."""
    ask = parse(head.route, body, "data-only")
    if isinstance(ask, Refused) or judged.prefers is None:
        return ask
    asked = judged.prefers
    # What the answer may cost its client, and in which precision it is made, is not the judge's.
    kept = Preferences(
        order=() if asked.fallbacks else asked.order,
        only=asked.only,
        ignore=asked.ignore,
        fallbacks=asked.fallbacks or not asked.order,
        handling=asked.handling,
        zone=asked.zone,
    )
    return msgspec.structs.replace(ask, prefers=kept)


def _of_judgement(draft: Receipt, judged: Judged, entry: str, plan: Plan) -> Receipt:
    return msgspec.structs.replace(
        draft,
        purpose="judge",
        dialect=None,
        cache_entry=entry,
        cache_from=judged.receipt,
        planned=tuple(one.pop for one in plan.attempts),
        planned_in=tuple(one.country for one in plan.attempts),
    )
