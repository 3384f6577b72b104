"""The client's side of a relay: headers, chunks and ends, as every answer of a PoP carries them.

One `Downstream` lives as long as the request; attempts come and go behind it. It knows whether a
response has begun, which decides how an error is told: as a status before, as an event after.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Final, TypeAlias

from selvedge.adapters import Call
from selvedge.exchange import Kept, Served
from selvedge.fabric import Attested, Handling, Head, Refused
from selvedge.ledger import Holder, Level, Shown
from selvedge.pop.clock import now_us
from selvedge.pop.http_server import Inbound
from selvedge.wire import (
    NAMED,
    Form,
    ResponseTemplate,
    frame,
    limit_names,
    limit_values,
    render_attested,
    render_error,
    write_attested,
)

Headers = list[tuple[str, str]]
_Under: TypeAlias = tuple[str | None, tuple[Handling, ...]]
_Key: TypeAlias = tuple[str, str | None, bool, bool, bool, tuple[int, ...], _Under, str, str | None]

JSON_TYPE = ("content-type", "application/json")
_DURATION: Final = re.compile(r"([a-z]+);dur=([0-9]{1,9}(?:\.[0-9]{1,6})?)")
TEMPLATES_MAX: Final = 4096
SSE_TYPE = ("content-type", "text/event-stream; charset=utf-8")
_NONE: Final[_Under] = (None, ())
CACHE_FIELDS: Final = (
    "cache-status",
    "age",
    "selvedge-cache-entry",
    "selvedge-cache-similarity",
)
"""What an answer says that was kept; one that was not has the first alone."""
KEPT: Final = "kept"
PING: Final = b": ping\n\n"
_STREAM_HEADERS: Final = [SSE_TYPE, ("cache-control", "no-cache"), ("x-accel-buffering", "no")]


class Templates:
    """Heads of good answers: one for each place that may have served, made when first needed.

    There are as many as engines and peers of a release; a new release begins with none.
    """

    __slots__ = ("_made", "pop")

    def __init__(self, pop: str) -> None:
        self.pop = pop
        self._made: dict[_Key, ResponseTemplate] = {}

    def of(
        self,
        served: Served,
        *,
        stream: bool,
        for_peer: bool,
        attested: bool = False,
        limits: tuple[int, ...] = (),
        under: _Under = _NONE,
        cache: str = "",
        dialect: str | None = None,
    ) -> ResponseTemplate:
        """The head of an answer by ``served``; ``limits`` are the kinds that it tells of.

        ``cache`` is `KEPT`, or the `Cache-Status` of an answer that was not.
        """
        key = (served.pop, served.engine, stream, for_peer, attested, limits, under, cache, dialect)
        template = self._made.get(key)
        if template is None:
            if len(self._made) >= TEMPLATES_MAX:  # engine names of peers are the peers' own
                self._made.clear()
            template = self._make(
                served,
                stream,
                for_peer,
                attested,
                limits,
                under=under,
                cache=cache,
                dialect=dialect,
            )
            self._made[key] = template
        return template

    def _make(
        self,
        served: Served,
        stream: bool,
        for_peer: bool,
        attested: bool,
        limits: tuple[int, ...],
        *,
        under: _Under,
        cache: str,
        dialect: str | None,
    ) -> ResponseTemplate:
        fixed = [*_STREAM_HEADERS] if stream else [JSON_TYPE]
        place = f"{served.pop}/{served.engine}" if served.engine else served.pop
        fixed += [
            ("selvedge-pop", self.pop),
            ("selvedge-served-by", place),
            ("selvedge-processed-in", served.country),
            *_of_rule(under),
        ]
        names = ["x-request-id", "openai-processing-ms", "server-timing"]
        if for_peer:
            fixed.append(("selvedge-engine", served.engine or ""))
        else:
            names.append("selvedge-receipt")
        if dialect == "anthropic":
            names.append("request-id")
        if cache == KEPT:
            names += CACHE_FIELDS
        elif cache:
            fixed.append((CACHE_FIELDS[0], cache))
        if attested:
            names.append("selvedge-attested")
        for kind in limits:
            names += limit_names(NAMED[kind])
        return ResponseTemplate(200, fixed, names)


class Downstream:
    """Answers one inbound request."""

    def __init__(
        self,
        inbound: Inbound,
        head: Head,
        templates: Templates,
        *,
        for_peer: bool,
        form: Form | None = None,
    ) -> None:
        self._inbound = inbound
        self._head = head
        self._form = form
        self._templates = templates
        self._pop = templates.pop
        self._for_peer = for_peer
        self.relay_started_us = 0
        self.peer_timing: dict[str, float] = {}
        self.delivering = False
        """Whether something of an answer was sent; a response may have begun with a ping."""
        self.on_gone: Callable[[], None] | None = None
        self.on_formed: Callable[[], None] | None = None
        """Called when a whole answer is made in another API's form, before its end is sent."""
        self.quotas: Holder | None = None
        self.levels: tuple[Level, ...] = ()
        """Levels with limits, of which an answer tells what is left here."""
        self.under: _Under = _NONE
        """The version of the policy that decided, and what the data class asks for."""
        self.cache_us = 0
        """How long the cache was looked into."""
        self.cache_status = ""
        """What its `Cache-Status` says of an answer of an engine."""
        self.reused: tuple[str, ...] = ()
        """Values of `CACHE_FIELDS`, where the answer was kept."""
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
        """The first token is here: begin the response, unless a ping has begun it."""
        self.delivering = True
        if self._inbound.started:
            return
        kinds, told = self._limits()
        template = self._templates.of(
            served,
            stream=True,
            for_peer=self._for_peer,
            limits=kinds,
            under=self.under,
            cache=KEPT if self.reused else self.cache_status,
            dialect=self._head.dialect,
        )
        self._inbound.start_by(template, self._values(engine_us) + told)

    @property
    def paused(self) -> bool:
        """Whether the client takes less than it is sent."""
        return self._inbound.write_paused

    def ping(self) -> None:
        """An SSE comment. Before the first token it begins the response: who serves it is not
        known then, and is in the receipt alone. A peer must know, so it is not pinged before.
        """
        if self.paused:
            return
        if not self._inbound.started:
            if self._for_peer:
                return
            self._inbound.start(200, _STREAM_HEADERS + self._own(receipt=True), None)
        self._inbound.write(PING if self._form is None else self._form.ping())

    def write(self, data: bytes) -> None:
        """A part of the stream, in the chat form (or its route's)."""
        self._inbound.write(data if self._form is None else self._form.feed(data))

    def finish_stream(self, served: Served, tail: bytes) -> None:
        """The end of the stream, for an answer without a token also its beginning."""
        if not self.delivering:
            self.start_stream(served, now_us() - self.relay_started_us)
        self._inbound.end(tail if self._form is None else self._formed(self._form.feed(tail)))

    def answer(self, served: Served, body: bytes, attested: Attested | None) -> None:
        """A whole JSON answer."""
        kinds, told = self._limits()
        template = self._templates.of(
            served,
            stream=False,
            for_peer=self._for_peer,
            attested=attested is not None,
            limits=kinds,
            under=self.under,
            cache=KEPT if self.reused else self.cache_status,
            dialect=self._head.dialect,
        )
        values = self._values(now_us() - self.relay_started_us)
        if attested is not None:
            values += (_in_header(attested),)
        if self._form is not None:
            body = self._formed(self._form.answer(body))
        self._inbound.respond_by(template, values + told, body)

    def reuse(self, values: tuple[str, ...]) -> None:
        """What is answered next was kept; ``values`` are of `CACHE_FIELDS`."""
        self.reused = values
        self.relay_started_us = now_us()

    def answer_again(self, kept: Kept, first: str) -> None:
        """A whole JSON answer that was given before, under the receipt ``first``."""
        served = kept.served
        place = f"{served.pop}/{served.engine}" if served.engine else served.pop
        headers = [
            JSON_TYPE,
            *self._own(receipt=True),
            ("selvedge-served-by", place),
            ("selvedge-processed-in", served.country),
            ("idempotent-replayed", "true"),
            ("selvedge-repeats", first),
        ]
        body = kept.body if self._form is None else self._form.answer(kept.body, first)
        self._inbound.respond(200, headers, body)

    def refuse(self, refused: Refused, *, receipt: bool, attested: Attested | None = None) -> None:
        """An error: with its status while nothing has been sent, in-band afterwards.

        A stream that ends in an error has no ``[DONE]``: nobody may take it for a whole answer.
        """
        form = self._form
        if self._inbound.started:
            last = frame(render_error(refused)) if form is None else form.broken(refused)
            self._inbound.end(render_attested(attested) + last)
            return
        body = render_error(refused) if form is None else form.refusal(refused)
        headers = [JSON_TYPE, *retry_headers(refused), *self._own(receipt)]
        headers += _attested_headers(attested)
        for kind, name in enumerate(NAMED):
            for told in self._shown():
                if told.kind == kind:
                    values = limit_values(told.limit, told.left, told.reset_us)
                    headers += zip(limit_names(name), values, strict=True)
        self._inbound.respond(refused.kind.status, headers, body)

    def drop(self) -> None:
        """Close without another byte."""
        self._inbound.abort()

    def _formed(self, data: bytes) -> bytes:
        if self.on_formed is not None:
            self.on_formed()
        return data

    def _values(self, engine_us: int) -> tuple[str, ...]:
        """What fills in a template, in the order of `Templates`."""
        head = self._head
        pop_us = self.relay_started_us - head.received_us
        elapsed_ms = str((pop_us + engine_us) // 1000)
        if self.reused:
            timing = f"pop;dur={pop_us / 1000:.2f}, cache;dur={self.cache_us / 1000:.2f}"
        else:
            timing = render_timing(pop_us, engine_us, self.peer_timing)
        if self._for_peer:
            return (head.request_id, elapsed_ms, timing)
        if self.cache_us and not self.reused:
            timing += f", cache;dur={self.cache_us / 1000:.2f}"
        values: tuple[str, ...] = (head.request_id, elapsed_ms, timing, head.receipt_id)
        values = (*values, head.request_id) if head.dialect == "anthropic" else values
        return (*values, *self.reused) if self.reused else values

    def _shown(self) -> list[Shown]:
        if self.quotas is None or not self.levels:
            return []
        return self.quotas.shown(self.levels, now_us())

    def _limits(self) -> tuple[tuple[int, ...], tuple[str, ...]]:
        """Which limits a good answer tells of, and the values of their headers."""
        if not self.levels:
            return (), ()
        kinds: tuple[int, ...] = ()
        values: tuple[str, ...] = ()
        for told in self._shown():
            kinds += (told.kind,)
            values += limit_values(told.limit, told.left, told.reset_us)
        return kinds, values

    def _own(self, receipt: bool) -> Headers:
        elapsed_ms = (now_us() - self._head.received_us) // 1000
        headers = [
            ("x-request-id", self._head.request_id),
            ("openai-processing-ms", str(elapsed_ms)),
            ("selvedge-pop", self._pop),
        ]
        if receipt:
            headers.append(("selvedge-receipt", self._head.receipt_id))
        if self._head.dialect == "anthropic":
            headers.append(("request-id", self._head.request_id))
        return headers

    def let_go(self) -> None:
        """The request is over: hear no more of its connection."""
        inbound = self._inbound
        self.on_formed = None
        self.on_gone = inbound.on_gone = inbound.on_pause = inbound.on_resume = None

    def _gone(self) -> None:
        if self.on_gone is not None:
            self.on_gone()

    def _pause(self) -> None:
        if self._call is not None:
            self._call.pause()

    def _resume(self) -> None:
        if self._call is not None:
            self._call.resume()


def _of_rule(under: _Under) -> Headers:
    policy, handling = under
    headers = [("selvedge-policy", policy)] if policy is not None else []
    if handling:
        headers.append(("selvedge-handling", ", ".join(handling)))
    return headers


def _attested_headers(attested: Attested | None) -> Headers:
    if attested is None:
        return []
    return [("selvedge-attested", _in_header(attested))]


def _in_header(attested: Attested) -> str:
    """In base64: names in it may be of any alphabet, a header's value may not."""
    return base64.b64encode(write_attested(attested)).decode()


def render_timing(pop_us: int, engine_us: int, peer: dict[str, float]) -> str:
    """``Server-Timing`` (W3C), in milliseconds: this PoP, and the engine until its first token.

    Through a peer the second part splits into the way there and back, the peer and its engine.
    """
    if not peer:
        return f"pop;dur={pop_us / 1000:.2f}, engine;dur={engine_us / 1000:.2f}"
    at_peer, engine = peer.get("pop", 0.0), peer.get("engine", 0.0)
    way = max(0.0, engine_us / 1000 - at_peer - engine)
    parts = [("pop", pop_us / 1000), ("wan", way), ("peer", at_peer), ("engine", engine)]
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
