"""Every provider's stand-in as a row: how it is reached, what it says, how it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from selvedge.fabric import Usage
from tests.standins import anthropic, bedrock, gemini, openai
from tests.standins.server import Asked, Told

HTML = Told((b"<html>Bad Gateway</html>",), kind="text/html")
NOTHING = Told((), kind="text/event-stream")


@dataclass(frozen=True)
class Row:
    """One provider. Its answers are "Hello there.", and a call of `weather` for Oslo."""

    profile: str
    secret: str
    hello: Callable[[Asked, int | None], Told]
    call: Callable[[Asked], Told]
    fails: Callable[[int], Told]
    codes: Mapping[int, str]
    """What a client is told for a status, where no other engine is left."""
    broken: Mapping[str, Told]
    late: Told
    """An answer that has begun, and then an error."""
    begun: int
    """Events until the first text is out."""
    path: str = ""
    name: str = "theirs"
    usage: Usage = field(default_factory=lambda: Usage(25, 0, 0, 15, 0, "reported"))


BUSY = "no_engine_available"


def codes(*statuses: int) -> dict[int, str]:
    """By status: the client's own fault, else that no engine is left."""
    return {
        one: {400: "engine_rejected", 413: "request_too_large"}.get(one, BUSY) for one in statuses
    }


def cut(parts: list[bytes], kind: str) -> dict[str, Told]:
    """A stream that ends too early, in two ways, and what is no answer at all."""
    return {
        "html": HTML,
        "nothing": NOTHING,
        "half a stream": Told(tuple(parts), kind=kind),
        "cut": Told(tuple(parts), kind=kind, cut=True),
    }


SSE = "text/event-stream"
FRAMES = "application/vnd.amazon.eventstream"
OSLO = {"city": "Oslo"}

ANTHROPIC_CALL = anthropic.Says(
    ({"type": "tool_use", "id": "toolu_1", "name": "weather", "input": OSLO},), "tool_use"
)
GEMINI_CALL = gemini.Says(({"functionCall": {"name": "weather", "args": OSLO}},))
BEDROCK_CALL = bedrock.Says(
    ({"toolUse": {"toolUseId": "t1", "name": "weather", "input": OSLO}},), "tool_use"
)
AZURE_CALL = openai.Says(
    (),
    (
        {
            "id": "c1",
            "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
        },
    ),
)


def _anthropic() -> Row:
    says = anthropic.Says()
    early = anthropic.event("error", error={"type": "overloaded_error", "message": "m"})
    return Row(
        "anthropic",
        anthropic.KEY,
        lambda asked, hold: anthropic.tell(asked, says, hold_at=hold),
        lambda asked: anthropic.tell(asked, ANTHROPIC_CALL),
        lambda status: anthropic.fails(status, retry_after="3"),
        codes(400, 401, 403, 404, 413, 429, 500, 529),
        cut(says.events()[:2], SSE)
        | {
            "error in a 200": Told((anthropic.error(529),), kind=SSE),
            "error first": Told((early,), kind=SSE),
            "no JSON": Told((b"data: {nonsense\n\n",), kind=SSE),
        },
        Told((*says.events()[:5], early), kind=SSE),
        5,
    )


def _google(profile: str, secret: str, path: str) -> Row:
    says = gemini.Says()
    early = gemini.event(gemini.error(503))
    return Row(
        profile,
        secret,
        lambda asked, hold: gemini.tell(asked, says, hold_at=hold),
        lambda asked: gemini.tell(asked, GEMINI_CALL),
        lambda status: gemini.fails(status, "3s"),
        codes(400, 401, 403, 404, 429, 500, 503),
        cut([], SSE)
        | {
            "error in a 200": Told(gemini.fails(503).parts),
            "error first": Told((early,), kind=SSE),
            "lost": Told((gemini.event(gemini.Says((), "MALFORMED_FUNCTION_CALL").answer),)),
        },
        Told((says.events()[0], early), kind=SSE),
        1,
        path,
    )


def _bedrock(profile: str, secret: str) -> Row:
    says = bedrock.Says()
    early = bedrock.exception("throttlingException")
    return Row(
        profile,
        secret,
        lambda asked, hold: bedrock.tell(asked, says, hold_at=hold),
        lambda asked: bedrock.tell(asked, BEDROCK_CALL),
        lambda status: bedrock.fails(status, retry_after="3"),
        codes(400, 403, 404, 408, 424, 429, 500, 503),
        cut(says.events()[:1], FRAMES)
        | {
            "error first": Told((early,), kind=FRAMES),
            "damaged": Told((says.events()[0][:-1] + b"!",), kind=FRAMES),
        },
        Told((*says.events()[:2], early), kind=FRAMES),
        2,
        f"/?region={bedrock.REGION}",
        "eu.theirs-v1:0",
    )


def _azure(path: str) -> Row:
    says = openai.Says()
    early = openai.event({"error": {"message": "m", "type": "server_error", "code": None}})
    return Row(
        "azure",
        openai.KEY,
        lambda asked, hold: openai.tell(asked, says, hold_at=hold),
        lambda asked: openai.tell(asked, AZURE_CALL),
        lambda status: openai.fails(status, retry_after_ms="3000", retry_after="3"),
        codes(400, 401, 403, 404, 413, 429, 500, 503),
        cut(says.events()[:2], SSE) | {"error first": Told((early,), kind=SSE)},
        Told((*says.events()[:4], early), kind=SSE),
        3,
        path,
    )


ROWS: Mapping[str, Row] = {
    "anthropic": _anthropic(),
    "gemini": _google("gemini", gemini.KEY, "/v1beta"),
    "vertex": _google("vertex", gemini.TOKEN, "/v1/projects/p/locations/eu"),
    "bedrock signed": _bedrock("bedrock", bedrock.KEY),
    "bedrock by key": _bedrock("bedrock", bedrock.BEARER),
    "azure": _azure(""),
    "azure v1": _azure("/openai/v1"),
}
