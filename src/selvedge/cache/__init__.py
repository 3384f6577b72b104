"""Floor 1: scopes and judgement of the answer cache. A null cache for now; its seat is taken."""

from selvedge.cache.asked import Asked, read_asked
from selvedge.cache.audit import Audit
from selvedge.cache.deciders import decider_of
from selvedge.cache.deciding import NEAR, Decider, Pair, Verdict
from selvedge.cache.gates import Slots, clash, slots_of
from selvedge.cache.scope import CacheStatus, Candidate, Scope, admits, judge

__all__ = [
    "NEAR",
    "Asked",
    "Audit",
    "CacheStatus",
    "Candidate",
    "Decider",
    "Pair",
    "Scope",
    "Slots",
    "Verdict",
    "admits",
    "clash",
    "decider_of",
    "judge",
    "read_asked",
    "slots_of",
]
