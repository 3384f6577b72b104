"""The ticket of a forwarded request: what the PoP that serves it is told of it, under a MAC."""

from __future__ import annotations

import secrets

from selvedge.exchange import FleetView, Job
from selvedge.fabric import Head
from selvedge.pop.clock import now_us
from selvedge.routing import Attempt
from selvedge.wire import Ticket, body_hash, issue


def ticket_of(view: FleetView, head: Head, attempt: Attempt, job: Job) -> str:
    """The ticket with which another PoP takes this request from here, written."""
    at_us = now_us()
    ticket = Ticket(
        id=secrets.token_hex(16),
        request_id=head.request_id,
        ingress=view.here.id,
        serving=attempt.pop,
        tenant=job.tenant,
        data_class=job.data_class,
        rule=job.rule,
        allowed=job.allowed,
        release=view.release.version,
        release_hash=view.release_hash,
        route=job.ask.route,
        model=job.ask.model,
        body_sha256=body_hash(job.body),
        deadline_ms=max(1, (head.deadline_us - at_us) // 1000),
        issued_us=at_us,
        patience_us=attempt.patience_us,
        handling=job.handling,
        zones=job.zones,
    )
    return issue(ticket, view.pair_keys[attempt.pop])
