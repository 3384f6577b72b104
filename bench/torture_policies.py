"""Policies drawn by lot, written twice: as Cedar, which the release is compiled from, and as sets.

The sets are made from the same draws by plain Python and are all that the witness sees: what a
permit names less what a forbid names, at each moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from selvedge.fabric import ACTS, CompiledRule, Place, Policy
from selvedge.sim import Permits

RULES = 10


class Clause(msgspec.Struct, frozen=True):
    """A permit, or a forbid, of one rule: which sites, for which acts."""

    rule: str
    forbids: bool
    acts: tuple[str, ...]
    countries: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()

    def concerns(self, pop: Place) -> bool:
        """Whether it speaks of a site; where it names nothing it speaks of all."""
        if self.countries and pop.country in self.countries:
            return True
        if self.entities and pop.entity in self.entities:
            return True
        if self.sites and pop.id in self.sites:
            return True
        return not (self.countries or self.entities or self.sites)


class PoliciesDrawn(msgspec.Struct, frozen=True):
    """Clauses by the moment from which they hold, and what they come to."""

    moments: tuple[tuple[int, tuple[Clause, ...]], ...]
    permits: Permits


def draw_policies(rng: Random, pops: Sequence[Place], lapse_us: int) -> PoliciesDrawn:
    """Clauses of every rule; at ``lapse_us`` some permits are gone and some forbids have come."""
    first = [clause for at in range(RULES) for clause in _clauses(rng, f"rule-{at}", pops)]
    later = [one for one in first if one.forbids or rng.random() < 0.8]
    for at in range(RULES):
        if rng.random() < 0.5:
            entity = rng.choice(pops).entity
            later.append(Clause(f"rule-{at}", True, ("process",), entities=(entity,)))
    moments = ((0, tuple(first)), (lapse_us, tuple(later)))
    return PoliciesDrawn(moments, permits_of(moments, pops))


def _clauses(rng: Random, rule: str, pops: Sequence[Place]) -> list[Clause]:
    every = sorted({pop.country for pop in pops})
    serving = sorted({pop.country for pop in pops if pop.engines})
    entities = sorted({pop.entity for pop in pops})
    where = tuple(rng.sample(serving, rng.randint(3, len(serving))))
    found = [Clause(rule, False, ACTS, countries=tuple(sorted({*where, *rng.sample(every, 20)})))]
    if rng.random() < 0.5:
        found.append(Clause(rule, False, ("enter", "log", "receipts", "keys")))
    if rng.random() < 0.6:
        acts = tuple(rng.sample(ACTS, rng.randint(1, 3)))
        found.append(Clause(rule, True, acts, entities=tuple(rng.sample(entities, 3))))
    if rng.random() < 0.4:
        sites = tuple(rng.choice(pops).id for _ in range(20))
        found.append(Clause(rule, True, ("process",), sites=sites))
    return found


def permits_of(moments: Sequence[tuple[int, Sequence[Clause]]], pops: Sequence[Place]) -> Permits:
    """What is allowed, as sets of PoPs, the latest moment first.

    At a moment of change a class has the new row and what it had at publication: the sets narrow.
    """
    found: dict[tuple[str, str], tuple[tuple[int, frozenset[str]], ...]] = {}
    for rule in {one.rule for _, clauses in moments for one in clauses}:
        for act in ACTS:
            rows: list[tuple[int, frozenset[str]]] = []
            published: frozenset[str] | None = None
            for from_us, clauses in moments:
                own = [one for one in clauses if one.rule == rule and act in one.acts]
                now = frozenset(pop.id for pop in pops if _allows(own, pop))
                published = now if published is None else published
                rows.insert(0, (from_us, now & published))
            found[rule, act] = tuple(rows)
    return found


def _allows(clauses: Sequence[Clause], pop: Place) -> bool:
    told = [one for one in clauses if one.concerns(pop)]
    return any(not one.forbids for one in told) and not any(one.forbids for one in told)


def compile_drawn(drawn: PoliciesDrawn, pops: Sequence[Place]) -> Policy:
    """The rows as a release has them."""
    rows = []
    for at in range(RULES):
        rule = f"rule-{at}"
        for number, (from_us, _) in enumerate(drawn.moments):
            bits: dict[str, str] = {}
            for act in ACTS:
                allowed = drawn.permits[rule, act][-1 - number][1]
                mask = sum(1 << bit for bit, pop in enumerate(pops) if pop.id in allowed)
                bits[act] = f"{mask:x}"
            rows.append(CompiledRule(rule=rule, from_us=from_us, **bits))
    return Policy("drawn by lot", "{}", "torture", "sha256:" + "0" * 64, tuple(rows))
