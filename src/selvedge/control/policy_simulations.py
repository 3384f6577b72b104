"""A change of policy, asked about the receipts of this machine; and what it would have cost."""

from __future__ import annotations

import msgspec

from selvedge.adapters import rows_between
from selvedge.control.invoicing import Receipts
from selvedge.fabric import Receipt, Release
from selvedge.ledger import PriceBook, Unpriced, bill_month
from selvedge.plan import Simulation

_decode = msgspec.json.Decoder(Receipt).decode


def simulate_change(
    release: Release, receipts: Receipts, span: tuple[int, int], tenant: str | None
) -> Simulation:
    """Every receipt that was received in the span (microseconds), asked again of the release."""
    found = Simulation(release)
    since_us, until_us = span
    for snapshot in receipts.snapshots:
        for row in rows_between(snapshot.parts, since_us, until_us, tenant):
            if not row.conflict:
                found.take(_decode(row.receipt))
    for row in receipts.rows_outside_parts():
        inside = since_us <= row.received_us < until_us and tenant in (None, row.tenant)
        if inside and not row.conflict:
            found.take(_decode(row.receipt))
    return found


def at_stake(simulation: Simulation, book: PriceBook) -> dict[str, int]:
    """What tenants would not have been billed, in micro-dollars before discounts and minimums; of
    what has no price, nothing.
    """
    found: dict[str, int] = {}
    for (tenant, month), usage in simulation.usage.items():
        try:
            bill = bill_month(tenant, month, usage, book)
        except Unpriced:
            continue
        used = sum(line.amount_micro_dollars for line in bill.lines if line.group is not None)
        found[tenant] = found.get(tenant, 0) + used
    return {tenant: amount for tenant, amount in sorted(found.items()) if amount}
