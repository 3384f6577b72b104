"""Classes that a policy leaves without any place: nowhere to enter, or nowhere to be processed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import msgspec

from selvedge.fabric import Release
from selvedge.residency.jurisdictions import day_at
from selvedge.residency.policies import HORIZON_US
from selvedge.residency.rules import Rule, Rules


class Stranded(msgspec.Struct, frozen=True):
    """One class; ``is_now`` unless it is a change of the list that does it later."""

    tenant: str
    data_class: str
    why: str
    is_now: bool

    @property
    def field(self) -> str:
        """Where a fleet file says so."""
        return f"tenants.{self.tenant}.classes.{self.data_class}.policy"


def strandings(release: Release) -> Iterator[Stranded]:
    """The classes under a policy that a release leaves without any place, now or within 400 days;
    each with the first moment at which it does.
    """
    rules = Rules(release)
    seen: dict[tuple[object, ...], tuple[str, bool] | None] = {}
    for tenant in release.tenants:
        for one in tenant.classes:
            if one.policy is None:
                continue
            alike = (one.zone, one.ingress, one.policy)
            if alike not in seen:
                seen[alike] = _first(rules, (tenant.id, one.id), release.made_us)
            found = seen[alike]
            if found is not None:
                yield Stranded(tenant.id, one.id, *found)


def _first(rules: Rules, named: tuple[str, str], made_us: int) -> tuple[str, bool] | None:
    at_us = made_us
    while at_us < made_us + HORIZON_US:
        rule = rules.rule(*named, at_us)
        assert rule is not None
        why = _why(rule, rules)
        if why is not None:
            is_now = at_us == made_us
            day = day_at(at_us)
            when = "" if is_now else f"from {day} on (last day {day - timedelta(days=1)}) "
            return f"{when}data of this class could {why}", is_now
        at_us = rule.until_us
    return None


def _why(rule: Rule, rules: Rules) -> str | None:
    if not rule.allowed:
        return f"be processed nowhere by zone {rule.zone!r} and policy {rule.policy_rule!r}"
    if not rules.has_engines(rule.allowed):
        return "be processed only at PoPs without engines"
    if not rule.enter:
        needs = "enter, receipts, keys and log are all permitted at no PoP"
        return f"enter nowhere: {needs} of zone {rule.zone!r} by policy {rule.policy_rule!r}"
    return None
