"""Who of the allowed may answer this request: what its client says, and what this PoP can ask.

Residency has spoken before; here the set only gets smaller, and an order. Each filter that leaves
nobody is named, with whom it took away. Prices are what the engine's operator pays (`cost`), else
what the model is sold at; a cap lets nobody pass whose price is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from selvedge.exchange.view import FleetView
from selvedge.fabric import Ask, Engine, Place, PoP, Preferences, Price, Refused
from selvedge.ledger import Admitted
from selvedge.residency import Allowed
from selvedge.routing import NOBODY

OWN: Final = "own"
"""Stands for all PoPs of the fleet."""
_NAMED_MAX: Final = 5
_PREFERS: Final = Preferences()


class Choice(msgspec.Struct, frozen=True):
    """What is left to rank."""

    members: Iterable[Place]
    barred: frozenset[str] = NOBODY
    """Engines that are too dear, as ``site/engine``."""
    tiers: Mapping[str, int] | None = None
    """By site: whom the client wants first; None: as routing has it."""
    only_first: bool = False
    """Whether nobody is asked after the first one."""


def choose(view: FleetView, ask: Ask, allowed: Allowed, admitted: Admitted) -> Choice | Refused:
    """The sites of the allowed set that may answer, and in which order they should."""
    bits, passes = reach(view, allowed, admitted), admitted.passes_to
    if passes is not None and not bits:
        return _passed_nowhere(passes, admitted)
    prefers = ask.prefers
    if prefers is None:
        members = view.rules.members_kept(bits)
        tiers = {passes: 0} if passes is not None else None
        if bits != allowed.bits and passes is None and _serves_none(view, ask.model, members):
            return _undialled(view, ask.model, allowed.bits & ~bits)
        return Choice(members, tiers=tiers)
    return _Choosing(view, ask.model, prefers).choose(view.rules.members(bits), passes)


def reach(view: FleetView, allowed: Allowed, admitted: Admitted) -> int:
    """The allowed sites that this PoP can ask for a key: a bitset, empty where there is none."""
    passes = admitted.passes_to
    if passes is None:
        return allowed.bits & view.dials
    theirs = allowed.bits & view.rules.bits((passes,))
    return theirs | (allowed.bits & view.rules.bits(view.pops) if admitted.falls_back else 0)


def narrow(view: FleetView, allowed: Allowed, prefers: Preferences) -> Allowed | Refused:
    """The allowed set within the zone that a request names, and by the handling it asks for."""
    if prefers.zone is None and not prefers.handling:
        return allowed
    return view.rules.within(allowed, prefers.zone, prefers.handling)


class _Choosing:
    """One request's filters, one after the other, and what each took."""

    def __init__(self, view: FleetView, model: str, prefers: Preferences) -> None:
        self._view = view
        self._model = model
        self._prefers = prefers
        self._offered = view.routes.offered(model)
        self._took: list[str] = []

    def choose(self, members: Iterable[Place], passes: str | None) -> Choice | Refused:
        """What is left after all of them."""
        prefers = self._prefers
        left = [one for one in members if one.id in self._offered]
        if not left:
            return Choice(left)  # nothing of ours: routing says why
        quantised = self._quantised()
        if quantised is not None:
            return quantised
        if prefers.only:
            left = self._filter(left, "only", lambda one: _is_named(one, prefers.only))
        if prefers.ignore:
            left = self._filter(left, "ignore", lambda one: not _is_named(one, prefers.ignore))
        if prefers.order and not prefers.fallbacks:
            what = "order without allow_fallbacks"
            left = self._filter(left, what, lambda one: _is_named(one, prefers.order))
        barred = NOBODY
        if prefers.caps and left:
            left, barred = self._capped(left)
        if not left:
            took = "; ".join(self._took)
            words = f"No provider is left for model {self._model!r}: {took}."
            return Refused("no_provider_left", words, param="provider")
        only_first = not prefers.fallbacks and not prefers.order
        return Choice(tuple(left), barred, self._tiers(left, barred, passes), only_first)

    def _filter(self, left: list[Place], what: str, keeps: Callable[[Place], bool]) -> list[Place]:
        kept = [one for one in left if keeps(one)]
        gone = [one.id for one in left if not keeps(one)]
        if gone:
            more = f" and {len(gone) - _NAMED_MAX} more" if gone[_NAMED_MAX:] else ""
            self._took.append(f"{what} took {', '.join(gone[:_NAMED_MAX])}{more}")
        return kept

    def _quantised(self) -> Refused | None:
        wanted = self._prefers.quantisations
        has = self._view.models[self._model].quantisation
        if not wanted or has.lower() in wanted:
            return None
        words = f"No provider is left for model {self._model!r}: quantizations took all, it is "
        return Refused("no_provider_left", f"{words}{has!r}.", param="provider.quantizations")

    def _capped(self, left: list[Place]) -> tuple[list[Place], frozenset[str]]:
        """Who is within the caps. A PoP that chooses itself is as dear as its dearest engine."""
        barred: set[str] = set()
        for one in left:
            for engine in self._offered[one.id].engines:
                if not self._is_within(self.price(engine)):
                    barred.add(f"{one.id}/{engine.id}")

        def keeps(one: Place) -> bool:
            engines = self._offered[one.id].engines
            within = [each for each in engines if f"{one.id}/{each.id}" not in barred]
            chosen_here = one.id in self._view.providers or one.id == self._view.here.id
            return bool(within) if chosen_here else len(within) == len(engines)

        kept = self._filter(left, "max_price", keeps)
        # Of peers all engines are within, and nothing is to be kept from them.
        ids = {one.id for one in kept}
        return kept, frozenset(one for one in barred if one.partition("/")[0] in ids)

    def price(self, engine: Engine) -> Price | None:
        """What a request costs there; None where nobody said."""
        return engine.cost or self._view.models[self._model].price

    def _is_within(self, price: Price | None) -> bool:
        caps = self._prefers
        if price is None:
            return False
        return (
            (caps.prompt_max is None or price.input <= caps.prompt_max)
            and (caps.completion_max is None or price.output <= caps.completion_max)
            and (caps.request_max is None or price.request <= caps.request_max)
        )

    def _tiers(
        self, left: list[Place], barred: frozenset[str], passes: str | None
    ) -> Mapping[str, int] | None:
        """Whom the client names first, then by what it sorts; the first PoP of a key before all."""
        prefers = self._prefers
        if not prefers.order and prefers.sort is None:
            return {passes: 0} if passes is not None else None
        rows = []
        for one in left:
            named = next(
                (at for at, name in enumerate(prefers.order) if _is_named(one, (name,))),
                len(prefers.order),
            )
            rows.append((one.id != passes, named, self._rank(one, barred), one.id))
        keys = sorted({row[:3] for row in rows})
        return {row[3]: keys.index(row[:3]) for row in rows}

    def _rank(self, one: Place, barred: frozenset[str]) -> float:
        """By what the client sorts, the least first; who is not known comes last."""
        paces, sort = self._view.paces, self._prefers.sort
        if sort == "price":
            engines = self._offered[one.id].engines
            fit = [each for each in engines if f"{one.id}/{each.id}" not in barred]
            prices = [self.price(each) for each in fit]
            known = [each.input + each.output for each in prices if each is not None]
            if not known or len(known) < len(prices):
                return _UNKNOWN
            chosen_here = one.id in self._view.providers or one.id == self._view.here.id
            return float(min(known) if chosen_here else max(known))
        if sort is None or paces is None:
            return 0.0
        if sort == "throughput":
            rate = paces.rate(one.id)
            return -rate if rate is not None else _UNKNOWN
        delay_us = paces.delay_us(one.id)
        return delay_us if delay_us is not None else _UNKNOWN


_UNKNOWN: Final = float(1 << 60)


def _is_named(one: Place, names: Iterable[str]) -> bool:
    """By its id, or by who operates it; ``own`` is every PoP."""
    known = {one.id, one.entity.lower()}
    if isinstance(one, PoP):
        known.add(OWN)
    return not known.isdisjoint(names)


def _serves_none(view: FleetView, model: str, members: Iterable[Place]) -> bool:
    offered = view.routes.offered(model)
    return not any(one.id in offered for one in members)


def _undialled(view: FleetView, model: str, bits: int) -> Choice | Refused:
    offered = view.routes.offered(model)
    away = [one.id for one in view.rules.members(bits) if one.id in offered]
    if not away:
        return Choice(())
    words = f"Model {model!r} is served by {', '.join(away[:_NAMED_MAX])}, of whom this PoP holds "
    return Refused("no_engine_available", words + "no secret.", "model", retry_after_ms=1000)


def _passed_nowhere(passes: str, admitted: Admitted) -> Refused:
    words = f"Key {admitted.key!r} is passed to provider {passes!r} alone, where its data class "
    words += "may not be processed; use another key."
    return Refused("key_scope", words)
