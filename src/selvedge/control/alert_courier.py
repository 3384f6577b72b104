"""The courier of the control process: sees which alerts are due, and tells until they are told.

It looks at receipts and at the store by the clock, in a thread; what is due is put down first and
sent then, so that a courier that dies tells it later, under the same id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from selvedge.adapters import BadWebhook, send_webhook, webhook_headers
from selvedge.control.accounts import usage_of
from selvedge.control.alert_rows import AlertRow, EventRow
from selvedge.control.alerts import Alerts
from selvedge.control.home import Home
from selvedge.control.home_collectors import collector_directories
from selvedge.control.service_files import MAINTENANCE_FILE, read_maintenance
from selvedge.control.service_reports import ServiceSources, burn_now
from selvedge.control.settings import ControlSettings
from selvedge.control.spend_forecasts import since_of
from selvedge.fabric import Release, SelvedgeError
from selvedge.ledger import (
    SPEND_BY,
    AlertEvent,
    BurnRate,
    SpendHours,
    UsageAsked,
    burn_due,
    forecast_spend,
    hours_of,
    money_due,
    month_of,
    month_span,
    spend_hours,
)

SENT_AT_ONCE: Final = 16
PAGE: Final = 1_000
REST: Final = 20
"""So many times what a look took, the next one waits: a twentieth of a core at most."""

Post = Callable[[str, dict[str, str], bytes], Awaitable[int]]
log: Final = logging.getLogger("selvedge.control")


class Accounts:
    """What alerts are judged by, read from receipts on this machine."""

    def __init__(self, settings: ControlSettings, release: Callable[[], Release | None]) -> None:
        self._home = Home(Path(settings.home))
        self._named = tuple(map(Path, settings.alert_receipts))
        self._release = release

    def collected(self) -> tuple[Path, ...]:
        """Collectors' directories: those that are set, else those of the home."""
        return self._named or tuple(
            one for one in collector_directories(self._home) if one.is_dir()
        )

    def spending(self, now_us: int) -> SpendHours:
        """By tenant, project and hour, as far back as a forecast looks and the month began."""
        release = self._release()
        prices = {} if release is None else {one.id: one.price for one in release.models}
        wish = UsageAsked(SPEND_BY, since_of(now_us), now_us)
        found, _ = spend_hours(usage_of(self._home, self.collected(), wish), prices)
        return found

    def burning(self, now_us: int) -> list[BurnRate]:
        """Burn rates, where this home has a price book that promises anything."""
        held = self._home.prices().newest()
        if held is None:
            return []
        windows = self._home.directory / MAINTENANCE_FILE
        sources = ServiceSources(
            self._home,
            self.collected(),
            held.book,
            read_maintenance(windows if windows.exists() else None),
        )
        return burn_now(sources, now_us)


def judge_alerts(alerts: list[AlertRow], accounts: Accounts, now_us: int) -> list[AlertEvent]:
    """What these alerts have to tell by now, told already or not."""
    month = month_of(now_us)
    since_us, until_us = month_span(month)
    found: list[AlertEvent] = []
    if any(one.kind != "burn" for one in alerts):
        spending = accounts.spending(now_us)
        for one in alerts:
            hours = hours_of(spending, one.tenant, one.project)
            forecast = forecast_spend(hours, since_us, until_us, now_us)
            found += money_due(one.rule, month, forecast, now_us)
    if any(one.kind == "burn" for one in alerts):
        rates = accounts.burning(now_us)
        for one in alerts:
            found += burn_due(one.rule, month, rates, now_us)
    return found


class AlertCourier:
    """One per control process."""

    def __init__(
        self,
        settings: ControlSettings,
        alerts: Alerts,
        accounts: Accounts,
        clock: Callable[[], int],
        post: Post | None = None,
    ) -> None:
        self._settings = settings
        self._alerts = alerts
        self._accounts = accounts
        self._clock = clock
        self._post = post or self._send
        self._failing: str | None = None

    async def run(self) -> None:
        """Until cancelled; never, where the setting says so.

        Many receipts take long to fold: the longer a look took, the longer the next one waits.
        """
        every_s = self._settings.alerts_every_ms / 1000
        loop = asyncio.get_running_loop()
        while every_s:
            begun_s = loop.time()
            await self.step()
            await asyncio.sleep(max(every_s, (loop.time() - begun_s) * REST))

    async def step(self) -> None:
        """Look once, and send what is due: what was put down is told, whatever a look finds."""
        failing: str | None = None
        try:
            await asyncio.to_thread(self.look)
        except (SelvedgeError, OSError) as error:
            failing = f"alerts are not looked at, and will be: {error}"
        try:
            await self.send_due()
        except (SelvedgeError, OSError) as error:
            failing = f"alerts are not sent, and will be: {error}"
        if failing is not None and failing != self._failing:
            log.error("%s", failing)
        self._failing = failing

    def look(self) -> int:
        """Put down what is due and was not before; how much that was. Raises `SelvedgeError`."""
        alerts: list[AlertRow] = []
        while page := self._alerts.alerts(alerts[-1].id if alerts else "", PAGE):
            alerts += page
        if not alerts:
            return 0
        return self._alerts.put(judge_alerts(alerts, self._accounts, self._clock()))

    async def send_due(self) -> None:
        """Try everything that is due, some at once. Raises `StoreFailed`."""
        due = await asyncio.to_thread(self._alerts.due, self._clock(), PAGE)
        some = asyncio.Semaphore(SENT_AT_ONCE)

        async def one(event: EventRow, body: bytes, alert: AlertRow) -> None:
            async with some:
                await self._try(event, body, alert)

        await asyncio.gather(*(one(*each) for each in due))

    async def _try(self, event: EventRow, body: bytes, alert: AlertRow) -> None:
        at_s = self._clock() // 1_000_000
        headers = webhook_headers(self._alerts.secret(alert), event.id, at_s, body)
        status: int | None = None
        try:
            status = await self._post(alert.url, headers, body)
            told = f"the receiver answered {status}"
        except (BadWebhook, OSError, ValueError) as error:
            # TimeoutError is an OSError, and may have no words. A ValueError is of names that no
            # resolver and no certificate takes: one customer's URL must not end the courier.
            told = str(error) or "the receiver did not answer in time"
        after = await asyncio.to_thread(
            lambda: self._alerts.tried(event, told, self._clock(), status=status)
        )
        if after.state == "dead":
            log.error("alert %s: event %s is dead: %s", alert.id, event.id, told)

    async def _send(self, url: str, headers: dict[str, str], body: bytes) -> int:
        return await send_webhook(url, headers, body, inside=self._settings.webhooks_inside)
