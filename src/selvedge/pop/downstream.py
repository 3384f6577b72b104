"""The client's side of a relay: headers, chunks and ends, as every answer of a PoP carries them.

One `Downstream` lives as long as the request; attempts come and go behind it. It knows whether a
response has begun, which decides how an error is told: as a status before, as an event after.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Final

from selvedge.adapters import Call
from selvedge.exchange import Served
from selvedge.fabric import Attested, Head, Refused
from selvedge.pop.http_server import Inbound
from selvedge.pop.state import now_us
from selvedge.wire import frame, render_attested, render_error, write_attested

Headers = list[tuple[str, str]]

JSON_TYPE = ("content-type", "application/json")
_DURATION: Final = re.compile(r"([a-z]+);dur=([0-9]{1,9}(?:\.[0-9]{1,6})?)")
SSE_TYPE = ("content-type", "text/event-stream; charset=utf-8")


class Downstream:
    """Answers one inbound request."""

    def __init__(self, inbound: Inbound, head: Head, pop: str, *, for_peer: bool) -> None:
        self._inbound = inbound
        self._head = head
        self._pop = pop
        self._for_peer = for_peer
        self.relay_started_us = 0
        self.peer_timing: dict[str, float] = {}
        self.on_gone: Callable[[], None] | None = None
        self._call: Call | None = None
        inbound.on_gone = self._gone
        inbound.on_pause = self._pause
        inbound.on_resume = self._resume

    @property
    def started(self) -> bool:
        """Whether a response has begun."""
        return self._inbound.started

    @property
    def gone(self) -> bool:
        """Whether the client has hung up."""
        return self._inbound.gone

    def flow_to(self, call: Call | None) -> None:
        """A slow client slows this call from now on."""
        self._call = call
        if call is not None and self._inbound.write_paused:
            call.pause()

    def start_stream(self, served: Served, engine_us: int) -> None:
        """The first token is here: begin the response."""
        headers = [SSE_TYPE, ("cache-control", "no-cache"), ("x-accel-buffering", "no")]
        self._inbound.start(200, headers + self._common(served, engine_us), None)

    def write(self, data: bytes) -> None:
        """A part of the stream."""
        self._inbound.write(data)

    def finish_stream(self, served: Served, tail: bytes) -> None:
        """The end of the stream, for an answer without a token also its beginning."""
        if not self._inbound.started:
            self.start_stream(served, now_us() - self.relay_started_us)
        self._inbound.end(tail)

    def answer(self, served: Served, body: bytes, attested: Attested | None) -> None:
        """A whole JSON answer."""
        headers = [JSON_TYPE, *self._common(served, now_us() - self.relay_started_us)]
        headers += _attested_headers(attested)
        self._inbound.respond(200, headers, body)

    def refuse(self, refused: Refused, *, receipt: bool, attested: Attested | None = None) -> None:
        """An error: with its status while nothing has been sent, in-band afterwards.

        A stream that ends in an error has no ``[DONE]``: nobody may take it for a whole answer.
        """
        body = render_error(refused)
        if self._inbound.started:
            self._inbound.end(render_attested(attested) + frame(body))
            return
        headers = [JSON_TYPE, *retry_headers(refused), *self._own(receipt)]
        headers += _attested_headers(attested)
        self._inbound.respond(refused.kind.status, headers, body)

    def drop(self) -> None:
        """Close without another byte."""
        self._inbound.abort()

    def _common(self, served: Served, engine_us: int) -> Headers:
        headers = self._own(receipt=not self._for_peer)
        place = f"{served.pop}/{served.engine}" if served.engine else served.pop
        headers.append(("selvedge-served-by", place))
        headers.append(("selvedge-processed-in", served.country))
        if self._for_peer:
            headers.append(("selvedge-engine", served.engine or ""))
        pop_us = self.relay_started_us - self._head.received_us
        headers.append(("server-timing", render_timing(pop_us, engine_us, self.peer_timing)))
        return headers

    def _own(self, receipt: bool) -> Headers:
        elapsed_ms = (now_us() - self._head.received_us) // 1000
        headers = [
            ("x-request-id", self._head.request_id),
            ("openai-processing-ms", str(elapsed_ms)),
            ("selvedge-pop", self._pop),
        ]
        if receipt:
            headers.append(("selvedge-receipt", self._head.receipt_id))
        return headers

    def _gone(self) -> None:
        if self.on_gone is not None:
            self.on_gone()

    def _pause(self) -> None:
        if self._call is not None:
            self._call.pause()

    def _resume(self) -> None:
        if self._call is not None:
            self._call.resume()


def _attested_headers(attested: Attested | None) -> Headers:
    if attested is None:
        return []
    # In base64: names in it may be of any alphabet, a header's value may not.
    return [("selvedge-attested", base64.b64encode(write_attested(attested)).decode())]


def render_timing(pop_us: int, engine_us: int, peer: dict[str, float]) -> str:
    """``Server-Timing`` (W3C), in milliseconds: this PoP, and the engine until its first token.

    Through a peer the second part splits into the way there and back, the peer and its engine.
    """
    parts = [("pop", pop_us / 1000)]
    if peer:
        at_peer, engine = peer.get("pop", 0.0), peer.get("engine", 0.0)
        way = max(0.0, engine_us / 1000 - at_peer - engine)
        parts += [("wan", way), ("peer", at_peer), ("engine", engine)]
    else:
        parts.append(("engine", engine_us / 1000))
    return ", ".join(f"{name};dur={value:.2f}" for name, value in parts)


def read_timing(value: str) -> dict[str, float]:
    """The durations of a peer's ``Server-Timing``, in milliseconds."""
    return {name: float(number) for name, number in _DURATION.findall(value)}


def retry_headers(refused: Refused) -> Headers:
    """The retry contract of OpenAI's clients, and the link of a residency refusal (RFC 7725)."""
    headers: Headers = [("x-should-retry", "true" if refused.kind.should_retry else "false")]
    if refused.kind.should_retry and refused.retry_after_ms is not None:
        headers.append(("retry-after-ms", str(refused.retry_after_ms)))
        headers.append(("retry-after", str(max(1, refused.retry_after_ms // 1000))))
    if refused.rule is not None:
        headers.append(("selvedge-rule", refused.rule))
    if refused.kind.status == 401:
        headers.append(("www-authenticate", "Bearer"))
    return headers
