"""Floor 1: keys, scopes and judgement of the answer cache."""

from selvedge.cache.asked import Asked, read_asked
from selvedge.cache.control import Directives, age_s, cache_status, read_cache_control
from selvedge.cache.gates import Slots, clash, slots_of
from selvedge.cache.scope import WHOLE, CacheStatus, Candidate, Scope, admits, judge

__all__ = [
    "WHOLE",
    "Asked",
    "CacheStatus",
    "Candidate",
    "Directives",
    "Scope",
    "Slots",
    "admits",
    "age_s",
    "cache_status",
    "clash",
    "judge",
    "read_asked",
    "read_cache_control",
    "slots_of",
]
