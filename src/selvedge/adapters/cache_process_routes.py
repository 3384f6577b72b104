"""What was learned, by route: one scope and one model. Sealed beside the answers, and read again.

A route's decider begins with what the route had learned before, and with the tenant's other routes
pooled where it had learned nothing. What was learned since the last `save` is lost with the
process: some seconds' observations.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import Final

import msgspec

from selvedge.adapters.answer_store import AnswerStore
from selvedge.cache import Audit, Decider, Pair, decider_of, pooled
from selvedge.fabric import CacheRule, StoreFailed

ROUTES_MAX: Final = 4096
PRIORS_MAX: Final = 32
_DECIDER: Final = b"d"
_AUDIT: Final = b"a"


class Route:
    """One route's decider and audits."""

    def __init__(self, place: bytes, decider: Decider, audit: Audit, rule: CacheRule) -> None:
        self.place = place
        self.decider = decider
        self.audit = audit
        self.rule = rule
        self.is_dirty = False
        self.observations = 0
        self.unaudited = 0
        """Audits in a row of which no judge could say anything."""

    def learn(self, pair: Pair, entry: str, cluster: str, correct: bool) -> None:
        """An observation."""
        self.decider.learn(pair, entry, cluster, correct)
        self.observations += 1
        self.is_dirty = True

    def things(self) -> list[tuple[bytes, bytes]]:
        """What is kept of it."""
        audits = self.place + _AUDIT, self.audit.dump()
        return [(self.place + _DECIDER, self.decider.dump()), audits]

    def take_audit(self, correct: bool) -> None:
        """A judged hit."""
        self.audit.take(correct)
        self.is_dirty = True


class Routes:
    """The routes that were asked lately."""

    def __init__(self, store: AnswerStore) -> None:
        self.forgotten = 0
        """Dumps that could not be read: their routes began anew."""
        self._store = store
        self._routes: OrderedDict[tuple[bytes, float], Route] = OrderedDict()

    def of(self, tag: bytes, model: str, rule: CacheRule) -> Route:
        """The route's, by what its rule says now."""
        place = tag + self._store.keys.hide("model", model) + (rule.semantic or "").encode()
        if rule.semantic == "static":  # what a request asks for by its header is another route
            place += b"%.6f" % rule.threshold
        key = place, rule.threshold if rule.semantic == "static" else 0.0
        route = self._routes.get(key)
        if route is None or not _is_same(route.rule, rule):
            if route is not None:
                self._save([route])
            route = self._routes[key] = self._made(place, rule)
            if len(self._routes) > ROUTES_MAX:
                self._save([self._routes.popitem(last=False)[1]])
        self._routes.move_to_end(key)
        return route

    def all(self, tag: bytes) -> list[Route]:
        """The routes of a scope that were asked lately."""
        return [route for (place, _), route in self._routes.items() if place.startswith(tag)]

    def unsaved(self) -> tuple[list[Route], list[tuple[bytes, bytes]]]:
        """Routes that learned since they were asked last, and what is to be kept of them."""
        routes = [route for route in self._routes.values() if route.is_dirty]
        for route in routes:
            route.is_dirty = False
        return routes, [thing for route in routes for thing in route.things()]

    def forget(self, tag: bytes) -> None:
        """A scope is gone."""
        for key in [key for key in self._routes if key[0].startswith(tag)]:
            del self._routes[key]

    def _save(self, routes: list[Route]) -> None:
        things = [thing for route in routes if route.is_dirty for thing in route.things()]
        with contextlib.suppress(StoreFailed):  # Some observations of a route nobody asks for.
            if things:
                self._store.keep_small("learned", things)

    def _made(self, place: bytes, rule: CacheRule) -> Route:
        kept = self._store.small("learned", place + _DECIDER)
        audits = self._store.small("learned", place + _AUDIT)
        prior = None if kept or rule.semantic != "bounded" else self._prior(place)
        try:
            decider = decider_of(rule, kept, prior)
        except (ValueError, msgspec.MsgspecError):
            self.forgotten += 1
            decider = decider_of(rule, None, None)
        try:
            audit = Audit(rule.wrong_hits_max, rule.confidence, audits)
        except (ValueError, msgspec.MsgspecError):
            self.forgotten += 1
            audit = Audit(rule.wrong_hits_max, rule.confidence)
        return Route(place, decider, audit, rule)

    def _prior(self, place: bytes) -> bytes | None:
        keys = self._store.keys
        own = keys.by_tag(place[:16])
        dumps: list[bytes] = []
        for tag in keys.tags():
            key = keys.by_tag(tag)
            if own is None or key is None or key.tenant != own.tenant:
                continue
            for other in self._store.smalls("learned", tag):
                if other.endswith(b"bounded" + _DECIDER) and len(dumps) < PRIORS_MAX:
                    dump = self._store.small("learned", other)
                    if dump is not None:
                        dumps.append(dump)
        try:
            return pooled(dumps) if dumps else None
        except (ValueError, StoreFailed):
            return None


def _is_same(one: CacheRule, other: CacheRule) -> bool:
    return (one.semantic, one.wrong_hits_max, one.confidence) == (
        other.semantic,
        other.wrong_hits_max,
        other.confidence,
    )
