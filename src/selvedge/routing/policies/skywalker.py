"""SkyWalker: near PoPs while they take work, by prefix; else one push to a far one that does.

arXiv 2505.24095 (EuroSys 2026) and its code (skypilot, branch serve-multi-region-lb): a balancer a
region pushes only to replicas whose own queue is empty; among those it takes the longest prefix
match if more than ``match_share`` of the prompt, else the least load; where no local one is
available, an available remote one the same way, one hop. Simplified: a region is all PoPs within
``local_rtt_us``; an ingress has no queue of its own to wait in, so where none is available the
request goes to the local one with the least load; the trie is the trail of what went from here.
"""

from __future__ import annotations

from collections.abc import Sequence

from selvedge.fabric import Ask
from selvedge.fabric.value import Value
from selvedge.routing.attempts import Attempt, Candidate
from selvedge.routing.load import Load
from selvedge.routing.policies.ordering import Seen, predictions, seconds_waiting, survey
from selvedge.routing.signals import Signals
from selvedge.routing.trail import Trail


class SkyWalkerKnobs(Value, frozen=True):
    """``pending_tokens``: a PoP is available while no more than this waits (the paper: none)."""

    match_share: float = 0.5
    local_rtt_us: int = 30_000
    pending_tokens: int = 0


class SkyWalker:
    """Selective pushing with prefix matches."""

    def __init__(self, knobs: SkyWalkerKnobs | None = None, seed: str = "") -> None:
        del seed
        self._knobs = knobs or SkyWalkerKnobs()
        self._trail = Trail()

    def order(
        self,
        facts: Ask,
        shortlist: Sequence[Candidate],
        signals: Signals | None,
        load: Load,
        now_us: int,
    ) -> list[Attempt]:
        """Available local ones, then available remote ones, then the rest, each by prefix."""
        trail = self._trail.find(facts.prefix)
        seen = survey(facts, shortlist, signals, load, now_us, trail=trail)
        limit_us = max(self._knobs.local_rtt_us, shortlist[0].rtt_us)
        for one in seen:
            remote = one.candidate.rtt_us > limit_us
            free = one.sight.waiting <= self._knobs.pending_tokens
            one.cost = float(remote if free else 2 + remote)
        count = max(1, len(facts.prefix))
        matched = [one for one in seen if one.blocks / count > self._knobs.match_share]
        seen.sort(key=lambda one: self._key(one, matched))
        self._trail.mark(facts.prefix, seen[0].candidate, now_us)
        return predictions(seen, "selective push")

    def _key(self, one: Seen, matched: list[Seen]) -> tuple[float, int, float, int, int]:
        blocks = -one.blocks if one in matched else 0
        return one.cost, blocks, seconds_waiting(one), one.sight.running, one.candidate.rtt_us
