"""Who serves which model, of a whole release, and how far apart they are.

What the maps of all PoPs have in common: a simulation of thousands of ingresses finds it once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from selvedge.fabric import (
    PROVIDER_RTT_MS,
    Engine,
    Handling,
    Place,
    PoP,
    Provider,
    Release,
    WanModel,
)
from selvedge.routing.attempts import Candidate, seed_of

NOBODY: Final[frozenset[str]] = frozenset()
LISTS_MAX: Final = 256
"""Allowed sets whose lists are kept."""


class Offer:
    """A site that serves a model: what is the same of it on every map."""

    __slots__ = ("engines", "handicap_us", "pop", "rate", "seed")

    def __init__(self, pop: Place, engines: tuple[Engine, ...]) -> None:
        self.pop = pop
        self.engines = engines
        """Those that serve the model."""
        self.rate: int = max([one.prefill_tokens_per_s for one in engines])
        self.seed = seed_of(pop.id)
        self.handicap_us: int = pop.handicap_ms * 1000 if isinstance(pop, Provider) else 0
        """What choosing it shall cost, as if it were farther away."""


class Seen:
    """What the map of one PoP has found out so far."""

    __slots__ = ("candidates", "lists", "rtt_us")

    def __init__(self, here: str) -> None:
        self.rtt_us: dict[str, int] = {here: 0}
        self.candidates: dict[str, dict[str, Candidate]] = {}
        # By the identity of the allowed set, which is kept so that no other one gets it.
        self.lists: dict[int, tuple[Iterable[Place], dict[str, list[Candidate]]]] = {}


class Catalogue:
    """Who serves which model, of a whole release: one is enough for any number of PoPs."""

    __slots__ = ("_kept_to", "_lists", "models", "pops", "providers", "seen", "serving", "wan")

    def __init__(self, release: Release) -> None:
        self.models = {model.id: model for model in release.models}
        self.pops = {pop.id: pop for pop in release.pops}
        self.providers = {one.id: one for one in release.providers}
        self.wan = WanModel(
            path_inflation=release.wan.path_inflation, fixed_ms=release.wan.fixed_ms
        )
        # By PoP, what its map has found out: distances, candidates, lists. Maps come and go.
        self.seen: dict[str, Seen] = {}
        # By model and PoP: the engines that serve it.
        self.serving: dict[str, dict[str, Offer]] = {}
        # Of those, what honours a handling, found when it is first asked for: they are few.
        self._kept_to: dict[tuple[str, tuple[Handling, ...], frozenset[str]], str] = {}
        # As `Seen.lists`: an allowed set may be most of a fleet, and few serve.
        self._lists: dict[int, tuple[Iterable[Place], dict[str, list[Offer]]]] = {}
        for pop in release.sites:
            for model in sorted({served.model for one in pop.engines for served in one.serves}):
                engines = tuple(one for one in pop.engines if one.name_of(model) is not None)
                self.serving.setdefault(model, {})[pop.id] = Offer(pop, engines)

    def offers(self, model: str, allowed: Iterable[Place]) -> list[Offer]:
        """The allowed sites that serve the model, in the order of ``allowed``."""
        serving = self.serving[model]
        if not isinstance(allowed, tuple):
            return [serving[pop.id] for pop in allowed if pop.id in serving]
        known = self._lists.get(id(allowed))
        if known is None:
            if len(self._lists) >= LISTS_MAX:
                self._lists.clear()
            known = self._lists[id(allowed)] = allowed, {}
        found = known[1].get(model)
        if found is None:
            found = [serving[pop.id] for pop in allowed if pop.id in serving]
            known[1][model] = found
        return found

    def kept_to(
        self, model: str, handling: tuple[Handling, ...], barred: frozenset[str] = NOBODY
    ) -> str:
        """Under which name the engines are found that serve the model and honour this handling.

        ``barred`` are others that are left out, as ``site/engine``: who is too dear. There are as
        many such sets as there are prices, whatever caps clients think of.
        """
        name = self._kept_to.get((model, handling, barred))
        if name is None:
            name = "\n".join((model, *handling, *sorted(barred)))
            self._kept_to[model, handling, barred] = name
            self.serving[name] = offers = {}
            for pop_id, one in self.serving[model].items():
                wanted = set(handling)
                engines = tuple(
                    each
                    for each in one.engines
                    if wanted.issubset(each.honours) and f"{pop_id}/{each.id}" not in barred
                )
                if engines:
                    offers[pop_id] = Offer(one.pop, engines)
        return name

    def rtt_us(self, here: str, there: str) -> int:
        """Predicted round trip between two sites, in microseconds; 0 within one."""
        known = self.seen_from(here).rtt_us
        rtt_us = known.get(there)
        if rtt_us is None:
            provider = self.providers.get(there)
            if provider is not None:
                rtt_us = _provider_us(self.wan, self.pops[here], provider)
            else:
                rtt_us = _rtt_us(self.wan, self.pops[here], self.pops[there])
            known[there] = rtt_us
        return rtt_us

    def seen_from(self, here: str) -> Seen:
        """What the map of a PoP has found out."""
        seen = self.seen.get(here)
        if seen is None:
            seen = self.seen[here] = Seen(here)
        return seen

    def forget_candidates(self) -> None:
        """Let new maps make their own, with nothing that a policy noted on them; distances stay."""
        for seen in self.seen.values():
            seen.candidates.clear()
            seen.lists.clear()


def _provider_us(wan: WanModel, here: PoP, there: Provider) -> int:
    """As it is stated, else as far as it is away."""
    rtt_us = PROVIDER_RTT_MS * 1000
    if there.rtt_ms is not None:
        rtt_us = there.rtt_ms * 1000
    elif there.latitude is not None and there.longitude is not None:
        ends = (here.latitude, here.longitude), (there.latitude, there.longitude)
        rtt_us = round(wan.rtt_ms(*ends) * 1000)
    return rtt_us


def _rtt_us(wan: WanModel, a: PoP, b: PoP) -> int:
    ends = (a.latitude, a.longitude), (b.latitude, b.longitude)
    return round(wan.rtt_ms(*ends) * 1000)
