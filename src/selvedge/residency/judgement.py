"""One receipt held against the release that it names: what in it should not have happened.

The router is not asked. A release says which countries a rule's zone has, where each PoP stands and
what a class demands; a receipt says where its bytes were, might have been and were processed. What
of it lies outside is a breach, with words that a person can check by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from selvedge.fabric import Attestation, DataClass, Key, Place, Receipt, Release
from selvedge.residency.rows import Row, rows_of

KINDS: Final = {
    "zone": "a country outside the zone of the rule",
    "policy": "a PoP that the policy forbids",
    "place": "a PoP that is not where the receipt says, or not of the fleet",
    "ingress": "entered where its rule lets nothing in",
    "rule": "a rule or zone that its release does not have",
    "handling": "a handling that was asked for and not kept to",
}
"""What a receipt can be in breach of."""


class Breach(NamedTuple):
    """One thing that should not have happened."""

    kind: str
    words: str


class _Touch(NamedTuple):
    """A site that had, or might have had, a request's bytes."""

    what: str
    pop: str
    country: str


class Judge:
    """Judges receipts by one release."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self._pops = {pop.id: pop for pop in release.pops}
        self._sites: dict[str, Place] = {one.id: one for one in release.sites}
        self._zones = {zone.id: frozenset(zone.countries) for zone in release.zones}
        self._classes = {
            (tenant.id, one.id): one for tenant in release.tenants for one in tenant.classes
        }
        self._keys = {(key.tenant, key.id): key for key in release.keys}
        self._owners = {one.id: one.parent for one in release.entities}
        self._bits = {one: bit for bit, one in enumerate(self._sites)}
        self._rows = rows_of(release.policy) if release.policy is not None else {}

    def owners(self, entity: str | None) -> tuple[str, ...]:
        """Who owns an entity, all the way up, as the release says."""
        found: list[str] = []
        owner = self._owners.get(entity or "")
        while owner is not None:
            found.append(owner)
            owner = self._owners.get(owner)
        return tuple(found)

    def judge(self, receipt: Receipt) -> list[Breach]:
        """What should not have happened. A request that went nowhere is in breach of nothing."""
        touches = list(_touches(receipt))
        if not touches and receipt.cache != "hit":
            return []
        kind = self._classes.get((receipt.tenant, receipt.data_class))
        if kind is None or receipt.rule != f"{receipt.tenant}/{receipt.data_class}":
            return [Breach("rule", f"its release has no rule {receipt.rule!r} for its tenant")]
        if kind.zone != receipt.zone:
            words = f"its release has rule {receipt.rule!r} in zone {kind.zone!r}"
            return [Breach("rule", f"{words}, the receipt says {receipt.zone!r}")]
        allowed = self._countries(kind, self._keys.get((receipt.tenant, receipt.key)))
        found = [one for touch in touches for one in self._place(touch, allowed, kind.zone)]
        found += self._policy(receipt, kind, touches)
        found += self._ingress(receipt, kind, allowed)
        found += self._handling(receipt, kind)
        found += _attested(receipt)
        return list(dict.fromkeys(found))

    def judge_serving(self, receipt: Receipt) -> list[Breach]:
        """The serving PoP's part alone, where it served under this release and not the other's."""
        kind = self._classes.get((receipt.tenant, receipt.data_class))
        if kind is None:
            return [Breach("rule", f"the serving PoP's release has no rule {receipt.rule!r}")]
        found: list[Breach] = []
        if receipt.served_pop is not None and receipt.processed_in is not None:
            touch = _Touch("processed", receipt.served_pop, receipt.processed_in)
            found += self._place(touch, self._countries(kind, None), kind.zone)
            found += self._permits(receipt, kind, [touch])
        return [*found, *self._engine(receipt, kind)]

    def _countries(self, kind: DataClass, key: Key | None) -> frozenset[str]:
        """Countries of a class's zone, within those of a key that is narrowed."""
        found = self._zones.get(kind.zone, frozenset())
        if key is not None and key.zones:
            found &= frozenset().union(*(self._zones.get(zone, frozenset()) for zone in key.zones))
        return found

    def _place(self, touch: _Touch, allowed: frozenset[str], zone: str) -> Iterator[Breach]:
        if touch.country not in allowed:
            yield Breach("zone", f"{touch.what} in {touch.country}, outside zone {zone!r}")
        pop = self._sites.get(touch.pop)
        if pop is None:
            yield Breach("place", f"{touch.what} at PoP {touch.pop!r}, which its release lacks")
        elif pop.country != touch.country:
            words = f"{touch.what} at PoP {touch.pop!r} in {touch.country}"
            yield Breach("place", f"{words}, which its release has in {pop.country}")
            if pop.country not in allowed:
                yield Breach("zone", f"PoP {pop.id!r} is in {pop.country}, outside zone {zone!r}")

    def _policy(self, receipt: Receipt, kind: DataClass, touches: list[_Touch]) -> Iterator[Breach]:
        policy = self.release.policy
        version = policy.version if policy is not None and kind.policy is not None else None
        if receipt.policy != version:
            words = f"its release decides by policy {version or 'none'}"
            yield Breach("policy", f"{words}, the receipt says {receipt.policy or 'none'}")
        yield from self._permits(receipt, kind, touches)
        if kind.policy is None:
            return
        row = self._row(kind.policy, receipt.received_us)
        if row is None or not self._holds(row.entry, receipt.ingress_pop):
            words = f"entered at PoP {receipt.ingress_pop!r}, where policy {kind.policy!r} does not"
            yield Breach("policy", f"{words} permit it")

    def _permits(
        self, receipt: Receipt, kind: DataClass, touches: list[_Touch]
    ) -> Iterator[Breach]:
        """The policy, as the release has it at the moment of the request, permits processing."""
        if kind.policy is None:
            return
        row = self._row(kind.policy, receipt.received_us)
        for touch in touches:
            if row is None or not self._holds(row.process, touch.pop):
                words = f"{touch.what} at PoP {touch.pop!r}, where policy {kind.policy!r} does not"
                yield Breach("policy", f"{words} permit it")

    def _row(self, rule: str, at_us: int) -> Row | None:
        rows = self._rows.get(rule, ())
        return next((one for one in rows if one.from_us <= at_us < one.until_us), None)

    def _holds(self, bits: int, pop: str) -> bool:
        bit = self._bits.get(pop)
        return bit is not None and bool(bits >> bit & 1)

    def _ingress(
        self, receipt: Receipt, kind: DataClass, allowed: frozenset[str]
    ) -> Iterator[Breach]:
        pop = self._pops.get(receipt.ingress_pop)
        where = receipt.ingress_country
        if pop is None or pop.country != where:
            known = f"has it in {pop.country}" if pop is not None else "lacks it"
            words = f"entered at PoP {receipt.ingress_pop!r} in {where}; its release {known}"
            yield Breach("place", words)
        inside = where in allowed
        if not inside and kind.ingress != "transit-allowed":
            yield Breach("ingress", f"entered in {where}, and its rule is in-zone")
        elif not inside and not receipt.transit:
            yield Breach("ingress", f"entered in {where}, and does not say that it is in transit")

    def _handling(self, receipt: Receipt, kind: DataClass) -> Iterator[Breach]:
        if set(receipt.handling) != set(kind.handling):
            asked = ", ".join(kind.handling) or "none"
            words = f"its class asks for {asked}, the receipt says "
            yield Breach("handling", words + (", ".join(receipt.handling) or "none"))
        if "zero-retention" in kind.handling and receipt.cache == "hit":
            yield Breach("handling", "its class keeps nothing, and it was answered from the cache")
        if receipt.attested is None:
            yield from self._engine(receipt, kind)

    def _engine(self, receipt: Receipt, kind: DataClass) -> Iterator[Breach]:
        """Whether the engine that answered honours what the class asks for."""
        if not kind.handling or receipt.served_pop is None:
            return
        pop = self._sites.get(receipt.served_pop)
        honours = _honours(pop, receipt.served_engine)
        if honours is not None and not honours.issuperset(kind.handling):
            lacks = ", ".join(one for one in kind.handling if one not in honours)
            where = f"{receipt.served_pop}/{receipt.served_engine}"
            yield Breach("handling", f"engine {where} does not honour {lacks}")


def _honours(pop: Place | None, engine: str | None) -> frozenset[str] | None:
    if pop is None:
        return None
    for one in pop.engines:
        if one.id == engine:
            return frozenset(one.honours)
    return None


def _touches(receipt: Receipt) -> Iterator[_Touch]:
    if receipt.served_pop is not None or receipt.processed_in is not None:
        pop, country = receipt.served_pop or "-", receipt.processed_in or "-"
        yield _Touch("processed", pop, country)
    for tried in receipt.attempts:
        yield _Touch("sent", tried.pop, tried.country)
    if len(receipt.planned) != len(receipt.planned_in):
        yield _Touch("planned", "-", "-")
    for pop, country in zip(receipt.planned, receipt.planned_in, strict=False):
        yield _Touch("planned", pop, country)


def word_of(receipt: Receipt) -> Attestation | None:
    """The serving PoP's word; None where there is none, or none that can be read."""
    if receipt.attested is None:
        return None
    try:
        return receipt.attested.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _attested(receipt: Receipt) -> Iterator[Breach]:
    """The serving PoP's word, where there is one, is what the receipt says."""
    if receipt.attested is None:
        return
    word = word_of(receipt)
    if word is None:
        yield Breach("place", "its attestation cannot be read: nobody says where it was processed")
        return
    ours = (receipt.served_pop, receipt.processed_in, receipt.served_entity)
    if ours != (word.pop, word.country, word.entity):
        words = f"PoP {word.pop!r} attests {word.country}, entity {word.entity!r}"
        yield Breach("place", f"{words}; the receipt says {ours[0]!r}, {ours[1]}, {ours[2]!r}")
