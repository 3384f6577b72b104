"""The attempts of one request: residency's set, the client's wishes, routing's order."""

from __future__ import annotations

from selvedge.exchange.choosing import Choice, choose
from selvedge.exchange.view import FleetView
from selvedge.fabric import Ask, Handling, Head, Refused
from selvedge.ledger import Admitted
from selvedge.residency import Allowed
from selvedge.routing import Plan


def plan_of(
    head: Head, ask: Ask, view: FleetView, allowed: Allowed, *, admitted: Admitted, at_us: int
) -> Plan | Refused:
    """The attempts among the allowed sites, by what is known of them now."""
    if view.providers or ask.prefers is not None:
        choice = choose(view, ask, allowed, admitted)
        if isinstance(choice, Refused):
            return choice
        plan = _ranked(head, ask, view, choice, handling=allowed.rule.handling, at_us=at_us)
    else:
        plan = view.routes.rank(
            ask,
            view.rules.members(allowed.bits),
            view.load,
            now_us=at_us,
            signals=view.signals,
            states=view.states,
            wait_ms_max=head.wait_ms_max,
            handling=allowed.rule.handling,
        )
    if isinstance(plan, Refused) and plan.code == "residency_handling":
        name = allowed.rule.name
        words = f"Rule {name!r}: {plan.message}"
        return Refused(plan.code, words, param=plan.param, rule=name)
    return plan


def _ranked(
    head: Head,
    ask: Ask,
    view: FleetView,
    choice: Choice,
    *,
    handling: tuple[Handling, ...],
    at_us: int,
) -> Plan | Refused:
    plan = view.routes.rank(
        ask,
        choice.members,
        view.load,
        now_us=at_us,
        signals=view.signals,
        states=view.states,
        wait_ms_max=head.wait_ms_max,
        handling=handling,
        barred=choice.barred,
        tiers=choice.tiers,
    )
    if choice.only_first and isinstance(plan, Plan):
        return Plan(plan.attempts[:1])
    return plan
