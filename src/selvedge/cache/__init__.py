"""Floor 1: scopes, keys and gates of the answer cache, and what may be kept."""

from selvedge.cache.asked import Asked, read_asked
from selvedge.cache.control import Directives, Forwarded, age_s, cache_status, read_cache_control
from selvedge.cache.gates import Slots, clash, slots_of
from selvedge.cache.keepable import why_not_kept
from selvedge.cache.scope import CacheStatus, Candidate, Scope, admits, judge

__all__ = [
    "Asked",
    "CacheStatus",
    "Candidate",
    "Directives",
    "Forwarded",
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
    "why_not_kept",
]
