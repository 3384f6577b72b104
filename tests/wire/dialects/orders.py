"""Requests to dialects, and what their answers come to, for the tests of all of them."""

from __future__ import annotations

import json
from typing import Any

from selvedge.fabric import Refused, Route, Usage
from selvedge.wire import (
    DIALECTS,
    PROFILES,
    Order,
    Outgoing,
    StreamScan,
    Translator,
    assemble,
    parse,
    read_answer,
)

Json = dict[str, Any]  # Any: JSON
NOW_US = 1_795_000_000_000_000
USER: Json = {"role": "user", "content": "hi"}


def order_of(
    profile: str,
    *,
    options: Json | None = None,
    secret: str = "secret",
    host: str = "api.example.com",
    **fields: Any,  # Any: fields of the body
) -> Order:
    """A chat with these fields, for an engine of this profile."""
    body = json.dumps({"model": "chat", "messages": [USER], **fields}).encode()
    ask = parse(Route.CHAT, body, "https")
    assert not isinstance(ask, Refused), ask
    return Order(
        ask,
        body,
        "theirs",
        PROFILES[profile],
        NOW_US,
        secret=secret,
        base="",
        host=host,
        options=options or {},
        context_tokens_max=200_000,
    )


def order(profile: str, **fields: Any) -> Outgoing | Refused:  # Any: fields of the body
    """What a dialect makes of it."""
    return DIALECTS[PROFILES[profile].dialect].request(order_of(profile, **fields))


def outgoing(profile: str, **fields: Any) -> Outgoing:  # Any: as above
    """The same, where it is not refused."""
    made = order(profile, **fields)
    assert isinstance(made, Outgoing), made
    return made


def body_of(profile: str, **fields: Any) -> Json:  # Any: as above
    """The body that goes out."""
    found: Json = json.loads(outgoing(profile, **fields).body)
    return found


def refusal(profile: str, **fields: Any) -> Refused:  # Any: as above
    """The refusal of what cannot be said."""
    made = order(profile, **fields)
    assert isinstance(made, Refused), made
    return made


def translator(profile: str, *, stream: bool = True, **fields: Any) -> Translator:
    """The translator of an answer to a chat."""
    body = json.dumps({"model": "chat", "messages": [USER], "stream": stream, **fields}).encode()
    ask = parse(Route.CHAT, body)
    assert not isinstance(ask, Refused)
    made = DIALECTS[PROFILES[profile].dialect].translator(ask, NOW_US)
    assert made is not None
    return made


class Read:
    """A stream, translated and read as the PoP reads it."""

    def __init__(self, profile: str, parts: list[bytes], choices: int = 1) -> None:
        more = {"n": choices} if choices > 1 else {}
        body = json.dumps({"model": "chat", "messages": [USER], "stream": True, **more}).encode()
        ask = parse(Route.CHAT, body)
        assert not isinstance(ask, Refused)
        self.scan = StreamScan(ask)
        made = DIALECTS[PROFILES[profile].dialect].translator(ask, NOW_US)
        assert made is not None
        self.fault: Refused | None = None
        payloads: list[bytes] = []
        for part in parts:
            payloads += self.scan.feed(made.feed(part))
        payloads += self.scan.feed(made.close())
        if made.fault is None:
            payloads += self.scan.close()
        self.fault = self.scan.fault or made.fault
        self.payloads = payloads
        self.usage = self.scan.usage
        self.counted = self.scan.counted()
        tail = [] if self.fault else self.scan.tail()
        whole = json.loads(assemble(ask, payloads + tail, self.usage or Usage()))
        self.choice: Json = (whole["choices"] or [{}])[0]
        self.message: Json = self.choice.get("message", {})
        self.finish: str | None = self.choice.get("finish_reason")

    @property
    def calls(self) -> list[tuple[str, str, Any]]:  # Any: JSON
        """Id, name and arguments of the calls."""
        return calls_of(self.message)


def calls_of(message: Json) -> list[tuple[str, str, Any]]:  # Any: JSON
    """Id, name and arguments of the calls of a message."""
    return [
        (one["id"], one["function"]["name"], json.loads(one["function"]["arguments"]))
        for one in message.get("tool_calls") or ()
    ]


def whole(profile: str, body: bytes) -> tuple[Json, Usage | None, str | None] | Refused:
    """A whole answer: its message, usage and finish reason."""
    told = translator(profile, stream=False).whole(body)
    if isinstance(told, Refused):
        return told
    ask = parse(Route.CHAT, json.dumps({"model": "chat", "messages": [USER]}).encode())
    assert not isinstance(ask, Refused)
    read = read_answer(ask, told)
    assert read is not None, told
    facts, out = read
    found: Json = json.loads(out)
    assert found["object"] == "chat.completion"
    assert found["model"] == "chat"
    return found["choices"][0]["message"], facts.usage, facts.finish_reason
