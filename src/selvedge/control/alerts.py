"""Alerts in the store: made, listed, removed; and what they tell, until it is told or is dead.

An event is put down once (its id is its key) before it is sent, so that what a process knew when it
died is sent by the next one; its receiver sees the same id again and knows it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Row, insert, select, update

from selvedge.adapters import BadWebhook, check_webhook_url, secret_words
from selvedge.control.alert_rows import AlertForm, AlertRow, EventRow, MadeAlert
from selvedge.control.roles import Actor
from selvedge.control.store import PAGE_MAX, BadField, Conflict, Missing, Store, maybe, one, to_json
from selvedge.control.tables import ALERT_EVENTS, ALERTS, PROJECTS, TENANTS
from selvedge.fabric import LIMIT_MAX, NAME_PATTERN
from selvedge.ledger import PERCENT_MAX, TRIAL, AlertEvent, trial

ALERTS_MAX: Final = 100
"""Of one tenant."""
THRESHOLDS_MAX: Final = 10
TRIALS_MAX: Final = 10
"""Of one alert, that wait at once."""
BACKOFF_S: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 36_000)
"""From each failed try to the next, as Standard Webhooks suggests; after the last it is dead."""
GONE: Final = 410
_DOMAIN: Final = b"selvedge/webhook/v1\n"


class Alerts:
    """The alerts of one store. ``inside``: whether webhooks may go to this network."""

    def __init__(self, store: Store, *, inside: bool = False) -> None:
        self._store = store
        self._inside = inside

    def create(self, actor: Actor, form: AlertForm) -> MadeAlert:
        """Make an alert; its secret is in the answer, and is made again when it is needed."""
        alert_id = form.id or f"alert-{secrets.token_hex(6)}"
        self._check(form, alert_id)
        with self._store.act(actor) as act:
            tenant = one(act.connection, TENANTS, id=form.tenant)
            if tenant.removed_us is not None:
                raise Conflict(f"tenant {form.tenant!r} is closed")
            if form.project is not None:
                one(act.connection, PROJECTS, tenant=form.tenant, id=form.project)
            if maybe(act.connection, ALERTS, id=alert_id) is not None:
                raise Conflict(f"alert {alert_id!r} is there already, or was; take another id")
            of_tenant = (ALERTS.c.tenant == form.tenant) & ALERTS.c.removed_us.is_(None)
            if (
                len(act.connection.execute(select(ALERTS.c.id).where(of_tenant)).all())
                >= ALERTS_MAX
            ):
                raise Conflict(f"tenant {form.tenant!r} has {ALERTS_MAX} alerts; remove one")
            made = AlertRow(
                id=alert_id,
                tenant=form.tenant,
                project=form.project,
                kind=form.kind,
                thresholds=tuple(sorted(set(form.thresholds))),
                budget_micro_dollars=form.budget_micro_dollars,
                url=form.url,
                created_us=act.stamp,
                removed_us=None,
            )
            values = {**msgspec.structs.asdict(made), "thresholds": to_json(made.thresholds)}
            act.connection.execute(insert(ALERTS).values(**values))
            act.record("alert.create", f"alert {alert_id}", None, made)
        return MadeAlert(made, secret_words(self.secret(made)))

    def _check(self, form: AlertForm, alert_id: str) -> None:
        if not NAME_PATTERN.fullmatch(alert_id):
            raise BadField("id", "is of a-z, 0-9, '.' and '-', at most 64 characters")
        try:
            check_webhook_url(form.url, inside=self._inside)
        except BadWebhook as error:
            raise BadField("url", str(error)) from error
        if form.kind == "burn":
            if form.thresholds or form.budget_micro_dollars is not None:
                raise BadField("kind", "burn takes neither thresholds nor budget_micro_dollars")
            return
        if form.budget_micro_dollars is None or not 0 < form.budget_micro_dollars <= LIMIT_MAX:
            raise BadField("budget_micro_dollars", f"is from 1 to {LIMIT_MAX}")
        if not 1 <= len(form.thresholds) <= THRESHOLDS_MAX:
            raise BadField("thresholds", f"are 1 to {THRESHOLDS_MAX}, in percent of the budget")
        if not all(1 <= percent <= PERCENT_MAX for percent in form.thresholds):
            raise BadField("thresholds", f"are from 1 to {PERCENT_MAX} percent")

    def secret(self, alert: AlertRow) -> bytes:
        """What an alert's webhooks are signed with: of the pepper, so no row holds it."""
        words = f"{alert.id}\n{alert.created_us}".encode()
        return hmac.digest(self._store.pepper, _DOMAIN + words, hashlib.sha256)

    def alert(self, alert: str) -> AlertRow:
        """Raises `Missing`."""
        with self._store.database.read() as connection:
            return alert_row(one(connection, ALERTS, id=alert))

    def alerts(self, after: str, count: int, only: str | None = None) -> list[AlertRow]:
        """A page of those that are not removed, by id."""
        wanted = select(ALERTS).where(ALERTS.c.id > after, ALERTS.c.removed_us.is_(None))
        if only is not None:
            wanted = wanted.where(ALERTS.c.tenant == only)
        with self._store.database.read() as connection:
            rows = connection.execute(wanted.order_by(ALERTS.c.id).limit(min(count, PAGE_MAX)))
            return [alert_row(row) for row in rows]

    def remove(self, actor: Actor, alert: str) -> AlertRow:
        """End an alert; what of it still waits is dead. Doing it again changes nothing."""
        with self._store.act(actor) as act:
            before = alert_row(one(act.connection, ALERTS, id=alert))
            if before.removed_us is not None:
                return before
            after = msgspec.structs.replace(before, removed_us=act.stamp)
            changed = update(ALERTS).where(ALERTS.c.id == alert).values(removed_us=act.stamp)
            act.connection.execute(changed)
            waits = (ALERT_EVENTS.c.alert == alert) & (ALERT_EVENTS.c.state == "waiting")
            act.connection.execute(
                update(ALERT_EVENTS).where(waits).values(state="dead", told="its alert was removed")
            )
            act.record("alert.remove", f"alert {alert}", before, after)
            return after

    def test(self, alert: str) -> EventRow:
        """Put down something to tell that says nothing else than that it arrives."""
        found = self.alert(alert)
        if found.removed_us is not None:
            raise Missing(f"alert {alert!r} is removed")
        self._check_trials(alert)
        event = trial(found.rule, f"test-{secrets.token_hex(8)}", self._store.now_us())
        self.put([event])
        with self._store.database.read() as connection:
            return event_row(one(connection, ALERT_EVENTS, id=event.id))

    def _check_trials(self, alert: str) -> None:
        """Each is tried for a day and more: nobody is to be flooded by what says nothing."""
        trials = (ALERT_EVENTS.c.alert == alert) & (ALERT_EVENTS.c.threshold == TRIAL)
        wanted = select(ALERT_EVENTS.c.id).where(trials, ALERT_EVENTS.c.state == "waiting")
        with self._store.database.read() as connection:
            waiting = len(connection.execute(wanted.limit(TRIALS_MAX)).all())
        if waiting == TRIALS_MAX:
            words = f"{TRIALS_MAX} trials of alert {alert!r} wait to be told; try again when they "
            raise Conflict(words + "are told or dead, or remove it")

    def put(self, events: Iterable[AlertEvent]) -> int:
        """Put down what is to be told; how much of it was new."""
        new = 0
        with self._store.database.write() as connection:
            for event in events:
                if maybe(connection, ALERT_EVENTS, id=event.id) is None:
                    connection.execute(insert(ALERT_EVENTS).values(**_values(event)))
                    new += 1
        return new

    def events(self, after: str, count: int, only: str | None = None) -> list[EventRow]:
        """A page of what was told or is to be, by id."""
        wanted = select(ALERT_EVENTS).where(ALERT_EVENTS.c.id > after)
        if only is not None:
            wanted = wanted.where(ALERT_EVENTS.c.tenant == only)
        with self._store.database.read() as connection:
            rows = connection.execute(
                wanted.order_by(ALERT_EVENTS.c.id).limit(min(count, PAGE_MAX))
            )
            return [event_row(row) for row in rows]

    def due(self, now_us: int, count: int) -> Sequence[tuple[EventRow, bytes, AlertRow]]:
        """What is to be sent now, the longest due first: with its body and its alert."""
        waits = (ALERT_EVENTS.c.state == "waiting") & (ALERT_EVENTS.c.next_us <= now_us)
        wanted = select(ALERT_EVENTS).where(waits)
        wanted = wanted.order_by(ALERT_EVENTS.c.next_us, ALERT_EVENTS.c.id).limit(count)
        with self._store.database.read() as connection:
            return [
                (
                    event_row(row),
                    row.body.encode(),
                    alert_row(one(connection, ALERTS, id=row.alert)),
                )
                for row in connection.execute(wanted).all()
            ]

    def tried(self, event: EventRow, told: str, now_us: int, *, status: int | None) -> EventRow:
        """Put down how a try went: delivered, to be tried again, or dead."""
        tries = event.tries + 1
        if status is not None and 200 <= status < 300:
            state, next_us = "delivered", now_us
        elif status == GONE or tries > len(BACKOFF_S):
            state, next_us = "dead", now_us
        else:
            state, next_us = "waiting", now_us + BACKOFF_S[tries - 1] * 1_000_000
        values = {"state": state, "next_us": next_us, "tries": tries, "told": told[:500]}
        with self._store.database.write() as connection:
            mine = (ALERT_EVENTS.c.id == event.id) & (ALERT_EVENTS.c.state == "waiting")
            connection.execute(update(ALERT_EVENTS).where(mine).values(**values))
            return event_row(one(connection, ALERT_EVENTS, id=event.id))


def alert_row(row: Row[Any]) -> AlertRow:  # Any: a row of the table
    """An alert of its row."""
    facts = {name: getattr(row, name) for name in AlertRow.__struct_fields__}
    facts["thresholds"] = msgspec.json.decode(row.thresholds, type=tuple[int, ...])
    return AlertRow(**facts)


def event_row(row: Row[Any]) -> EventRow:  # Any: a row of the table
    """An event of its row, without its body."""
    return EventRow(**{name: getattr(row, name) for name in EventRow.__struct_fields__})


def _values(event: AlertEvent) -> dict[str, Any]:  # Any: what a column takes
    return {
        "id": event.id,
        "alert": event.alert,
        "tenant": event.tenant,
        "month": event.month,
        "threshold": event.threshold,
        "type": event.type,
        "body": event.body().decode(),
        "state": "waiting",
        "tries": 0,
        "made_us": event.at_us,
        "next_us": event.at_us,
        "told": "",
    }
