"""Floor 1: scopes and judgement of the answer cache. A null cache for now; its seat is taken."""

from selvedge.cache.scope import CacheStatus, Candidate, Scope, admits, judge

__all__ = ["CacheStatus", "Candidate", "Scope", "admits", "judge"]
