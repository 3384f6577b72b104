"""Judgements at a worker: a model is asked for the cache's process, as if the tenant asked it.

Of each answer that was handed over is remembered for whom it was, no text. The process asks by the
answer's id; what is not remembered is not asked. A judgement is a story like a request's, run by
the same interpreter, but for a client it has `_Desk`, which takes the answer in memory. It gives
way: nothing begins while requests stand in line, while half of the engines' room is taken, or while
the PoP drains; and it waits for no slot.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Generator
from typing import Final

import msgspec

from selvedge.adapters import AskJudge, SayJudged
from selvedge.cache import judging
from selvedge.exchange import (
    Command,
    Deliver,
    Drop,
    Ending,
    FleetView,
    Judged,
    Refuse,
    Reply,
    Story,
    judgement,
)
from selvedge.fabric import Head, Refused, Route
from selvedge.pop.clock import now_us
from selvedge.pop.http_inbound import Inbound
from selvedge.pop.interpreter import Interpreter
from selvedge.pop.state import PopState
from selvedge.routing import place
from selvedge.wire import Headers, RequestHead

REMEMBERED_MAX: Final = 4096
"""Answers of which it is known for whom they were: as many as the process has notes, or half."""
WORD_CHARS_MAX: Final = 64
ROOM: Final = 2
"""Of so many parts of an engine's `in_flight_max`, one may be taken when a judgement begins."""
_ID_BYTES: Final = 10
_NOT_ALLOWED: Final = frozenset(
    {
        "residency_no_allowed_pop",
        "residency_ingress",
        "residency_model",
        "residency_handling",
        "no_provider_left",
        "model_not_found",
        "unsupported_route",
        "key_scope",
    }
)
_HEADERS: Final = Headers(())
Tell = Callable[[SayJudged], None]
log: Final = logging.getLogger("selvedge.cache")


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message | None = None


class _Used(msgspec.Struct):
    total_tokens: int = 0


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Used | None = None


_answers: Final = msgspec.json.Decoder(_Answer)
_encode: Final = msgspec.json.Encoder().encode


class Judging:
    """One per process, on the event loop's thread."""

    def __init__(self, state: PopState) -> None:
        self._state = state
        self._known: OrderedDict[str, Judged] = OrderedDict()
        self._running: set[_Desk] = set()

    def expects(self, answer: str, judged: Judged) -> None:
        """An answer was handed over; whoever is to judge it may be asked for these."""
        self._known[answer] = judged
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)

    def begin(self, asked: AskJudge, tell: Tell) -> None:
        """Ask a model; ``tell`` hears its word, or why there is none, once."""

        def done(said: SayJudged) -> None:
            self._state.metrics.cache.judgements.labels(said.why or "answered").inc()
            tell(said)

        judged, view = self._known.get(asked.answer), self._state.view
        if judged is None or view is None:
            done(SayJudged(asked.number, why="unknown"))
        elif self._state.draining:
            done(SayJudged(asked.number, why="stopping"))
        elif not self._has_room(view, asked.model):
            done(SayJudged(asked.number, why="busy"))
        else:
            self._ask(asked, judged, view, done)

    def forsake(self) -> None:
        """Nobody waits for what runs: its engines are stopped, and its receipts written."""
        for one in list(self._running):
            one.leave()

    def _has_room(self, view: FleetView, model: str) -> bool:
        state = self._state
        if state.gate.line.waiting:
            return False
        own = [one for one in view.here.engines if any(s.model == model for s in one.serves)]
        return not own or any(
            state.load.requests(place(view.here.id, one.id)) * ROOM < one.in_flight_max
            for one in own
        )

    def _ask(self, asked: AskJudge, judged: Judged, view: FleetView, done: Tell) -> None:
        state, at_us = self._state, now_us()
        body = _body(asked)
        head = Head(
            request_id=self._new_id("req", at_us),
            receipt_id=self._new_id("rcpt", at_us),
            route=Route.CHAT,
            authorization=None,
            content_length=len(body),
            received_us=at_us,
            deadline_us=at_us + asked.ms_max * 1000,
            wait_ms_max=0,
            purpose="judge",
        )
        desk = _Desk(state, asked.number, done, self._running)
        inbound = desk.inbound(at_us)
        story = desk.watched(judgement(head, judged, asked.entry, body, view))
        state.metrics.running.inc()
        state.gate.entered()
        interpreter = Interpreter(state, view, inbound, head, for_peer=False)
        interpreter.is_clients = False
        interpreter.run(story)

    def _new_id(self, prefix: str, at_us: int) -> str:
        return f"{prefix}_{at_us // 1000:012x}{self._state.entropy.take(_ID_BYTES).hex()}"


def _body(asked: AskJudge) -> bytes:
    """The question as a chat: a word or two, always the same one."""
    system, user = asked.words
    return _encode(
        {
            "model": asked.model,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": user},
            ],
            "temperature": 0,
            "max_tokens": judging.WORD_TOKENS_MAX,
        }
    )


class _Desk:
    """In a client's place: takes what the interpreter sends, and tells what it says."""

    write_paused = False
    closing = False
    certificate = ""

    def __init__(self, state: PopState, number: int, tell: Tell, running: set[_Desk]) -> None:
        self._state = state
        self._number = number
        self._tell: Tell | None = tell
        self._running = running
        self._sent: list[bytes] = []
        self._ending: Ending | None = None
        self._inbound: Inbound | None = None

    def inbound(self, at_us: int) -> Inbound:
        """The request, as the interpreter knows one."""
        head = RequestHead("POST", Route.CHAT, "1.1", _HEADERS, True, 0, False, False)
        self._inbound = Inbound(head, ("", 0), at_us, self, b"")
        self._running.add(self)
        return self._inbound

    def watched(self, story: Story) -> Generator[Command, Reply, Ending]:
        """The story; how it ends is noted."""
        self._ending = yield from story
        return self._ending

    def leave(self) -> None:
        """Nobody waits any more."""
        if self._inbound is not None:
            self._inbound.lost()

    # What the interpreter does with a connection.

    def write(self, data: bytes) -> None:
        """A part of the answer."""
        self._sent.append(data)

    def reading(self, wanted: bool) -> None:
        """There is nothing to read."""

    def finished(self, inbound: Inbound, *, keep: bool) -> None:
        """The answer is complete."""

    def abort(self) -> None:
        """There is nothing to close."""

    def settled(self, inbound: Inbound) -> None:
        """The story is over."""
        self._end()

    def faulted(self, inbound: Inbound, error: BaseException) -> None:
        """The interpreter broke."""
        self.report(error)
        self._end()

    def report(self, error: BaseException) -> None:
        """Something broke; count and log it."""
        self._state.metrics.faults.inc()
        log.error("a fault of ours: %s", type(error).__name__, exc_info=error)

    def _end(self) -> None:
        self._running.discard(self)
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(self._said())
        self._sent.clear()
        self._inbound = None

    def _said(self) -> SayJudged:
        match self._ending:
            case Deliver():
                return self._read()
            case Refuse(refused=refused, receipt=asked):
                return SayJudged(self._number, why=_why(refused, asked=asked), asked=asked)
            case Drop():
                return SayJudged(self._number, why="forsaken", asked=True)
        return SayJudged(self._number, why="failed")

    def _read(self) -> SayJudged:
        _, _, body = b"".join(self._sent).partition(b"\r\n\r\n")
        try:
            answer = _answers.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return SayJudged(self._number, why="failed", asked=True)
        message = answer.choices[0].message if answer.choices else None
        word = (message.content or "") if message is not None else ""
        tokens = answer.usage.total_tokens if answer.usage is not None else None
        return SayJudged(self._number, word[:WORD_CHARS_MAX], tokens=tokens, asked=True)


def _why(refused: Refused, *, asked: bool) -> str:
    """Why there is no word. ``asked``: something had left the PoP, and there is a receipt."""
    if refused.code in _NOT_ALLOWED:
        return "no_engine"
    if refused.code == "deadline_exceeded":
        return "late"
    if refused.kind.fault == "capacity" and not asked:
        return "busy"
    return "failed"
