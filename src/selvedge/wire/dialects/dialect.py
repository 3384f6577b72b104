"""What a dialect promises: a chat request to a provider's form, and all it says back to ours.

A dialect is pure: no sockets, no clock (the time is handed in), no state between requests. Whatever
follows the translator knows one form, OpenAI's. What a provider says is classified by its type and
status, never by the text of a message.

Refuses to know: where a provider is placed, which key is used, whether the answer may go there.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from selvedge.fabric import Ask, Refused
from selvedge.fabric.value import Value
from selvedge.wire.http1_head import Headers
from selvedge.wire.profiles import Profile

NO_OPTIONS: Final[Mapping[str, str]] = MappingProxyType({})


class Order(Value, frozen=True):
    """All that one request to a provider is made of.

    ``body`` is the client's, in the form of ``ask.route``; ``name`` is the provider's own name of
    the model. ``options`` are the engine's (see docs/providers-dialects.md), ``base`` the path of
    its URL, ``host`` its authority as the `Host` header has it. Not ``keeps``: it may keep nothing.
    """

    ask: Ask
    body: bytes
    name: str
    profile: Profile
    now_us: int
    secret: str = ""
    base: str = ""
    host: str = ""
    options: Mapping[str, str] = NO_OPTIONS
    context_tokens_max: int = 0
    keeps: bool = True


class Outgoing(Value, frozen=True):
    """A request as it leaves: path with query, headers beside those of every POST, body."""

    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Level(Value, frozen=True):
    """One of a provider's limits: how much there is, what is left of it, when it is full again."""

    limit: int | None = None
    remaining: int | None = None
    reset_us: int | None = None
    """Microseconds UTC."""


class Limits(Value, frozen=True):
    """What a provider's answer tells of its limits on us; ``None`` where it says nothing."""

    requests: Level | None = None
    tokens: Level | None = None
    input_tokens: Level | None = None
    output_tokens: Level | None = None
    retry_after_ms: int | None = None


class Translator(Protocol):
    """Turns one answer into OpenAI's form. Made for one attempt, thrown away after it."""

    fault: Refused | None
    """Set once the provider has told, in its stream, that it failed."""

    def feed(self, data: bytes) -> bytes:
        """Bytes of the provider's stream; what they complete, as OpenAI's events. Never raises."""

    def close(self) -> bytes:
        """The provider closed its stream: what is still to be said."""

    def whole(self, body: bytes) -> bytes | Refused:
        """A whole answer as OpenAI's JSON, or what its error means."""


class Dialect(Protocol):
    """One provider's API, both ways."""

    def request(self, order: Order) -> Outgoing | Refused:
        """The provider's request, or the refusal that names the field it cannot carry."""

    def translator(self, ask: Ask, now_us: int) -> Translator | None:
        """What translates the answer; None where it is in OpenAI's form already."""

    def refusal(self, status: int, headers: Headers, body: bytes) -> Refused:
        """What an answer that is not 200 means."""

    def limits(self, headers: Headers, body: bytes, now_us: int) -> Limits | None:
        """What an answer tells of limits; ``body`` only where its status is not 200."""
