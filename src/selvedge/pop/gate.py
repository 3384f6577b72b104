"""The gate before the story: it keeps turns short, and refuses early, fairly and cheaply.

`Line` decides; here are the loop whose turns it fills, the key that names a tenant, and the one
answer that is ready before it is needed. A refusal costs a fraction of a request: nothing is parsed
but the head, no story begins, and what is written down is a count per tenant and minute (proposal
0006). Pages (`/healthz`, `/readyz`, `/metrics`) never come this way.
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
from selvedge.fabric import DIALECT_PATHS, Refused, Route
from selvedge.pop.http_inbound import Inbound
from selvedge.pop.metrics import Metrics
from selvedge.pop.pressure import Line, weight_of
from selvedge.pop.sent_key import sent_key
from selvedge.pop.settings import Settings
from selvedge.wire import render_refusal

CALM_US: Final = 5_000
CALM_MAX: Final = 16
"""So many requests within `CALM_US` begin at once, and turns are not followed."""
_PASSED: Final = b"\0passed "
"""No header begins so."""
KEYS_MAX: Final = 4_096
"""Keys whose tenants are remembered."""
RETRY_STEPS_MS: Final = (500, 1100, 800, 1700, 650, 1400, 950, 2000)
"""In turn, so that refused clients do not come back in step."""
REFUSED_PER_S_FREE: Final = 100
REFUSED_PER_PASSED: Final = 3
"""Beyond so many refusals a second, and one for so many requests that pass, whoever is refused is
also not read until the time it was told: even a cheap refusal costs a fifth of a request, more than
half of that in the kernel, and a flood must not turn all work into refusals. Whoever obeys
``retry-after-ms`` does not notice.
"""
RELEASE_EVERY_S: Final = 0.005
SECOND_US: Final = 1_000_000
PEERS: Final = "(peers)"
"""Who asks with a ticket: one bucket, for what a ticket says is not checked before its story."""
NOBODY: Final = "(nobody)"
"""Who asks without a key that holds: one bucket, so that their flood is nobody else's trouble."""
TICKET: Final = b"selvedge-ticket"

REFUSED_FEW: Final = 10
"""So many refusals a second of one key, and a third of what passes of it, hold none of it up."""

Begin = Callable[[Inbound, Route, FleetView], None]


class _Asker:
    """A key and its tenant, or one of the pools; and how it fared in this second."""

    __slots__ = ("passed", "refused", "second_us", "tallied", "tenant")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.tallied = "overloaded" if tenant == NOBODY else f"overloaded/{tenant}"
        self.passed = self.refused = self.second_us = 0


class _Waiting:
    """A request in line, and how it begins."""

    __slots__ = ("asker", "begin", "inbound", "route", "view")

    def __init__(self, inbound: Inbound, route: Route, view: FleetView, begin: Begin) -> None:
        self.inbound = inbound
        self.route = route
        self.view = view
        self.begin = begin
        self.asker: _Asker | None = None


class Gate:
    """One per process, on the event loop's thread. ``tally`` counts a refusal in the book."""

    def __init__(
        self, settings: Settings, metrics: Metrics, tally: Callable[[str, int], None]
    ) -> None:
        wait_us = settings.loop_wait_ms_max * 1000
        self.line: Line[_Waiting] = Line(min(settings.loop_turn_us_max, wait_us), wait_us)
        self.running = 0
        self._idle: asyncio.Future[None] | None = None
        self._running_max = settings.requests_running_max
        self._all_running = metrics.running
        self._tally = tally
        self._shed_by_loop = metrics.shed.labels("loop")
        self._shed_by_count = metrics.shed.labels("running")
        self._answers = [_answer(settings.pop, "", after_ms) for after_ms in RETRY_STEPS_MS]
        self._of_dialect = {
            path: [_answer(settings.pop, path, after_ms) for after_ms in RETRY_STEPS_MS]
            for path in DIALECT_PATHS
        }
        self._id_tail = os.urandom(6).hex()
        self._shed = 0
        self._second_us = 0
        self._refused_in_second = 0
        self._passed_in_second = 0
        self._held: list[tuple[int, int, Inbound]] = []
        self._view: FleetView | None = None
        self._askers: dict[bytes, _Asker] = {}
        self._nobody = _Asker(NOBODY)
        self._peers = _Asker(PEERS)
        self._following = False
        self._calm_us = 0
        self._in_calm = 0

    def passes(self, inbound: Inbound, view: FleetView, route: Route, begin: Begin) -> bool:
        """Whether this request may begin now. Where it may not, it has been answered, or it stands
        in line and ``begin`` is called when its turn has come.
        """
        if not self._following:
            at_us = inbound.received_us
            # Written so that a clock that was set back begins anew too.
            if not 0 <= at_us - self._calm_us < CALM_US:
                self._calm_us = at_us
                self._in_calm = 0
            self._in_calm += 1
            if self._in_calm <= CALM_MAX:
                if self._all_running.total() < self._running_max:
                    self._passed_in_second += 1
                    return True
                self._refuse(inbound, self._asker(inbound, view), self._shed_by_count)
                return False
            self._follow()
        asker = self._asker(inbound, view)
        weight = weight_of(inbound.head.content_length)
        if self.line.passes(asker.tenant, weight, time.monotonic_ns() // 1000):
            return self._counted(inbound, asker)
        waiting = _Waiting(inbound, route, view, begin)
        waiting.asker = asker
        if not self.line.joins(asker.tenant, weight, waiting):
            self._refuse(inbound, asker, self._shed_by_loop)
        return False

    def _counted(self, inbound: Inbound, asker: _Asker) -> bool:
        """One that may begin for the loop's sake; False where too many run, and it was refused."""
        if self._all_running.total() >= self._running_max:
            self._refuse(inbound, asker, self._shed_by_count)
            return False
        self._passed_in_second += 1
        asker.passed += 1
        return True

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

    # Turns of the loop.

    def _follow(self) -> None:
        self._following = True
        self.line.turn(time.monotonic_ns() // 1000, time.thread_time_ns() // 1000)
        asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Before the loop looks at its sockets: begin what may of those that wait. Runs in every
        turn while somebody does.
        """
        now_us, line = time.monotonic_ns() // 1000, self.line
        line.turn(now_us, time.thread_time_ns() // 1000)
        while (one := line.next(now_us)) is not None:
            self._begin(one)
            now_us = time.monotonic_ns() // 1000
        line.drained(time.thread_time_ns() // 1000)
        if line.waiting:
            asyncio.get_running_loop().call_soon(self._turn)
        else:
            self._following = False
            self._in_calm = 0

    def _begin(self, one: _Waiting) -> None:
        inbound = one.inbound
        assert one.asker is not None
        if inbound.gone:
            inbound.settle()
        elif self._counted(inbound, one.asker):
            try:
                one.begin(inbound, one.route, one.view)
            except Exception as error:  # noqa: BLE001 (as in `Server.begin`)
                inbound.fault(error)

    # Who asks.

    def _asker(self, inbound: Inbound, view: FleetView) -> _Asker:
        """Of a key that holds, or one of the pools. The story admits by itself, all the same."""
        authorization = sent_key(inbound.head)
        if view is not self._view:
            self._view = view
            self._askers.clear()
        if authorization is None:
            ticket = inbound.head.headers.raw(TICKET)
            return self._peers if ticket is not None else self._nobody
        asker = self._askers.get(authorization)
        if asker is None:
            admitted = view.keyring.admit(authorization.decode("latin-1"), inbound.received_us)
            if isinstance(admitted, Refused):
                return self._nobody
            if admitted.passes_to is not None:  # what was sent is a provider's: it is not kept
                authorization = _PASSED + admitted.key.encode()
                asker = self._askers.get(authorization)
            if asker is None:
                if len(self._askers) >= KEYS_MAX:
                    self._askers.clear()
                asker = self._askers[authorization] = _Asker(admitted.tenant)
        return asker

    # How it is told.

    def _refuse(self, inbound: Inbound, asker: _Asker, counter: Cell) -> None:
        """Answer, count, and settle."""
        at_us = inbound.received_us
        self._shed += 1
        counter.inc()
        self._tally(asker.tallied, at_us)
        step = self._shed % len(self._answers)
        request_id = f"req_{at_us // 1000:012x}{self._id_tail}{self._shed & 0xFFFFFFFF:08x}\r\n"
        asked = self._of_dialect.get(inbound.head.target.partition("?")[0])
        head, body = self._answers[step] if asked is None else asked[step]
        if asked is not None:
            request_id += f"request-id: {request_id}"
        inbound.respond_ready(head + request_id.encode(), body)
        if self._too_many(asker, at_us):
            self._hold(inbound, step)
        inbound.settle()

    def _too_many(self, asker: _Asker, at_us: int) -> bool:
        """Count a refusal; whether there are too many for the loop, and too many of this key."""
        if not 0 <= at_us - self._second_us < SECOND_US:
            self._second_us = at_us
            self._refused_in_second = self._passed_in_second = 0
        if asker.second_us != self._second_us:
            asker.second_us = self._second_us
            asker.refused = asker.passed = 0
        self._refused_in_second += 1
        asker.refused += 1
        return (
            self._refused_in_second
            > REFUSED_PER_S_FREE + self._passed_in_second // REFUSED_PER_PASSED
            and asker.refused > REFUSED_FEW + asker.passed // REFUSED_PER_PASSED
        )

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
        """Read again from those whose time is over, and, where nobody stands in line, from as many
        more as the loop can serve meanwhile: who is held is the end of the queue, and no work waits
        there while there is none here.
        """
        now_ms, held = time.monotonic_ns() // 1_000_000, self._held
        spare = 0 if self._following else int(RELEASE_EVERY_S * 1e6 / self.line.cost_us)
        while held and (held[0][0] <= now_ms or spare > 0):
            spare -= held[0][0] > now_ms
            heapq.heappop(held)[2].hold(False)
        if held:
            asyncio.get_running_loop().call_later(RELEASE_EVERY_S, self._release)


def _answer(pop: str, path: str, retry_after_ms: int) -> tuple[bytes, bytes]:
    """A refusal's head, up to the value of its last header, and its body."""
    words = f"PoP {pop} is over its limit and this key above its share; retry after the time told."
    refused = Refused("overloaded", words, retry_after_ms=retry_after_ms)
    body = render_refusal(path, refused, "")
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
