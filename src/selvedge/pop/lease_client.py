"""Leases of quotas, asked for in the background: no request waits for anything here.

One small question to the control plane when something is due, one at a time; see
`ledger.holder.Holder.turn`. A control plane that does not answer, or answers nonsense, is counted
and asked less often: what is held lasts as long as was granted, and then as ``lease_away`` says.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from selvedge.adapters import Outgoing, service_key
from selvedge.exchange import lease_messages
from selvedge.fabric import BadRelease, BadTicket, Control, Release
from selvedge.ledger import Question, Wish
from selvedge.pop.clock import now_us
from selvedge.pop.small_answer import Fault, SmallAnswer
from selvedge.pop.state import PopState
from selvedge.routing import Draws

TURN_S: Final = 0.1
TIMEOUT_S: Final = 5.0
BACK_OFF_US: Final = 500_000
BACK_OFF_US_MAX: Final = 10_000_000
LEAVE_S: Final = 1.0
"""How long a process that ends waits to have given back what it held."""

log: Final = logging.getLogger("selvedge.pop")


class LeaseClient:
    """Asks for this worker. ``identity`` is the PoP's X25519 key."""

    def __init__(
        self,
        state: PopState,
        identity: bytes,
        worker: int = 0,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._state = state
        self._identity = identity
        self._worker = worker
        self._clock = clock
        self._epoch = state.entropy.take(8).hex()
        self._draws = Draws(f"leases/{state.settings.pop}/{worker}")
        self._release: Release | None = None
        self._key: bytes | None = None
        self._tls: ssl.SSLContext | None = None
        self._answer: SmallAnswer | None = None
        self._failures = 0
        self._due_us = 0
        self.timeout_s: float = TIMEOUT_S

    async def watch(self) -> None:
        """Ask until cancelled."""
        try:
            while True:
                try:
                    self.turn()
                except Exception:
                    self._state.metrics.faults.inc()
                    log.exception("a fault of ours: leases")
                await asyncio.sleep(TURN_S)
        finally:
            self.stop()

    def stop(self) -> None:
        """Wait for no answer any more."""
        if self._answer is not None:
            self._answer.stop()
            self._answer = None

    def turn(self) -> None:
        """Ask, if anything is due and nothing is on its way."""
        view = self._state.view
        if view is None or self._answer is not None:
            return
        if view.release is not self._release:
            self._meet(view.release)
        at_us = self._clock()
        late = self._due_us > at_us + 2 * BACK_OFF_US_MAX  # the clock was set back
        if at_us < self._due_us and not late:
            return
        rows = self._state.quotas.turn(at_us)
        if rows:
            self._ask(rows)

    async def leave(self) -> None:
        """Give back what is held, because this process ends; best effort."""
        self.stop()
        rows = self._state.quotas.leave(self._clock())
        if not rows:
            return
        done = asyncio.Event()
        self._ask(rows, done.set)
        try:
            async with asyncio.timeout(LEAVE_S):
                await done.wait()
        except TimeoutError:
            log.info("leases were not given back; they end by themselves")
        self.stop()

    def _meet(self, release: Release) -> None:
        """A new release: another control plane, perhaps."""
        self._release, self._key = release, None
        control = release.control
        if control is None:
            return
        here = self._state.settings.pop
        name, public = lease_messages.CONTROL, control.public_key
        try:
            self._key = service_key(release.fleet, self._identity, here, name, public)
        except BadRelease as error:
            log.error("leases are not asked for: %s", error)
        is_tls = control.url.startswith("https:")
        self._tls = (self._tls or ssl.create_default_context()) if is_tls else None

    def _ask(self, rows: list[Wish], then: Callable[[], object] | None = None) -> None:
        control = self._release.control if self._release is not None else None
        if control is None or self._key is None:
            self._failed("failed")
            return
        key, holder = self._key, self._state.quotas
        nonce = self._state.entropy.take(lease_messages.NONCE_BYTES)
        here = self._state.settings.pop
        question = Question(here, self._worker, self._epoch, holder.number, nonce, rows)

        def take(body: bytes | None, fault: Fault | None) -> None:
            self._answer = None
            if body is None:
                self._failed(fault or "failed")
            else:
                self._take(body, key, question)
            if then is not None:
                then()

        answer = self._answer = SmallAnswer(lease_messages.MESSAGE_BYTES_MAX, self.timeout_s, take)
        body = lease_messages.ask(question, key)
        answer.begin(self._state.client.send(_outgoing(control, self._tls, body), answer))

    def _take(self, body: bytes, key: bytes, question: Question) -> None:
        try:
            answer = lease_messages.read_answer(body, key, question)
        except BadTicket:
            self._failed("nonsense")
            return
        self._failures = 0
        self._state.quotas.take(answer.number, answer.rows)
        self.ended("taken")

    def _failed(self, why: str) -> None:
        """Ask again later, and later each time."""
        self._state.quotas.failed()
        wait_us = min(BACK_OFF_US << self._failures, BACK_OFF_US_MAX)
        self._failures = min(self._failures + 1, 16)
        self._due_us = self._clock() + wait_us // 2 + self._draws.below(wait_us // 2)
        self.ended(why)

    def ended(self, why: str) -> None:
        """A question has ended so."""
        metrics = self._state.metrics
        metrics.leases.labels(why).inc()
        metrics.quota_levels.set(len(self._state.quotas))


def _outgoing(control: Control, tls: ssl.SSLContext | None, body: bytes) -> Outgoing:
    """A question to the control plane. Plaintext stays inside this network."""
    url = urlsplit(control.url)
    port = url.port or (443 if url.scheme == "https" else 80)
    target = url.path.rstrip("/") + lease_messages.TARGET
    host = url.hostname or ""
    return Outgoing(host, port, "POST", target, (), body, tls, plain_outside=False)
