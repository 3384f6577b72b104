"""The cache's part of the story: what is asked of it, what its answers are worth here and now.

The scope is made of what residency allowed, so that what was kept under another rule, zone, policy
or narrowed key is not even looked at. Where an answer was made must still be allowed when it is
given: a release may have moved a border since.
"""

from __future__ import annotations

import msgspec

from selvedge.cache import Candidate, Scope, admits, judge, read_asked
from selvedge.exchange.case import Case
from selvedge.exchange.commands import Recall, Recalled, Relayed, Reply
from selvedge.exchange.view import FleetView, prefix_scope
from selvedge.fabric import (
    JUDGES,
    NO_WISH,
    PROBE_TENANT,
    Ask,
    Head,
    Outcome,
    Receipt,
    Refused,
)

_PPM = 1_000_000


def recall_of(case: Case, view: FleetView) -> Recall | Refused | None:
    """What to ask of the cache; None where nothing of this request may be found or kept.

    Probes ask an engine, and a kept answer is none. Nothing is computed where the class has no
    cache, where this PoP may keep nothing of it, or for a model that its cache leaves out.
    """
    head, ask, rule = case.head, case.ask, case.allowed.rule
    caching = rule.caching
    if caching is None:
        return None
    wish = head.cache
    if isinstance(wish, Refused):
        return wish
    if not case.keeps or not caching.covers(ask.model) or _is_probe(case):
        return None
    wish = NO_WISH if wish is None else wish
    model = view.models.get(ask.model)
    if model is None or not (wish.reuses or wish.keeps):
        return None
    asked = read_asked(ask, case.arrived.body, model.digest)
    if asked is None:
        return None
    tenant, data_class = case.admitted.tenant, case.admitted.data_class
    scope = Scope(tenant, data_class, prefix_scope(rule), rule.policy or "")
    admitted = None if caching.judge in JUDGES else case.admitted
    return Recall(scope, caching, wish, asked, ask, case.admitted.key, admitted)


def _is_probe(case: Case) -> bool:
    return case.head.purpose == "probe" or case.admitted.tenant == PROBE_TENANT


def found_in(reply: Reply, recall: Recall, case: Case, view: FleetView) -> Candidate | None:
    """The kept answer to give, out of what was recalled; None: it is a miss."""
    if not isinstance(reply, Recalled):
        return None
    model = view.models[case.ask.model]
    fit = [
        one
        for one in reply.candidates
        if one.model == model.id and one.model_digest == model.digest and _may_give(one, case, view)
    ]
    return judge(recall.scope, recall.rule, recall.wish, fit, reply.at_us)


def _may_give(found: Candidate, case: Case, view: FleetView) -> bool:
    """Whether it was made where this request may be processed now, by who honours its class."""
    allowed = case.allowed
    site = view.pops.get(found.served_pop) or view.providers.get(found.served_pop)
    if site is None or site.country != found.country:
        return False
    if not view.rules.holds(allowed.bits, site.id):
        return False
    handling = allowed.rule.handling
    if not handling or not found.receipt:  # without one it is the operator's own
        return True
    honours = {one.id: one.honours for one in site.engines}.get(found.served_engine or "", ())
    return set(handling) <= set(honours)


def is_kept(recall: Recall, ask: Ask, ended: Relayed) -> bool:
    """Whether the answer just given is kept for others."""
    return admits(recall.wish, ask.choices, ended.finish_reason)


def why_no_engine(head: Head, at_us: int) -> Refused | None:
    """Why a miss ends here; None where an engine is asked."""
    wish = head.cache
    if wish is not None and not isinstance(wish, Refused) and wish.only_if_cached:
        words = "No kept answer fits, and the request says only-if-cached; send it without."
        return Refused("not_cached", words, param="cache-control")
    if at_us >= head.deadline_us:
        words = "The request's deadline has passed while its answer was looked for in the cache."
        return Refused("deadline_exceeded", words)
    return None


def given_again(draft: Receipt, found: Candidate, at_us: int) -> Receipt:
    """The receipt of a hit. It has no attempts; who made the answer is who made it then."""
    return msgspec.structs.replace(
        draft,
        cache="hit",
        cache_entry=found.id,
        cache_similarity=_PPM if found.same else round(min(max(found.similarity, 0.0), 1.0) * _PPM),
        cache_from=found.receipt or None,
        outcome=Outcome.COMPLETE,
        status=200,
        finish_reason=found.finish_reason,
        usage=found.usage,
        served_pop=found.served_pop,
        served_engine=found.served_engine,
        served_entity=found.entity,
        processed_in=found.country,
        model_digest=found.model_digest,
        ended_us=at_us,
    )
