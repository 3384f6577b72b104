"""How loaded others are and what they hold: asked again and again, and told to who asks here.

One small question and one small answer on a kept connection to each peer, once a report period, at
moments of their own. A peer that does not answer, or answers nonsense, is counted, asked less often
and otherwise ignored: its reports grow old, and routing does without them as its policy says. No
request waits for anything here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from selvedge.exchange import FleetView, reports
from selvedge.fabric import BadTicket, Refused
from selvedge.pop.clock import now_us
from selvedge.pop.engine_watch import EngineWatch
from selvedge.pop.relay import Relaying
from selvedge.pop.small_answer import Fault, SmallAnswer
from selvedge.pop.state import PopState
from selvedge.routing import BYTES_PER_S_MAX, Board, Draws, Report, Underway

REPORT_TARGET: Final = "/selvedge/v1/report"
BACK_OFF_US_MAX: Final = 30_000_000
HEARD_US: Final = 15_000_000
"""Nobody has reported, as far as routing goes, once the last report is so old."""
HEAD_BYTES: Final = 200
"""Of an answer's head and of TLS around it, for the bound on what is heard."""
TURNS: Final = 8
"""Turns in a report period: own engines are surveyed in each."""
RESERVE: Final = 1.0
"""Headroom is not measured yet: a PoP says that it has all of it."""

log: Final = logging.getLogger("selvedge.pop")


class _Peer:
    """One PoP that is asked."""

    __slots__ = ("answer", "asked_us", "due_us", "failures", "nonce")

    def __init__(self, due_us: int) -> None:
        self.due_us = due_us
        self.failures = 0
        self.asked_us = 0
        self.nonce = b""
        self.answer: SmallAnswer | None = None


class Hearing:
    """This PoP's ears, and what it says of itself."""

    def __init__(self, state: PopState, clock: Callable[[], int] = now_us) -> None:
        self._state = state
        self._clock = clock
        self._here = state.settings.pop
        self._period_us = state.settings.report_ms * 1000
        self._engines = EngineWatch(state, clock)
        self._draws = Draws(f"hearing/{self._here}")
        self._hash = ""
        self._zones: frozenset[str] = frozenset()
        self._peers: dict[str, _Peer] = {}
        self._numbered_us = 0
        self._heard_us = 0
        self.board = Board(frozenset())
        self.timeout_s: float = 5.0
        """How long an answer may take."""

    async def watch(self) -> None:
        """Ask and survey until cancelled."""
        try:
            while True:
                try:
                    self.turn(self._clock())
                except Exception:
                    self._state.metrics.faults.inc()
                    log.exception("a fault of ours: hearing other PoPs")
                busy = self._peers or self._state.own.engines
                await asyncio.sleep(self._period_us / 1e6 / (TURNS if busy else 1))
        finally:
            self.stop()

    def stop(self) -> None:
        """Wait for no answer any more."""
        self._engines.stop()
        for peer in self._peers.values():
            if peer.answer is not None:
                peer.answer.stop()
                peer.answer = None

    def turn(self, at_us: int) -> None:
        """All that is due."""
        view = self._state.view
        if view is None:
            return
        if view.release_hash != self._hash or self._has_moved(view, at_us):
            self._meet(view, at_us)
        if self._state.own.engines:
            self._engines.turn(at_us)
            self._survey(at_us)
        for pop, peer in self._peers.items():
            late = peer.due_us > at_us + BACK_OFF_US_MAX + self._period_us  # set back
            if peer.answer is None and (peer.due_us <= at_us or late):
                self._ask(pop, peer, view, at_us)
        is_heard = 0 <= at_us - self._heard_us <= HEARD_US
        self._state.hear(self.board if is_heard else None)
        shared = self._state.shared
        shared.hearing.set(self.board.bytes_per_s(at_us))
        shared.heard.set(self.board.fresh(at_us, HEARD_US))

    def _has_moved(self, view: FleetView, at_us: int) -> bool:
        """Whether a policy lets this PoP hear of something else than it did, by the clock."""
        return bool(view.scopes) and reports.zones_of(view, self._here, at_us) != self._zones

    def _meet(self, view: FleetView, at_us: int) -> None:
        """A new release: other peers, perhaps other zones."""
        self._hash = view.release_hash
        zones = reports.zones_of(view, self._here, at_us)
        if zones != self._zones:
            self._zones, self.board = zones, Board(zones)
            self._state.hear(None)
        count = self._state.settings.reports_from_max
        # A PoP with engines has its own digest on the board as well.
        wanted = reports.nearest(view, max(0, count - bool(view.engines)), at_us)
        for gone in self._peers.keys() - set(wanted):
            answer = self._peers.pop(gone).answer
            if answer is not None:
                answer.stop()
            self.board.forget(gone)
        for pop in wanted:
            if pop not in self._peers:
                self._peers[pop] = _Peer(at_us + self._draws.below(self._period_us))

    def _survey(self, at_us: int) -> None:
        """What this process has under way here; once a period, what is new in its digests."""
        own, board = self._state.own, self.board
        found: list[Underway] = []
        for relay in self._state.streams.running:
            underway = relay.underway() if isinstance(relay, Relaying) else None
            if underway is not None:
                found.append(underway)
        own.survey(found, at_us)
        if not 0 <= at_us - self._numbered_us < self._period_us:
            self._numbered_us = at_us
            own.turn(at_us)
            for delta in own.publications.since(self._zones, board.known(self._here)):
                board.put_delta(delta, at_us, own=True)
        board.put(Report(self._here, at_us, RESERVE, own.reports(at_us)), 0, at_us)

    # Asking.

    def _ask(self, pop: str, peer: _Peer, view: FleetView, at_us: int) -> None:
        way = self._state.peer_target_way(pop, REPORT_TARGET, view)
        if isinstance(way, Refused):
            self._failed(pop, peer, "failed")
            return
        known = self.board.known(pop)
        affords = self.board.bytes_per_s(at_us) <= BYTES_PER_S_MAX
        peer.nonce = self._state.entropy.take(reports.NONCE_BYTES)
        peer.asked_us = self._clock()
        question = reports.ask(view, pop, peer.nonce, known if affords else None)

        def take(body: bytes | None, fault: Fault | None) -> None:
            peer.answer = None
            if body is None:
                self._failed(pop, peer, fault or "failed")
            else:
                self._take(pop, peer, body)

        peer.answer = SmallAnswer(reports.ANSWER_BYTES_MAX, self.timeout_s, take)
        peer.answer.begin(self._state.client.post(way, question, peer.answer))

    def _take(self, pop: str, peer: _Peer, body: bytes) -> None:
        view = self._state.view
        came_us = self._clock()
        if view is None:
            return
        try:
            told = reports.read_answer(body, view, pop, peer.nonce)
            size = len(body) + HEAD_BYTES
            reports.take(told, view, self.board, size, (peer.asked_us, came_us))
        except (BadTicket, ValueError):
            self._failed(pop, peer, "nonsense")
            return
        self._taken(pop, peer, came_us)

    def _taken(self, pop: str, peer: _Peer, came_us: int) -> None:
        peer.failures = 0
        self._heard_us = came_us
        half = self._period_us // 20
        peer.due_us = peer.asked_us + self._period_us - half + self._draws.below(2 * half)
        self.ended(pop, "taken")

    def ended(self, pop: str, why: str) -> None:
        """A question to this PoP has ended so."""
        self._state.metrics.reports.labels(why).inc()

    def _failed(self, pop: str, peer: _Peer, why: str) -> None:
        """Ask again later, and later each time."""
        peer.failures = min(peer.failures + 1, 16)
        wait_us = min(self._period_us << peer.failures, BACK_OFF_US_MAX)
        peer.due_us = self._clock() + wait_us // 2 + self._draws.below(wait_us // 2)
        self.ended(pop, why)


def told(state: PopState, body: bytes, certificate: str) -> bytes | Refused:
    """What this PoP answers to a question for its report."""
    view = state.view
    if view is None:
        words = "This PoP has no valid release yet; retry."
        return Refused("not_ready", words, retry_after_ms=1000)
    try:
        question = reports.read_question(body, view, state.peering.name_of(certificate))
    except BadTicket as error:
        return Refused("ticket_refused", f"{str(error)[:1].upper()}{str(error)[1:]}.")
    at_us = now_us()
    report = Report(view.here.id, at_us, RESERVE, state.own.reports(at_us))
    return reports.tell(question, view, report, state.own.publications, at_us)
