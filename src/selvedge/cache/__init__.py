"""Floor 1: keys, scopes and judgement of the answer cache."""

from selvedge.cache.asked import Asked, read_asked
from selvedge.cache.audit import Audit
from selvedge.cache.bounded import pooled
from selvedge.cache.deciders import decider_of
from selvedge.cache.deciding import NEAR, Decider, Pair, Verdict
from selvedge.cache.gates import Slots, clash, slots_of
from selvedge.cache.pairing import content_words, pair_of
from selvedge.cache.scope import WHOLE, CacheStatus, Candidate, Scope, admits, judge

__all__ = [
    "NEAR",
    "WHOLE",
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
    "content_words",
    "decider_of",
    "judge",
    "pair_of",
    "pooled",
    "read_asked",
    "slots_of",
]
