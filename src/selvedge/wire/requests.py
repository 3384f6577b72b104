"""Request bodies: bytes in, the fields that decide out; and the bytes an engine is to be sent.

The body is decoded once, typed, and its bytes are kept: what decides nothing passes through
untouched. Every complaint names the field, the limit and the remedy, and never quotes a prompt.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from selvedge.fabric import Ask, Refused, Route
from selvedge.wire.body_shapes import (
    Body,
    ChatBody,
    CompletionBody,
    EmbeddingBody,
    Message,
    RerankBody,
)
from selvedge.wire.media import TEXT_PARTS, ImageUrls, check_messages, read_body
from selvedge.wire.preferences import read_preferences
from selvedge.wire.profiles import Profile
from selvedge.wire.strict_json import Ambiguous, check_keys

CHOICES_MAX: Final = 16
PROMPTS_MAX: Final = 16
DOCUMENTS_MAX: Final = 2048
MESSAGES_MAX: Final = 10_000
MODEL_NAME_MAX: Final = 128
END_USER_MAX: Final = 512
SESSION_MAX: Final = 512


_DECODERS: Final[Mapping[Route, msgspec.json.Decoder[Body]]] = {
    Route.CHAT: msgspec.json.Decoder(ChatBody),
    Route.COMPLETIONS: msgspec.json.Decoder(CompletionBody),
    Route.EMBEDDINGS: msgspec.json.Decoder(EmbeddingBody),
    Route.RERANK: msgspec.json.Decoder(RerankBody),
    Route.COUNT: msgspec.json.Decoder(ChatBody),
}
_STREAMED: Final = (Route.CHAT, Route.COMPLETIONS)
_NAMES: Final = {
    route: frozenset(one.encode_name for one in msgspec.structs.fields(decoder.type))
    for route, decoder in _DECODERS.items()
}
_OPTION_NAMES: Final = frozenset({"include_usage"})
_fields_decoder: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encoder: Final = msgspec.json.Encoder()

_RANGES: Final[tuple[tuple[str, int, int], ...]] = (
    ("n", 1, CHOICES_MAX),
    ("max_tokens", 0, 2**31 - 1),
    ("max_completion_tokens", 0, 2**31 - 1),
    ("temperature", 0, 2),
    ("top_p", 0, 1),
    ("presence_penalty", -2, 2),
    ("frequency_penalty", -2, 2),
    ("top_logprobs", 0, 20),
    ("seed", -(2**63), 2**63 - 1),
)
_ranged: Final = operator.attrgetter(*(name for name, _, _ in _RANGES))
_NONE_RANGED: Final = (None,) * len(_RANGES)
_ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")
_ENCODINGS: Final = ("float", "base64")
_FIELD_PATH: Final = re.compile(r" - at `\$\.?([^`]*)`")
_UNKNOWN: Final = re.compile(r"unknown field `([^`]*)`")
_MISSING: Final = re.compile(r"missing required field `([^`]*)`")


def parse(route: Route, body: bytes, image_urls: ImageUrls = "data-only") -> Ask | Refused:
    """The facts of a body, or the refusal that says what is wrong with it."""
    try:
        if not body.isascii():
            body.decode()
        fields = _DECODERS[route].decode(body)
    except UnicodeDecodeError as error:
        return Refused(
            "invalid_json", f"The body is not UTF-8 at byte {error.start}; encode it so."
        )
    except msgspec.ValidationError as error:
        return _wrong_shape(str(error))
    except msgspec.DecodeError as error:
        return Refused("invalid_json", f"The body is not valid JSON: {error}.")
    except RecursionError:
        return Refused("invalid_json", "The body is nested too deeply; flatten it.")
    wrong = _check(fields) or _look_again(route, body, image_urls)
    if wrong is not None:
        return wrong
    ask = _ask(route, fields, len(body))
    if fields.provider is None and fields.zone is None:
        return ask
    prefers = read_preferences(fields.provider, fields.zone)
    if isinstance(prefers, Refused):
        return prefers
    return msgspec.structs.replace(ask, prefers=prefers)


def _look_again(route: Route, body: bytes, image_urls: ImageUrls) -> Refused | None:
    """Refuse what an engine could read differently, or would fetch for a stranger."""
    try:
        found = read_body(body)
        check_keys(found, _NAMES[route])
        options = found.get("stream_options")
        if isinstance(options, dict):
            check_keys(options, _OPTION_NAMES)
        return check_messages(found, image_urls)
    except Ambiguous as error:
        key = f"Key {error.key!r}" if error.key else "A key"
        words = f"{key} {error.words}; name each field once, in lower case."
        return Refused("duplicate_key", words, param=error.key or None)
    except (ValueError, RecursionError):
        return Refused(
            "invalid_json",
            "The body is not JSON that every parser reads alike, or is a heap of small values.",
        )


def _wrong_shape(words: str) -> Refused:
    at = _FIELD_PATH.search(words)
    path = at.group(1) if at else None
    what = _FIELD_PATH.sub("", words)
    missing = _MISSING.search(words)
    if missing:
        field = f"{path}.{missing.group(1)}" if path else missing.group(1)
        return Refused("missing_field", f"Field {field!r} is required.", param=field)
    unknown = _UNKNOWN.search(words)
    if unknown:
        field = f"{path}.{unknown.group(1)}" if path else unknown.group(1)
        words = f"Field {field!r} is not understood here; leave it out (see docs/providers.md)."
        return Refused("invalid_value", words, param=field)
    named = f"Field {path!r}" if path else "The body"
    return Refused("invalid_type", f"{named} is of the wrong type: {what}.", param=path)


def _check(fields: Body) -> Refused | None:
    if not fields.model or len(fields.model) > MODEL_NAME_MAX:
        return _out_of_range("model", f"must have 1 to {MODEL_NAME_MAX} characters")
    if fields.user is not None and len(fields.user) > END_USER_MAX:
        return _out_of_range("user", f"must have at most {END_USER_MAX} characters")
    if isinstance(fields, RerankBody):
        return _check_rerank(fields)
    if isinstance(fields, EmbeddingBody):
        if fields.input in ("", []):
            return _out_of_range("input", "must be not empty")
        kind = fields.encoding_format
        if kind is not None and kind not in _ENCODINGS:
            return _out_of_range("encoding_format", "must be 'float' or 'base64'")
        if fields.dimensions is not None and fields.dimensions < 1:
            return _out_of_range("dimensions", "must be at least 1")
        return None
    if fields.prompt_cache_key is not None and len(fields.prompt_cache_key) > SESSION_MAX:
        return _out_of_range("prompt_cache_key", f"must have at most {SESSION_MAX} characters")
    wrong = _check_chat(fields) if isinstance(fields, ChatBody) else None
    if wrong is not None:
        return wrong
    if isinstance(fields, CompletionBody) and not 1 <= _prompts(fields.prompt) <= PROMPTS_MAX:
        return _out_of_range("prompt", f"must be a text or a list of 1 to {PROMPTS_MAX}")
    if isinstance(fields.stop, list) and len(fields.stop) > 16:
        return _out_of_range("stop", "must have at most 16 strings")
    values = _ranged(fields)
    if values != _NONE_RANGED:
        for value, (name, low, high) in zip(values, _RANGES, strict=True):
            if value is not None and not low <= value <= high:
                return _out_of_range(name, f"must be from {low} to {high}")
    if fields.stream_options is not None and not fields.stream:
        return _out_of_range("stream_options", "goes only with 'stream': true")
    return None


def _check_rerank(fields: RerankBody) -> Refused | None:
    if not fields.query:
        return _out_of_range("query", "must be not empty")
    if not 1 <= len(fields.documents) <= DOCUMENTS_MAX:
        return _out_of_range("documents", f"must be 1 to {DOCUMENTS_MAX} texts")
    for name in ("top_n", "max_tokens_per_doc"):
        value = getattr(fields, name)
        if value is not None and value < 1:
            return _out_of_range(name, "must be at least 1")
    return None


def _check_messages(messages: list[Message]) -> Refused | None:
    if not messages:
        return _out_of_range("messages", "must have at least one message")
    if len(messages) > MESSAGES_MAX:
        return _out_of_range("messages", f"must have at most {MESSAGES_MAX} messages")
    for index, message in enumerate(messages):
        if message.role not in _ROLES:
            return _out_of_range(f"messages[{index}].role", f"must be one of {', '.join(_ROLES)}")
    return None


def _check_chat(fields: ChatBody) -> Refused | None:
    for index, tool in enumerate(fields.tools or ()):
        if tool.type == "function" and tool.function is None:
            return _out_of_range(f"tools[{index}].function", "is required for type 'function'")
    if 0 in (fields.max_tokens, fields.max_completion_tokens):
        name = "max_tokens" if fields.max_tokens == 0 else "max_completion_tokens"
        return _out_of_range(name, "must be at least 1")
    return _check_messages(fields.messages)


def _out_of_range(field: str, rule: str) -> Refused:
    return Refused("invalid_value", f"Field {field!r} {rule}.", param=field)


def _ask(route: Route, fields: Body, body_bytes: int) -> Ask:
    if isinstance(fields, EmbeddingBody):
        return Ask(
            route,
            fields.model,
            dimensions=fields.dimensions,
            end_user=fields.user,
            prompt_bytes=body_bytes,
        )
    if isinstance(fields, RerankBody):
        return Ask(route, fields.model, end_user=fields.user, prompt_bytes=body_bytes)
    options = fields.stream_options
    prompts = _prompts(fields.prompt) if isinstance(fields, CompletionBody) else 1
    return Ask(
        route,
        fields.model,
        stream=bool(fields.stream) and route is not Route.COUNT,
        include_usage=bool(options and options.include_usage),
        choices=(fields.n or 1) * prompts,
        media=isinstance(fields, ChatBody) and _has_media(fields.messages),
        output_tokens_max=fields.max_completion_tokens or fields.max_tokens,
        end_user=fields.user,
        prompt_bytes=body_bytes,
        session=fields.prompt_cache_key,
    )


def _prompts(prompt: str | list[str | int | list[int]]) -> int:
    """How many prompts: each is answered by `n` choices. A list of numbers is one, as tokens."""
    return 1 if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)) else len(prompt)


def _has_media(messages: list[Message]) -> bool:
    return any(
        part.type not in TEXT_PARTS
        for message in messages
        if isinstance(message.content, list)
        for part in message.content
    )


def engine_streams(ask: Ask, profile: Profile) -> bool:
    """Whether an engine of this profile is asked for a stream for this request."""
    return ask.route in _STREAMED and (ask.stream or profile.always_stream)


def engine_path(route: Route, profile: Profile) -> str | Refused:
    """Where an engine of this profile serves a route, beside its URL."""
    if route is Route.COUNT:
        return profile.count_path
    if route is not Route.RERANK:
        return route.value
    if profile.reranks:
        return profile.reranks
    words = f"An engine of profile {profile.name!r} does not rerank; choose another model."
    return Refused("unsupported_route", words)


def engine_body(ask: Ask, body: bytes, profile: Profile, name: str, *, keeps: bool = True) -> bytes:
    """The body for one engine: the client's bytes, changed only where it must be.

    Usage is always asked of the engine in a stream; the engine's own name replaces the model's.
    Untouched bytes are returned as they are; otherwise the top level alone is rebuilt. No key
    comes twice: such a body was refused when it was parsed. What is said to the fabric alone
    (`provider`, `zone`) goes to no engine. Where the engine may not keep anything
    (not ``keeps``) it is told so, whatever the client says: `store` is OpenAI's own field.
    """
    streams = engine_streams(ask, profile)
    prefers = ask.prefers is not None
    if keeps and not streams and name == ask.model and not profile.strips and not prefers:
        return body
    fields = _fields_decoder.decode(body)
    if prefers:
        fields.pop("provider", None)
        fields.pop("zone", None)
    for key in profile.strips:
        fields.pop(key, None)
    if name != ask.model:
        fields["model"] = msgspec.Raw(_encoder.encode(name))
    if streams:
        fields["stream"] = msgspec.Raw(b"true")
        if profile.usage_in_stream:
            fields["stream_options"] = _with_usage(fields.get("stream_options"), profile)
        for key, value in profile.stream_extras.items():
            fields.setdefault(key, msgspec.Raw(value))
    if not keeps:
        if "store" in fields:
            fields["store"] = msgspec.Raw(b"false")
        for key, value in profile.forgets.items():
            fields[key] = msgspec.Raw(value)
    return _encoder.encode(fields)


def _with_usage(options: msgspec.Raw | None, profile: Profile) -> msgspec.Raw:
    known = _fields_decoder.decode(options) if options and bytes(options) != b"null" else {}
    known["include_usage"] = msgspec.Raw(b"true")
    for key, value in profile.usage_options.items():
        known[key] = msgspec.Raw(value)
    return msgspec.Raw(_encoder.encode(known))
