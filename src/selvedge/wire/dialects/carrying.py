"""Which fields of a chat a dialect can carry, and what becomes of the others. Defined once.

A field that cannot be carried is refused by its name; a client that would rather have it dropped
says so with OpenRouter's word, ``"provider": {"require_parameters": false}``. What asks for nothing
(``n: 1``, a penalty of 0) and what is said to us rather than to a model is left out silently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from selvedge.fabric import Refused, Route
from selvedge.fabric.value import Value
from selvedge.wire.dialects.chat_form import Chat, read_chat
from selvedge.wire.dialects.dialect import Order

EVERYONES: Final = frozenset({"model", "messages", "stream", "stream_options"})
"""Every dialect says these, in its own way."""

OURS: Final = frozenset(
    {
        "provider",
        "zone",
        "models",
        "user",
        "metadata",
        "store",
        "safety_identifier",
        "prompt_cache_key",
        "prompt_cache_retention",
    }
)
"""Said to the fabric, or of no weight for the answer."""

_NOTHING_ASKED: Final[Mapping[str, tuple[bytes, ...]]] = MappingProxyType(
    {
        "n": (b"1",),
        "logprobs": (b"false",),
        "top_logprobs": (b"0",),
        "presence_penalty": (b"0", b"0.0"),
        "frequency_penalty": (b"0", b"0.0"),
        "logit_bias": (b"{}",),
        "modalities": (b'["text"]',),
        "service_tier": (b'"auto"', b'"default"'),
        "tools": (b"[]",),
        "functions": (b"[]",),
        "parallel_tool_calls": (b"true",),
        "stop": (b"[]",),
        "reasoning_effort": (b'"default"',),
    }
)
_REMEDY: Final = 'leave it out, or have it dropped by "provider": {"require_parameters": false}'


class Carried(Value, frozen=True):
    """What one dialect does with fields.

    ``fields`` it translates itself; ``passed`` are the provider's own, copied as they are; of
    ``values`` the dialect finds out only as it reads, and asks `drop_or_refuse`.
    """

    dialect: str
    fields: frozenset[str]
    passed: frozenset[str] = frozenset()


class Uncarried(Exception):
    """A field, or a value of one, that the provider's form has no place for."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


def drops(chat: Chat) -> bool:
    """Whether the client would rather have fields dropped than be refused."""
    return chat.provider is not None and chat.provider.require_parameters is False


def sort_fields(
    order: Order, carried: Carried, chat: Chat, fields: Mapping[str, msgspec.Raw]
) -> frozenset[str]:
    """The fields that the dialect shall translate. Raises `Uncarried` for the first it cannot.

    An engine's option ``without`` names fields that its model does not take, beside those that the
    dialect cannot say.
    """
    without = frozenset(order.options.get("without", "").split(","))
    found = set()
    for name, raw in fields.items():
        value = bytes(raw).strip()
        if name in EVERYONES or value == b"null" or value in _NOTHING_ASKED.get(name, ()):
            continue
        if name not in without and (name in carried.fields or name in carried.passed):
            found.add(name)
        elif name not in OURS:
            drop_or_refuse(carried.dialect, name, chat)
    return frozenset(found)


def drop_or_refuse(dialect: str, what: str, chat: Chat) -> None:
    """Go on without ``what`` where the client lets us. Raises `Uncarried`."""
    if not drops(chat):
        raise uncarried(dialect, what)


def uncarried(dialect: str, what: str, remedy: str = _REMEDY) -> Uncarried:
    """The refusal of what cannot be said, with what to do."""
    shown = ascii(what)[1:-1][:128]
    words = f"A provider of dialect {dialect!r} cannot be told {shown!r}: {remedy}."
    return Uncarried(Refused("unsupported_field", words, param=shown))


def wrong(field: str, rule: str) -> Uncarried:
    """The refusal of a value that this provider cannot be told; another engine may take it."""
    words = f"Field {field!r} {rule}, for a provider of this model."
    return Uncarried(Refused("unsupported_field", words, param=field))


def told_by(
    order: Order, who: str, tell: Callable[[Order, Chat, dict[str, msgspec.Raw]], bytes]
) -> bytes | Refused:
    """A chat in the form of a provider that serves chats alone; ``tell`` may raise `Uncarried`."""
    if order.ask.route is not Route.CHAT:
        words = f"{who} serves /v1/chat/completions alone; choose another model."
        return Refused("unsupported_route", words)
    read = read_chat(order.body)
    if isinstance(read, Refused):
        return read
    try:
        return tell(order, *read)
    except Uncarried as error:
        return error.refused
