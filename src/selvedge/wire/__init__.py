"""Floor 1: bytes on the wire <-> nouns. OpenAI's JSON and SSE, HTTP/1.1, tickets. No sockets."""

from selvedge.wire.answers import (
    AnswerFacts,
    assemble,
    read_answer,
    read_attested,
    render_count,
    render_error,
    write_attested,
)
from selvedge.wire.dialects import (
    Form,
    items_of,
    open_form,
    previous_of,
    render_refusal,
    response_of,
)
from selvedge.wire.dialects.dialect import NO_OPTIONS, Dialect, Limits, Order, Outgoing, Translator
from selvedge.wire.dialects.table import DIALECTS
from selvedge.wire.engine_errors import is_callers_fault, refusal_of_answer
from selvedge.wire.engine_load import EngineLoad, read_load
from selvedge.wire.forwarded import (
    ForwardedHeader,
    Network,
    TrustedProxies,
    client_address,
    read_address,
)
from selvedge.wire.http1 import EndOfInput, RequestReader, ResponseReader
from selvedge.wire.http1_body import BodyPart, EndOfMessage
from selvedge.wire.http1_head import (
    Headers,
    HeadLimits,
    ProtocolViolation,
    RequestHead,
    ResponseHead,
)
from selvedge.wire.http1_render import (
    CONTINUE,
    LAST_CHUNK,
    HeaderPair,
    RequestTemplate,
    ResponseTemplate,
    chunk,
    render_request_head,
    render_response_head,
)
from selvedge.wire.idempotency import read_idempotency_key
from selvedge.wire.kept import answer_again, as_kept, chunks_again, new_answer_id, said
from selvedge.wire.limits import NAMED, limit_names, limit_values
from selvedge.wire.media import ImageUrls
from selvedge.wire.prefix import BLOCK_BYTES, BLOCKS_MAX, fingerprint, prefix_salt
from selvedge.wire.profiles import PROFILES, Profile
from selvedge.wire.requests import engine_body, engine_streams, parse
from selvedge.wire.schemas import body_schemas
from selvedge.wire.sealed import is_sealed, payload_of, seal
from selvedge.wire.sse import DONE, Event, EventTooLarge, SseReader, frame
from selvedge.wire.stream import StreamScan, render_attested, render_done, render_stream
from selvedge.wire.tickets import (
    Ticket,
    TicketBook,
    UsedHere,
    UsedTickets,
    attest,
    body_hash,
    holds,
    issue,
    read_unverified,
    ticket_hash,
)
from selvedge.wire.usage import render_usage, usage_of_events
from selvedge.wire.waiting import read_retry_after, read_wait_ms

__all__ = [
    "BLOCKS_MAX",
    "BLOCK_BYTES",
    "CONTINUE",
    "DIALECTS",
    "DONE",
    "LAST_CHUNK",
    "NAMED",
    "NO_OPTIONS",
    "PROFILES",
    "AnswerFacts",
    "BodyPart",
    "Dialect",
    "EndOfInput",
    "EndOfMessage",
    "EngineLoad",
    "Event",
    "EventTooLarge",
    "Form",
    "ForwardedHeader",
    "HeadLimits",
    "HeaderPair",
    "Headers",
    "ImageUrls",
    "Limits",
    "Network",
    "Order",
    "Outgoing",
    "Profile",
    "ProtocolViolation",
    "RequestHead",
    "RequestReader",
    "RequestTemplate",
    "ResponseHead",
    "ResponseReader",
    "ResponseTemplate",
    "SseReader",
    "StreamScan",
    "Ticket",
    "TicketBook",
    "Translator",
    "TrustedProxies",
    "UsedHere",
    "UsedTickets",
    "answer_again",
    "as_kept",
    "assemble",
    "attest",
    "body_hash",
    "body_schemas",
    "chunk",
    "chunks_again",
    "client_address",
    "engine_body",
    "engine_streams",
    "fingerprint",
    "frame",
    "holds",
    "is_callers_fault",
    "is_sealed",
    "issue",
    "items_of",
    "limit_names",
    "limit_values",
    "new_answer_id",
    "open_form",
    "parse",
    "payload_of",
    "prefix_salt",
    "previous_of",
    "read_address",
    "read_answer",
    "read_attested",
    "read_idempotency_key",
    "read_load",
    "read_retry_after",
    "read_unverified",
    "read_wait_ms",
    "refusal_of_answer",
    "render_attested",
    "render_count",
    "render_done",
    "render_error",
    "render_refusal",
    "render_request_head",
    "render_response_head",
    "render_stream",
    "render_usage",
    "response_of",
    "said",
    "seal",
    "ticket_hash",
    "usage_of_events",
    "write_attested",
]
