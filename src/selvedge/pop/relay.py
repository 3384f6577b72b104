"""One attempt: an engine's answer on its way to the client. The hot path, flat and callback-driven.

Bytes come in from the engine (or the peer in front of it), go through a pure scanner, and leave for
the client in the same call; no task runs per chunk. The end of the answer is held back: `deliver`
sends it once the receipt is written. What happened becomes one reply to the story.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final, TypedDict

import msgspec

from selvedge.adapters import Call, TransportFailed
from selvedge.exchange import Ended, Failed, Gone, Job, Kept, Relayed, Served
from selvedge.fabric import Attested, Refused, Route, Usage
from selvedge.pop.capture import Captured
from selvedge.pop.clock import now_us
from selvedge.pop.downstream import Downstream, read_timing
from selvedge.routing import ANSWERS, UNTOLD, Underway
from selvedge.wire import (
    DIALECTS,
    Dialect,
    Limits,
    Profile,
    ResponseHead,
    StreamScan,
    Translator,
    as_kept,
    assemble,
    engine_streams,
    read_answer,
    read_attested,
    read_retry_after,
    refusal_of_answer,
    render_count,
    render_done,
    render_stream,
)

ERROR_BYTES_MAX: Final = 64 * 1024
ATTESTED_HEADER: Final = "selvedge-attested"
RETRY_AFTER_MS: Final = 1000


_WORDS: Final = {
    "connect": "refused the connection",
    "connect_timeout": "did not accept the connection in time",
    "reset": "broke the connection",
    "truncated": "ended its answer before its end",
    "protocol": "did not answer in HTTP/1.1",
    "too_large": "answered too much",
    "busy": "has engine_connections_max connections in use",
}


class _Facts(TypedDict):
    started_us: int
    at_us: int
    tokens: int
    first_token_us: int | None
    served: Served | None
    usage: Usage | None
    attested: Attested | None
    begun: bool


class Relaying:
    """The sink of one engine's response. ``on_end`` is given the reply, exactly once.

    ``profile`` is the engine's; None where the answer comes through another PoP, whose error codes
    are ours and whose attestation may follow. ``prompt_tokens`` is an estimate, for engines that
    do not count. ``dialect`` is a provider's, whose answer is translated before it is read.
    """

    def __init__(
        self,
        job: Job,
        served: Served,
        down: Downstream,
        on_end: Callable[[Ended], None],
        *,
        profile: Profile | None,
        answer_bytes_max: int,
        prompt_tokens: int = 0,
        dialect: Dialect | None = None,
    ) -> None:
        # A peer is always given usage: the ingress needs it, and strips it for its client.
        ask = msgspec.structs.replace(job.ask, include_usage=True) if job.for_peer else job.ask
        self._ask = ask
        self._served = served
        self._down = down
        self._profile = profile
        from_peer = profile is None
        streams = ask.stream if profile is None else engine_streams(ask, profile)
        self._answer_bytes_max = answer_bytes_max
        self._scan: StreamScan | None = None
        if streams:
            self._scan = StreamScan(
                ask, from_peer=from_peer, to_peer=job.for_peer, prompt_tokens=prompt_tokens
            )
        self._prompt_tokens = prompt_tokens
        self.captured: Captured | None = None
        """What of a stream is to be kept."""
        self._started_us = now_us()
        self._dialect = dialect
        self._translator: Translator | None = None
        if dialect is not None:
            self._translator = dialect.translator(ask, self._started_us)
        self._first_token_us: int | None = None
        self._head: ResponseHead | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._attested: Attested | None = None
        self._answer: bytes | None = None
        self._finish_reason: str | None = None
        self._reported: Usage | None = None
        self._call: Call | None = None
        self._on_end = on_end
        self._ended = False
        self.pools: list[str] = []
        """Where this attempt holds a slot."""
        self.crowded = False
        """It got none because its tenant has its share: the engine is well."""
        self.is_abroad = False
        """Its engine is a provider's: what a PoP tells of its own engines does not count it."""
        self.heard = self.wrote = False
        self._estimates = False
        down.on_gone = self.client_left

    def estimate(self, here: Served) -> None:
        """No engine is asked how many tokens the prompt has: this PoP says what it thinks."""
        self._served = here
        self._estimates = True
        self._answer = render_count(self._prompt_tokens, estimated=True)
        self._resolve(Relayed(**self._facts(), finish_reason=None))

    def begin(self, call: Call) -> None:
        """The request is on its way as ``call``."""
        self._call = call
        self._down.flow_to(call)
        if self._ended:
            call.cancel()

    # What the engine does.

    def head(self, head: ResponseHead) -> None:
        """The engine answers."""
        self.heard = True
        self._head = head
        if self._profile is None:
            self._down.peer_timing = read_timing(head.headers.get("server-timing") or "")
            self._attested = _word_of(head.headers.get(ATTESTED_HEADER) or "")
            engine = (head.headers.get("selvedge-engine") or "")[:64]
            self._served = msgspec.structs.replace(self._served, engine=engine or None)

    def data(self, part: bytes) -> None:
        """A part of the engine's answer."""
        self.heard = True
        if self._ended or self._head is None:
            return
        if self._head.status != 200 or self._scan is None:
            self._hold([part])
            return
        translator = self._translator
        if translator is not None:
            part = translator.feed(part)
            if not part and translator.fault is None:
                return
        self._pass_on(self._scan, self._scan.feed(part))
        if self._scan.fault is not None:
            self._fail(self._scan.fault)
        elif translator is not None and translator.fault is not None:
            self._fail(translator.fault)

    def end(self) -> None:
        """The engine's answer is over."""
        if self._ended:
            return
        if self._head is None or self._head.status != 200:
            self._fail(self._refusal())
            return
        try:
            if self._scan is not None:
                self._end_stream(self._scan)
            else:
                self._end_json()
        except (TypeError, ValueError, KeyError, AttributeError):
            # JSON of a shape that no engine should send; counted as a failed attempt.
            self._fail(Refused("engine_failed", "The engine's answer cannot be put together."))

    def failed(self, error: TransportFailed) -> None:
        """The way to the engine, or back, broke."""
        if self._ended:
            return
        if self._scan is not None and self._scan.whole and self._head is not None:
            self.end()
            return
        # The kind and the place; addresses are the operator's affair.
        self._break(_WORDS[error.kind], busy=error.kind == "busy")

    # What else may happen.

    def client_left(self) -> None:
        """The client hung up: stop the engine now."""
        if not self._ended:
            self._stop()
            self._resolve(Gone(**self._facts()))

    def deadline_passed(self) -> None:
        """The request's deadline is over: stop the engine now."""
        self._fail(Refused("deadline_exceeded", "The request's deadline has passed."))

    def refuse(self, refused: Refused) -> None:
        """The attempt cannot even begin, or has to end now."""
        self._fail(refused)

    @property
    def expects_life(self) -> bool:
        """Whether the engine's silence means anything: it streams, and nobody holds it back.

        A peer passes on nothing of its engine's progress, and minds its silence itself.
        """
        streams = self._scan is not None and (self._profile is not None or self._head is not None)
        return streams and not self._down.paused

    def underway(self) -> Underway | None:
        """What the engine has yet to do of it; None where the engine is not this PoP's."""
        engine = self._served.engine
        if self._profile is None or engine is None or self.is_abroad:
            return None
        if self._first_token_us is not None:
            return Underway(engine, self._ask, ANSWERS)
        left = self._scan.prompt_left if self._scan is not None else None
        return Underway(engine, self._ask, UNTOLD if left is None else left)

    def prompt_timing(self) -> tuple[int, int]:
        """Prompt tokens that the engine read, and microseconds it took; zeros where untold."""
        return (0, 0) if self._scan is None else self._scan.prompt_timing()

    def silent(self, silent_ms: int) -> None:
        """The engine has said nothing for too long."""
        self._break(f"said nothing for {silent_ms} ms (engine_idle_ms_max)")

    def ping(self) -> None:
        """Show a client that its stream lives."""
        if self._ask.stream:
            self._down.ping()

    def whole_answer(self) -> Kept | None:
        """The JSON answer that `deliver` sends; None where it was a stream."""
        if self._answer is None:
            return None
        return Kept(self._answer, self._served, self._finish_reason)

    def to_keep(self) -> tuple[tuple[bytes, ...], bytes] | None:
        """Chunks or JSON of the whole answer, as they are kept; None where it is too large, or its
        engine never said that it was whole.
        """
        captured, scan = self.captured, self._scan
        if captured is None:
            return None
        if scan is not None and not scan.ended_by_word:
            return None
        if scan is None:
            captured.take([self._answer or b""])
            return ((), self._answer or b"") if captured.payloads else None
        if not self._ask.stream:
            captured.take(self._held)
        captured.take([one for one in scan.tail() if b'"choices":[]' not in one])
        if not captured.payloads:
            return None
        return as_kept(captured.payloads, had_usage=self._ask.include_usage), b""

    def deliver(self, attested: Attested | None) -> None:
        """Send what was held back: the end of the stream, or the whole JSON answer."""
        if self._ask.stream and self._scan is not None:
            tail = render_stream(self._scan.tail()) + render_done(attested)
            self._down.finish_stream(self._served, tail)
        else:
            self._down.answer(self._served, self._answer or b"", attested)

    # How it is done.

    def _hold(self, parts: list[bytes]) -> None:
        """Keep what is not passed on at once: an error's body, or an answer to be sent whole."""
        self._held += parts
        self._held_bytes += sum(map(len, parts))
        if self._head is not None and self._head.status != 200:
            if self._held_bytes > ERROR_BYTES_MAX:
                self._fail(self._refusal())
        elif self._held_bytes > self._answer_bytes_max:
            words = f"The answer exceeds {self._answer_bytes_max} bytes; ask for a stream."
            self._fail(Refused("engine_failed", words))

    def _pass_on(self, scan: StreamScan, payloads: list[bytes]) -> None:
        if scan.started and self._first_token_us is None:
            self._first_token_us = now_us()
            if self._ask.stream:
                self._down.start_stream(self._served, self._first_token_us - self._started_us)
        if not payloads:
            return
        if self._ask.stream:
            self.wrote = True
            if self.captured is not None:
                self.captured.take(payloads)
            self._down.write(render_stream(payloads))
            return
        self._hold(payloads)

    def _end_stream(self, scan: StreamScan) -> None:
        translator = self._translator
        if translator is not None:
            self._pass_on(scan, scan.feed(translator.close()))
        if translator is None or translator.fault is None:
            self._pass_on(scan, scan.close())
        if self._ended:
            return
        fault = scan.fault
        if fault is None and translator is not None:
            fault = translator.fault
        if fault is not None:
            self._fail(fault)
            return
        usage = self._usage()
        if not self._ask.stream:
            tail = [one for one in scan.tail() if b'"choices":[]' not in one]
            self._answer = assemble(self._ask, self._held + tail, usage)
        # Where the engine gave none, the terminal chunk that the scan adds says "stop".
        reason = self._finish_reason = scan.finish_reason or "stop"
        self._resolve(Relayed(**self._facts(), finish_reason=reason))

    def _end_json(self) -> None:
        body = b"".join(self._held)
        if self._translator is not None:
            told = self._translator.whole(body)
            if isinstance(told, Refused):
                self._fail(told)
                return
            body = told
        read = read_answer(self._ask, body)
        if read is None:
            self._fail(Refused("engine_failed", "The engine's answer is not JSON."))
            return
        facts, self._answer = read
        if self._ask.route is not Route.COUNT:
            self._first_token_us = now_us()
        self._reported = facts.usage or self._estimated(facts.text_bytes)
        self._finish_reason = facts.finish_reason
        self._resolve(Relayed(**self._facts(), finish_reason=facts.finish_reason))

    def _refusal(self) -> Refused:
        status = self._head.status if self._head is not None else 502
        body, profile = b"".join(self._held), self._profile
        if profile is None:
            return refusal_of_answer(status, body, ours=True)
        if self._dialect is not None and self._head is not None:
            return self._dialect.refusal(status, self._head.headers, body)
        told = profile.caller_words
        return refusal_of_answer(status, body, abroad=self.is_abroad, caller_words=told)

    def _tokens(self) -> int:
        """Tokens that reached the client; a response that has begun is never begun again."""
        if self._scan is None or not self._ask.stream:
            return 0
        return max(self._scan.tokens, int(self._down.delivering))

    def _usage(self) -> Usage:
        if self._scan is None:
            return self._reported or Usage()
        return self._scan.usage or self._scan.counted()

    def _estimated(self, text_bytes: int) -> Usage:
        """Of a whole answer whose engine counted nothing: from bytes, as if it were its prompt."""
        prompt_bytes = max(1, self._ask.prompt_bytes)
        output = -(-text_bytes * self._prompt_tokens // prompt_bytes)
        return Usage(input_uncached=self._prompt_tokens, output=output, provenance="estimated")

    def _facts(self) -> _Facts:
        if self._scan is not None and self._scan.attested is not None:
            self._attested = self._scan.attested
        # Where bytes went is in the attempts; "processed in" needs an answer from there.
        answered = self._estimates or (self._head is not None and self._head.status == 200)
        reached = self._call is not None and self._call.sent
        delivered = self._ask.stream or self._answer is not None
        return {
            "started_us": self._started_us,
            "at_us": now_us(),
            "tokens": self._tokens(),
            "first_token_us": self._first_token_us if delivered else None,
            "served": self._served if answered else None,
            "usage": self._usage() if reached else None,
            "attested": self._attested,
            "begun": self._down.started,
        }

    def _fail(self, refused: Refused) -> None:
        if not self._ended:
            self._stop()
            self._resolve(Failed(**self._facts(), refused=refused, told_ms=self._told_ms()))

    @property
    def status(self) -> int:
        """Of the answer; 0 where none has come."""
        return self._head.status if self._head is not None else 0

    def limits(self) -> Limits | None:
        """What a provider's answer tells of its limits on us, once it has come."""
        if self._profile is None or self._head is None:
            return None
        body = b"".join(self._held) if self._head.status != 200 else b""
        dialect = self._dialect or DIALECTS["openai"]
        return dialect.limits(self._head.headers, body, now_us())

    def _told_ms(self) -> int | None:
        """When an engine or a peer that refuses wants to be asked again."""
        if self._head is None or self._head.status == 200:
            return None
        if self._dialect is not None:
            told = self.limits()
            return told.retry_after_ms if told is not None else None
        headers = self._head.headers
        return read_retry_after(headers.get("retry-after-ms"), headers.get("retry-after"))

    def _break(self, words: str, *, busy: bool = False) -> None:
        code = "engine_interrupted" if self._tokens() else "engine_failed"
        code = "no_engine_available" if busy else code
        place = f"{self._served.pop}/{self._served.engine or '*'}"
        self._fail(Refused(code, f"{place} {words}.", retry_after_ms=RETRY_AFTER_MS))

    def _stop(self) -> None:
        if self._call is not None:
            self._call.cancel()

    def _resolve(self, ended: Ended) -> None:
        self._down.on_gone = None
        self._down.flow_to(None)
        self._ended = True
        self._call = None
        on_end, self._on_end = self._on_end, _told  # what refers to us is let go
        on_end(ended)


def _told(_: Ended) -> None:
    raise AssertionError("an attempt ends once")


def _word_of(header: str) -> Attested | None:
    """The attestation in a header, or None where there is none to be read."""
    try:
        return read_attested(base64.b64decode(header, validate=True))
    except ValueError:
        return None
