"""Floor 1: scopes and judgement of the answer cache. A null cache for now; its seat is taken."""

from selvedge.cache.audit import Audit
from selvedge.cache.bounded import pooled
from selvedge.cache.deciders import decider_of
from selvedge.cache.deciding import NEAR, Decider, Pair, Verdict
from selvedge.cache.scope import CacheStatus, Candidate, Scope, admits, judge

__all__ = [
    "NEAR",
    "Audit",
    "CacheStatus",
    "Candidate",
    "Decider",
    "Pair",
    "Scope",
    "Verdict",
    "admits",
    "decider_of",
    "judge",
    "pooled",
]
