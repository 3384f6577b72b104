"""What most fleets do today: each region serves only itself. The rule that ours is compared with.

Within its region an ingress uses our own policy, so that a comparison shows what sharing between
regions is worth and nothing else. Where a region has no engine that may serve a request, the region
of the nearest one that may is its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from selvedge.fabric import Ask
from selvedge.routing import Attempt, Candidate, Load, Policy, Signals


class RegionLocal:
    """A policy that sees only the candidates of one region."""

    __slots__ = ("_policy", "_region", "_regions")

    def __init__(self, policy: Policy, here: str, regions: Mapping[str, str]) -> None:
        self._policy = policy
        self._regions = regions
        self._region = regions[here]

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """The inner policy's order of the region's candidates."""
        regions = self._regions
        inside = [one for one in shortlist if regions[one.pop] == self._region]
        if not inside:
            nearest = regions[shortlist[0].pop]
            inside = [one for one in shortlist if regions[one.pop] == nearest]
        return self._policy.order(facts, inside, signals, load, now_us)
