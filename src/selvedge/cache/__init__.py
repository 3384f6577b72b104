"""Floor 1: keys, scopes and judgement of the answer cache."""

from selvedge.cache.asked import Asked, read_asked
from selvedge.cache.gates import Slots, clash, slots_of
from selvedge.cache.scope import WHOLE, CacheStatus, Candidate, Scope, admits, judge

__all__ = [
    "WHOLE",
    "Asked",
    "CacheStatus",
    "Candidate",
    "Scope",
    "Slots",
    "admits",
    "clash",
    "judge",
    "read_asked",
    "slots_of",
]
