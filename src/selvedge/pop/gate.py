"""The gate before the story: under pressure it refuses early, fairly and cheaply.

`Pressure` decides; here are the loop whose turns it judges, the key that names a tenant, and the
one answer that is ready before it is needed. A refusal here costs a fraction of a request: nothing
is parsed but the head, no story begins, and what is written down is a count per tenant and minute
(proposal 0006). Pages (`/healthz`, `/readyz`, `/metrics`) never come this way.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import time
from collections.abc import Callable
from typing import Final

from selvedge.adapters import Cell
from selvedge.exchange import FleetView
from selvedge.fabric import Refused
from selvedge.pop.http_inbound import Inbound
from selvedge.pop.metrics import Metrics
from selvedge.pop.pressure import Pressure, Targets, weight_of
from selvedge.pop.settings import Settings
from selvedge.wire import render_error

LOOK_EVERY_US: Final = 5_000
"""In calm, one turn of the loop is timed this often."""
KEYS_MAX: Final = 4_096
"""Keys whose tenants are remembered while there is pressure."""
RETRY_STEPS_MS: Final = (500, 1100, 800, 1700, 650, 1400, 950, 2000)
"""In turn, so that refused clients do not come back in step."""
REFUSED_PER_S_FREE: Final = 100
REFUSED_PER_PASSED: Final = 3
"""Beyond so many refusals a second, and one for so many requests that pass, a tenant that is
refused more than it is let in is also not read until the time it was told: even a cheap refusal
costs a tenth of a request and more, and a flood must not turn all work into refusals. Whoever obeys
``retry-after-ms`` does not notice.
"""
RELEASE_EVERY_S: Final = 0.005
SECOND_US: Final = 1_000_000
PEERS: Final = "(peers)"
"""Who asks with a ticket: one bucket, for what a ticket says is not checked before its story."""
NOBODY: Final = "(nobody)"
"""Who asks without a key that holds: one bucket, so that their flood is nobody else's trouble."""
TICKET_HEADER: Final = "selvedge-ticket"


class Gate:
    """One per process, on the event loop's thread. ``tally`` counts a refusal in the book."""

    def __init__(
        self, settings: Settings, metrics: Metrics, tally: Callable[[str, int], None]
    ) -> None:
        alone_us = settings.loop_turn_ms_max * 1000
        self.pressure = Pressure(Targets(alone_us, min(alone_us, settings.loop_turn_shared_us_max)))
        self.running = 0
        self._idle: asyncio.Future[None] | None = None
        self._running_max = settings.requests_running_max
        self._all_running = metrics.running
        self._tally = tally
        self._shed_by_loop = metrics.shed.labels("loop")
        self._shed_by_count = metrics.shed.labels("running")
        self._answers = [_answer(settings.pop, after_ms) for after_ms in RETRY_STEPS_MS]
        self._id_tail = os.urandom(6).hex()
        self._shed = 0
        self._second_us = 0
        self._refused_in_second = 0
        self._passed_in_second = 0
        self._held: list[tuple[int, int, Inbound]] = []
        self._view: FleetView | None = None
        self._tenants: dict[str, str] = {}
        self._look_at_us = 0
        self._armed = False
        self._asked = False
        self._turn_began_ns = 0

    def passes(self, inbound: Inbound, view: FleetView) -> bool:
        """Whether this request may begin; where it may not, it has been answered."""
        at_us = inbound.received_us
        # Written so that a clock that was set back does not stop the looking.
        if not 0 < self._look_at_us - at_us <= LOOK_EVERY_US:
            self._look(at_us)
        pressure = self.pressure
        if not pressure.watching:
            if self._all_running.total() < self._running_max:
                return True
            self._refuse(inbound, self._tenant(inbound, view), at_us, self._shed_by_count)
            return False
        self._asked = True
        tenant = self._tenant(inbound, view)
        weight = weight_of(inbound.head.content_length)
        if not pressure.admits(tenant, weight, time.monotonic_ns() // 1000):
            self._refuse(inbound, tenant, at_us, self._shed_by_loop)
        elif self._all_running.total() >= self._running_max:
            self._refuse(inbound, tenant, at_us, self._shed_by_count)
        else:
            self._passed_in_second += 1
            return True
        return False

    def entered(self) -> None:
        """A request begins."""
        self.running += 1

    def left(self) -> None:
        """It is over, its answer written."""
        self.running -= 1
        if not self.running and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def until_idle(self, timeout_s: float) -> bool:
        """Wait until no request runs; False where some still do at the end of the time."""
        if not self.running:
            return True
        self._idle = asyncio.get_running_loop().create_future()
        done, _ = await asyncio.wait([self._idle], timeout=timeout_s)
        return bool(done)

    # Who asks.

    def _tenant(self, inbound: Inbound, view: FleetView) -> str:
        """Of a key that holds, or one of the pools. The story admits by itself, all the same."""
        headers = inbound.head.headers
        authorization = headers.get("authorization")
        if view is not self._view:
            self._view = view
            self._tenants.clear()
        if authorization is None:
            return PEERS if headers.get(TICKET_HEADER) is not None else NOBODY
        tenant = self._tenants.get(authorization)
        if tenant is None:
            admitted = view.keyring.admit(authorization, inbound.received_us)
            if isinstance(admitted, Refused):
                return NOBODY
            if len(self._tenants) >= KEYS_MAX:
                self._tenants.clear()
            tenant = self._tenants[authorization] = admitted.tenant
        return tenant

    # How it is told.

    def _refuse(self, inbound: Inbound, tenant: str, at_us: int, counter: Cell) -> None:
        self._shed += 1
        counter.inc()
        self._tally("overloaded" if tenant == NOBODY else f"overloaded/{tenant}", at_us)
        step = self._shed % len(self._answers)
        head, body = self._answers[step]
        request_id = f"req_{at_us // 1000:012x}{self._id_tail}{self._shed & 0xFFFFFFFF:08x}\r\n"
        inbound.respond_ready(head + request_id.encode(), body)
        if not 0 <= at_us - self._second_us < SECOND_US:
            self._second_us = at_us
            self._refused_in_second = self._passed_in_second = 0
        self._refused_in_second += 1
        cheap = REFUSED_PER_S_FREE + self._passed_in_second // REFUSED_PER_PASSED
        if self._refused_in_second > cheap and self.pressure.floods(tenant):
            self._hold(inbound, step)

    def _hold(self, inbound: Inbound, step: int) -> None:
        """Read nothing from this client for half to all of the time it was told: scattered, so
        that those who were refused in one turn do not come back in one.
        """
        inbound.hold(True)
        wait_ms = RETRY_STEPS_MS[step] * (1024 + self._shed * 617 % 1024) // 2048
        until_ms = time.monotonic_ns() // 1_000_000 + wait_ms
        heapq.heappush(self._held, (until_ms, self._shed, inbound))
        if len(self._held) == 1:
            asyncio.get_running_loop().call_later(RELEASE_EVERY_S, self._release)

    def _release(self) -> None:
        now_ms, held = time.monotonic_ns() // 1_000_000, self._held
        while held and held[0][0] <= now_ms:
            heapq.heappop(held)[2].hold(False)
        if held:
            asyncio.get_running_loop().call_later(RELEASE_EVERY_S, self._release)

    # How long the loop's turns are.

    def _look(self, at_us: int) -> None:
        self._look_at_us = at_us + LOOK_EVERY_US
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Runs twice in neighbouring turns to time one; under pressure, in every turn.

        A turn is as long as the CPU time it takes: what others on the machine take of the core is
        no queue of ours, and refusing would not give it back.
        """
        now_ns, began_ns = time.thread_time_ns(), self._turn_began_ns
        self._turn_began_ns = now_ns
        if began_ns:
            self.pressure.turned(time.monotonic_ns() // 1000, (now_ns - began_ns) // 1000)
            if not (self.pressure.watching and self._asked):
                self._armed = False
                self._turn_began_ns = 0
                if self.pressure.watching:
                    self._look_at_us = 0
                return
        self._asked = False
        asyncio.get_running_loop().call_soon(self._turn)


def _answer(pop: str, retry_after_ms: int) -> tuple[bytes, bytes]:
    """A refusal's head, up to the value of its last header, and its body."""
    words = f"PoP {pop} is over its limit and this key above its share; retry after the time told."
    body = render_error(Refused("overloaded", words, retry_after_ms=retry_after_ms))
    lines = (
        "HTTP/1.1 503 Service Unavailable",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "x-should-retry: true",
        f"retry-after-ms: {retry_after_ms}",
        f"retry-after: {max(1, retry_after_ms // 1000)}",
        f"selvedge-pop: {pop}",
        "x-request-id: ",
    )
    return "\r\n".join(lines).encode("latin-1"), body
