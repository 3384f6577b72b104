"""What the admin side shows and takes of alerts."""

from __future__ import annotations

from typing import Literal

import msgspec

from selvedge.ledger import AlertKind, AlertRule

EventState = Literal["waiting", "delivered", "dead"]


class AlertForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An alert to be made. ``thresholds`` are percent of ``budget_micro_dollars`` a UTC month."""

    tenant: str
    kind: AlertKind
    url: str
    project: str | None = None
    thresholds: tuple[int, ...] = ()
    budget_micro_dollars: int | None = None
    id: str | None = None


class AlertRow(msgspec.Struct, frozen=True):
    """An alert as the store has it."""

    id: str
    tenant: str
    project: str | None
    kind: AlertKind
    thresholds: tuple[int, ...]
    budget_micro_dollars: int | None
    url: str
    created_us: int
    removed_us: int | None

    @property
    def rule(self) -> AlertRule:
        """As it is judged by."""
        return AlertRule(
            self.id,
            self.tenant,
            self.kind,
            self.project,
            self.thresholds,
            self.budget_micro_dollars,
        )


class MadeAlert(msgspec.Struct, frozen=True):
    """An alert just made. ``secret`` (``whsec_…``) is what its webhooks are signed with."""

    alert: AlertRow
    secret: str

    def __repr__(self) -> str:
        return f"MadeAlert({self.alert.id!r})"


class EventRow(msgspec.Struct, frozen=True):
    """What was told, or is to be; ``told`` is how the last try went."""

    id: str
    alert: str
    tenant: str
    month: str
    threshold: str
    type: str
    state: EventState
    tries: int
    made_us: int
    next_us: int
    told: str
