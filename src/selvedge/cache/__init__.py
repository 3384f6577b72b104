"""Floor 1: keys, scopes, gates and judgement of the answer cache, and what may be kept."""

from selvedge.cache import calibration, judging
from selvedge.cache.asked import Asked, read_asked
from selvedge.cache.audit import Audit
from selvedge.cache.bounded import pooled
from selvedge.cache.control import Directives, Forwarded, age_s, cache_status, read_cache_control
from selvedge.cache.deciders import decider_of
from selvedge.cache.deciding import NEAR, Decider, Pair, Verdict
from selvedge.cache.gates import Slots, clash, slots_of
from selvedge.cache.keepable import why_not_kept
from selvedge.cache.pairing import also_compared, content_words, pair_of
from selvedge.cache.scope import WHOLE, Candidate, Scope, admits, judge
from selvedge.cache.value import over_share, to_leave, value_of

__all__ = [
    "NEAR",
    "WHOLE",
    "Asked",
    "Audit",
    "Candidate",
    "Decider",
    "Directives",
    "Forwarded",
    "Pair",
    "Scope",
    "Slots",
    "Verdict",
    "admits",
    "age_s",
    "also_compared",
    "cache_status",
    "calibration",
    "clash",
    "content_words",
    "decider_of",
    "judge",
    "judging",
    "over_share",
    "pair_of",
    "pooled",
    "read_asked",
    "read_cache_control",
    "slots_of",
    "to_leave",
    "value_of",
    "why_not_kept",
]
