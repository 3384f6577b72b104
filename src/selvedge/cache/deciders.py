"""Which decider a rule asks for, and several routes' learning pooled as another's prior."""

from __future__ import annotations

from selvedge.cache.bounded import Bounded
from selvedge.cache.deciding import Decider
from selvedge.cache.static import Static
from selvedge.cache.verified import Verified
from selvedge.fabric import CacheRule


def decider_of(rule: CacheRule, kept: bytes | None, prior: bytes | None) -> Decider:
    """The rule's decider with what it had learned; ``prior`` is `pooled` of the tenant's others.

    Raises `ValueError` or `msgspec.DecodeError` where ``kept`` or ``prior`` is not a dump of the
    rule's mode and this version: then it begins anew with None.
    """
    if rule.semantic == "bounded":
        return Bounded(rule.wrong_hits_max, rule.confidence, kept, prior)
    if rule.semantic == "verified":
        return Verified(rule.wrong_hits_max, kept)
    return Static(rule.threshold)
