"""A receipt as far as it can be written before anything is asked of an engine."""

from __future__ import annotations

import msgspec

from selvedge.exchange.view import FleetView
from selvedge.fabric import PROBE_TENANT, Ask, Head, Receipt
from selvedge.ledger import Admitted
from selvedge.residency import Allowed


def open_receipt(head: Head, view: FleetView, admitted: Admitted) -> Receipt:
    """The receipt as far as the head tells it."""
    return Receipt(
        id=head.receipt_id,
        request_id=head.request_id,
        tenant=admitted.tenant,
        project=admitted.project,
        key=admitted.key,
        data_class=admitted.data_class,
        route=head.route.value,
        ingress_pop=view.here.id,
        ingress_country=view.here.country,
        rule=f"{admitted.tenant}/{admitted.data_class}",
        zone="",
        release=view.release.version,
        release_hash=view.release_hash,
        received_us=head.received_us,
        transit=False,
        purpose="probe" if admitted.tenant == PROBE_TENANT else head.purpose,
        dialect=head.dialect,
    )


def with_rule(draft: Receipt, allowed: Allowed) -> Receipt:
    """The same with where it may be processed, and by which rule."""
    rule = allowed.rule
    return msgspec.structs.replace(
        draft,
        rule=rule.name,
        zone=rule.zone,
        transit=allowed.transit,
        allowed_pops=allowed.bits.bit_count(),
        policy=rule.policy,
        handling=rule.handling,
    )


def with_ask(draft: Receipt, ask: Ask, view: FleetView) -> Receipt:
    """The same with what its body tells."""
    model = view.models.get(ask.model)
    return msgspec.structs.replace(
        draft,
        model=ask.model if model is not None else None,
        model_digest=model.digest if model is not None else None,
        stream=ask.stream,
        body_bytes=ask.prompt_bytes,
    )
