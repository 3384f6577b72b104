"""Floor 1: scopes and judgement of the answer cache. A null cache for now; its seat is taken."""

from selvedge.cache.asked import Asked, read_asked
from selvedge.cache.gates import Slots, clash, slots_of
from selvedge.cache.scope import CacheStatus, Candidate, Scope, admits, judge

__all__ = [
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
