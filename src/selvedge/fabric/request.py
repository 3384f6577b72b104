"""A request and what it used: the facts that decide, never the prompt."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from selvedge.fabric.caching import CacheWish
from selvedge.fabric.preferences import Preferences
from selvedge.fabric.refusals import Refused

Purpose = Literal["request", "batch", "probe", "judge"]
PROBE_TENANT: Final = "selvedge-probe"
"""The operator's own tenant: what its keys ask is a probe, and bills nothing."""


class Route(enum.StrEnum):
    """The routes that ask an engine for work."""

    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"
    EMBEDDINGS = "/v1/embeddings"
    RERANK = "/v1/rerank"
    COUNT = "/v1/chat/completions/input_tokens"
    """How many tokens the prompt of a chat has: work, and nothing that is billed."""


Dialect = Literal["anthropic", "responses"]
"""Another API in whose form a client asks; the story knows the chat form alone."""

DIALECT_PATHS: Final[Mapping[str, tuple[Route, Dialect]]] = MappingProxyType(
    {
        "/v1/messages": (Route.CHAT, "anthropic"),
        "/v1/messages/count_tokens": (Route.COUNT, "anthropic"),
        "/v1/responses": (Route.CHAT, "responses"),
        "/v1/responses/input_tokens": (Route.COUNT, "responses"),
    }
)
"""Paths of other APIs, and what a request there is for the story."""
_PATHS: Final = {asked: path for path, asked in DIALECT_PATHS.items()}


class Head(msgspec.Struct, frozen=True):
    """What is known before the body: all that admission needs.

    Times are integer microseconds UTC; ``deadline_us`` is absolute on this PoP's clock.
    """

    request_id: str
    receipt_id: str
    route: Route
    authorization: str | None
    content_length: int | None
    received_us: int
    deadline_us: int
    client_ip: str = ""
    client_request_id: str | None = None
    fault: Refused | None = None
    """What is wrong with the head itself; told only to who may ask."""
    peer: str | None = None
    """The PoP whose certificate came with it, "" if no PoP's; None where there is no TLS."""
    wait_ms_max: int | None = None
    """The longest predicted wait for an engine that its client accepts; 0: reject if busy."""
    idempotency_key: str | None = None
    """The client's word for this request: sent again under it, it is not answered twice."""
    purpose: Purpose = "request"
    """What the receipt says of why it was asked; never read from a client's request."""
    cache: CacheWish | Refused | None = None
    """What it asks of the cache; refused, where there is one, if that cannot be read."""
    dialect: Dialect | None = None
    """The form in which its client asks; None: the route's own."""

    @property
    def path(self) -> str:
        """Where its client asked: what a key is narrowed to."""
        return self.route if self.dialect is None else _PATHS[self.route, self.dialect]

    def __repr__(self) -> str:
        return f"Head({self.request_id})"  # Neither the key nor the person.


class Ask(msgspec.Struct, frozen=True):
    """The fields of a parsed body that decide something.

    ``prompt_bytes`` is the size of the whole body: an upper bound from which routing estimates
    prompt tokens without a tokenizer.
    """

    route: Route
    model: str
    stream: bool = False
    include_usage: bool = False
    choices: int = 1
    dimensions: int | None = None
    """Length of embedding vectors, where the client asks for another than the model's own."""
    media: bool = False
    """Whether a message holds more than text."""
    output_tokens_max: int | None = None
    end_user: str | None = None
    prompt_bytes: int = 0
    session: str | None = None
    """What the client says its requests have in common (OpenAI's ``prompt_cache_key``)."""
    block_tokens: int = 0
    """Prompt tokens that one of ``prefix`` stands for; 0 where they are blocks of bytes."""
    prefix: tuple[int, ...] = ()
    """Chained fingerprints of the prompt's leading blocks, salted per tenant; see `wire.prefix`."""
    prefers: Preferences | None = None
    """Who may answer it, as far as the client says."""


Provenance = Literal["reported", "counted", "estimated"]

TOKENS_MAX: Final = 2**50
"""The most tokens one count may hold: sums of them stay integers that every JSON reader keeps."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens in one normal form: the five counts never overlap.

    OpenAI's ``prompt_tokens`` is ``input_uncached + cache_read + cache_write``; its
    ``completion_tokens`` is ``output + reasoning``. ``reported`` comes from the engine, which may
    say it while it answers; ``counted`` are the deltas that were delivered, each taken for a token;
    ``estimated`` is what has a part that is computed from bytes.
    """

    input_uncached: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    provenance: Provenance = "counted"

    def __post_init__(self) -> None:
        if not (
            0 <= self.input_uncached <= TOKENS_MAX
            and 0 <= self.cache_read <= TOKENS_MAX
            and 0 <= self.cache_write <= TOKENS_MAX
            and 0 <= self.output <= TOKENS_MAX
            and 0 <= self.reasoning <= TOKENS_MAX
        ):
            raise ValueError(f"a token count is from 0 to {TOKENS_MAX}")

    @property
    def input(self) -> int:
        """All prompt tokens."""
        return self.input_uncached + self.cache_read + self.cache_write

    @property
    def generated(self) -> int:
        """All completion tokens."""
        return self.output + self.reasoning

    @property
    def total(self) -> int:
        """All tokens."""
        return self.input + self.generated
