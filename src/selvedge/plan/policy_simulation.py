"""What a change would have refused: receipts of the past, asked again of the release to come.

The compiled rules are asked, as a PoP asks them, with the day, the ingress and the class that the
receipt tells. What was refused then and would be served now is told, too. No I/O.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal, NamedTuple

import msgspec

from selvedge.fabric import PROBE_TENANT, Receipt, Refused, Release
from selvedge.ledger import MonthlyUsage, day_of
from selvedge.residency import Rules

Fate = Literal["same", "elsewhere", "refused", "unserved", "served"]
"""As it was; served, but not where it was; refused by residency; without any engine; and, of what
was refused by residency before: not refused any more.
"""
EXAMPLES_MAX: Final = 3
RESIDENCY: Final = frozenset({"residency_no_allowed_pop", "residency_ingress"})


class Affected(msgspec.Struct, frozen=True, order=True):
    """Receipts with one fate, of one tenant, rule and place."""

    fate: str
    tenant: str
    rule: str
    country: str
    """Where they were processed, or came in."""
    pop: str
    why: str
    receipts: int
    examples: tuple[str, ...]


class _Place(NamedTuple):
    fate: Fate
    tenant: str
    rule: str
    country: str
    pop: str
    why: str


class Simulation:
    """A fold over receipts."""

    def __init__(self, release: Release) -> None:
        self._release = release
        self._rules = Rules(release)
        self._index = {one.id: bit for bit, one in enumerate(release.sites)}
        self._keys = {(key.tenant, key.id): key.zones for key in release.keys}
        self._models: dict[tuple[str, tuple[str, ...]], int] = {}
        self.fates: Counter[str] = Counter()
        self.usage: dict[tuple[str, str], MonthlyUsage] = {}
        """By tenant and month, of what would not have been served: money at stake."""
        self._found: dict[_Place, list[str]] = {}
        self._counts: Counter[_Place] = Counter()

    def take(self, receipt: Receipt) -> None:
        """One receipt. The operator's own probes count for nothing."""
        if receipt.tenant == PROBE_TENANT or receipt.purpose == "judge":
            return
        was_refused = receipt.code in RESIDENCY
        if receipt.served_pop is None and not was_refused:
            self.fates["same"] += 1  # it was refused, or failed, for other reasons
            return
        fate, why = self._ask(receipt)
        if was_refused:
            fate = "served" if fate in ("same", "elsewhere") else "same"
        self.fates[fate] += 1
        if fate == "same":
            return
        if fate in ("refused", "unserved"):
            key = (receipt.tenant, day_of(receipt.received_us)[:7])
            self.usage.setdefault(key, MonthlyUsage()).add_receipt(receipt)
        country = receipt.processed_in or receipt.ingress_country
        pop = receipt.served_pop or receipt.ingress_pop
        place = _Place(fate, receipt.tenant, receipt.rule, country, pop, why)
        self._counts[place] += 1
        examples = self._found.setdefault(place, [])
        if len(examples) < EXAMPLES_MAX:
            examples.append(receipt.id)

    def _ask(self, receipt: Receipt) -> tuple[Fate, str]:
        zones = self._keys.get((receipt.tenant, receipt.key), ())
        allowed = self._rules.allowed(
            receipt.tenant, receipt.data_class, receipt.ingress_pop, receipt.received_us, zones
        )
        if isinstance(allowed, Refused):
            return "refused", f"{allowed.kind.status} {allowed.code}"
        serving = allowed.bits & self._serving(receipt.model, allowed.rule.handling)
        if not serving:
            return "unserved", "no engine that may process it"
        bit = self._index.get(receipt.served_pop or "")
        if bit is None or not serving >> bit & 1:
            return "elsewhere", "the PoP that served it may not any more"
        return "same", ""

    def _serving(self, model: str | None, handling: tuple[str, ...]) -> int:
        """PoPs with an engine that serves a model and honours these handlings."""
        if model is None:
            return (1 << len(self._release.sites)) - 1
        key = (model, handling)
        if key not in self._models:
            self._models[key] = sum(
                1 << bit
                for bit, pop in enumerate(self._release.sites)
                if any(
                    one.name_of(model) is not None and set(handling) <= set(one.honours)
                    for one in pop.engines
                )
            )
        return self._models[key]

    def affected(self) -> list[Affected]:
        """What would have been otherwise, the most first."""
        found = [
            Affected(*place, count, tuple(self._found[place]))
            for place, count in self._counts.items()
        ]
        return sorted(found, key=lambda one: (one.fate, -one.receipts, one))
