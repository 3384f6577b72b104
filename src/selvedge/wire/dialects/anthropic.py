"""Anthropic's Messages API, outward: `POST /v1/messages`.

System prompts stand apart, tools have an `input_schema`, calls and their results are blocks of
messages, and an answer must be told its length. The form: Anthropic's API reference and the types
of its Python package. Its sampling parameters go out as they came: newer models take none, an
engine's option `without` says so.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from selvedge.fabric import Ask, Refused
from selvedge.wire.dialects.anthropic_answers import AnthropicTranslator
from selvedge.wire.dialects.anthropic_shapes import STATUS_OF, read_error
from selvedge.wire.dialects.carrying import (
    Carried,
    drop_or_refuse,
    sort_fields,
    told_by,
    uncarried,
    wrong,
)
from selvedge.wire.dialects.chat_form import Chat, ChatMessage, ChatPart
from selvedge.wire.dialects.chunks import Json
from selvedge.wire.dialects.dialect import Limits, Order, Outgoing, Translator
from selvedge.wire.dialects.faults import by_status
from selvedge.wire.dialects.parts import (
    arguments_of,
    plain_id,
    read_data_url,
    schema_or,
    signed_thoughts,
    text_of,
)
from selvedge.wire.dialects.rate_limits import anthropic_limits
from selvedge.wire.http1_head import Headers

NAME: Final = "anthropic"
VERSION: Final = "2023-06-01"
OUTPUT_TOKENS: Final = 8192
"""How long an answer may be where nobody says: every model of today can."""
IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
EFFORTS: Final = frozenset({"low", "medium", "high", "xhigh", "max"})

CARRIED: Final = Carried(
    NAME,
    frozenset(
        {
            "tools",
            "tool_choice",
            "parallel_tool_calls",
            "response_format",
            "stop",
            "max_tokens",
            "max_completion_tokens",
            "temperature",
            "top_p",
            "reasoning_effort",
            "user",
        }
    ),
    # Not `inference_geo` (where it is processed), `speed` (at another price) nor `container` (what
    # others with the same key left there): no client chooses those of a provider.
    frozenset({"top_k", "thinking", "cache_control"}),
)
_encode: Final = msgspec.json.Encoder().encode


class Anthropic:
    """The dialect."""

    def request(self, order: Order) -> Outgoing | Refused:
        """`POST /v1/messages`, or what it cannot be told."""
        body = told_by(order, "Anthropic", _body)
        if isinstance(body, Refused):
            return body
        headers = [("x-api-key", order.secret)] if order.secret else []
        headers.append(("anthropic-version", order.options.get("version", VERSION)))
        if "beta" in order.options:
            headers.append(("anthropic-beta", order.options["beta"]))
        return Outgoing(f"{order.base}/v1/messages", tuple(headers), body)

    def translator(self, ask: Ask, now_us: int) -> Translator:
        """Reads a message, whole or as events."""
        return AnthropicTranslator(ask, now_us)

    def refusal(self, status: int, headers: Headers, body: bytes) -> Refused:
        """By the type of the error, else by the status."""
        error = read_error(body)
        told = anthropic_limits(headers)
        wait_ms = told.retry_after_ms if told is not None else None
        if error is None:
            return by_status(status, None, retry_after_ms=wait_ms)
        return by_status(STATUS_OF.get(error.type or "", status), error.message, None, wait_ms)

    def limits(self, headers: Headers, body: bytes, now_us: int) -> Limits | None:
        """The headers tell them with every answer."""
        return anthropic_limits(headers)


def _body(order: Order, chat: Chat, fields: dict[str, msgspec.Raw]) -> bytes:
    found = sort_fields(order, CARRIED, chat, fields)
    body: Json = {
        "model": order.name,
        "max_tokens": _output_tokens_max(order, chat),
        "messages": messages_of(chat),
    }
    system = [block for one in chat.messages if one.role in SYSTEM for block in _blocks(chat, one)]
    if system:
        body["system"] = system
    if order.ask.stream:
        body["stream"] = True
    if "tools" in found:
        body |= _tools(chat, found)
    if "response_format" in found:
        _set_format(body, chat)
    if "stop" in found:
        body["stop_sequences"] = chat.stops
    if "temperature" in found:
        if chat.temperature is not None and chat.temperature > 1:
            raise wrong("temperature", "must be from 0 to 1")
        body["temperature"] = fields["temperature"]
    if "top_p" in found:
        body["top_p"] = fields["top_p"]
    if "reasoning_effort" in found:
        _set_effort(body, chat)
    if chat.user:
        body["metadata"] = {"user_id": chat.user}
    body.update((name, fields[name]) for name in sorted(found & CARRIED.passed))
    return _encode(body)


SYSTEM: Final = frozenset({"system", "developer"})


def _output_tokens_max(order: Order, chat: Chat) -> int:
    if chat.output_tokens_max:
        return chat.output_tokens_max
    told = order.options.get("output_tokens", "")
    most = int(told) if told.isascii() and told.isdigit() and 0 < len(told) < 10 else OUTPUT_TOKENS
    return min(most, order.context_tokens_max or most)


def _tools(chat: Chat, found: frozenset[str]) -> Json:
    tools = []
    for at, one in enumerate(chat.tools or ()):
        if one.type != "function" or one.function is None:
            drop_or_refuse(NAME, f"tools[{at}].type", chat)
            continue
        about = one.function
        tool: Json = {"name": about.name, "input_schema": schema_or(about.parameters)}
        if about.description:
            tool["description"] = about.description
        if about.strict is not None:
            tool["strict"] = about.strict
        if bytes(one.cache_control):
            tool["cache_control"] = one.cache_control
        tools.append(tool)
    choice = _choice(chat) if "tool_choice" in found else None
    if chat.parallel_tool_calls is False and choice != {"type": "none"}:
        choice = (choice or {"type": "auto"}) | {"disable_parallel_tool_use": True}
    return {"tools": tools} | ({"tool_choice": choice} if choice else {})


def _choice(chat: Chat) -> Json | None:
    wanted = chat.tool_choice
    if isinstance(wanted, str):
        kind = {"auto": "auto", "none": "none", "required": "any"}.get(wanted)
        if kind is None:
            raise wrong("tool_choice", "must be 'auto', 'none', 'required' or name a function")
        return {"type": kind}
    if wanted is not None and wanted.function is not None:
        return {"type": "tool", "name": wanted.function.name}
    drop_or_refuse(NAME, "tool_choice", chat)
    return None


def _set_format(body: Json, chat: Chat) -> None:
    wanted = chat.response_format
    if wanted is None or wanted.type == "text":
        return
    if wanted.type == "json_schema" and wanted.json_schema is not None:
        schema = {"type": "json_schema", "schema": schema_or(wanted.json_schema.schema)}
        body.setdefault("output_config", {})["format"] = schema
        return
    drop_or_refuse(NAME, f"response_format.type {wanted.type}", chat)


def _set_effort(body: Json, chat: Chat) -> None:
    wanted = chat.reasoning_effort or ""
    if wanted == "none":
        body["thinking"] = {"type": "disabled"}
    elif wanted in EFFORTS:
        body.setdefault("output_config", {})["effort"] = wanted
    else:
        drop_or_refuse(NAME, f"reasoning_effort {wanted}", chat)


def messages_of(chat: Chat) -> list[Json]:
    """The turns of user and assistant; neighbours of one role are one turn."""
    turns: list[Json] = []
    for at, one in enumerate(chat.messages):
        if one.role in SYSTEM:
            continue
        role, blocks = _turn(chat, one, f"messages[{at}]")
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    return turns


def _turn(chat: Chat, message: ChatMessage, path: str) -> tuple[str, list[Json]]:
    if message.role == "tool":
        result: Json = {"type": "tool_result", "tool_use_id": plain_id(message.tool_call_id or "")}
        content = _blocks(chat, message, path)
        if content:
            result["content"] = content
        return "user", [result]
    if message.role == "assistant":
        return "assistant", _said(chat, message, path)
    if message.role == "user":
        return "user", _blocks(chat, message, path)
    raise uncarried(NAME, f"{path}.role {message.role}", "use roles 'tool' and 'assistant'")


def _said(chat: Chat, message: ChatMessage, path: str) -> list[Any]:  # Any: blocks, raw or not
    """What an assistant said, thought and called. Its thinking comes first."""
    blocks: list[Any] = [*signed_thoughts(message), *_blocks(chat, message, path)]
    if message.refusal:
        blocks.append({"type": "text", "text": message.refusal})
    for at, call in enumerate(message.tool_calls or ()):
        where = f"{path}.tool_calls[{at}]"
        if call.function is None:
            raise uncarried(NAME, f"{where}.type", "call functions alone")
        blocks.append(
            {
                "type": "tool_use",
                "id": plain_id(call.id),
                "name": call.function.name,
                "input": arguments_of(call, where),
            }
        )
    return blocks


def _blocks(chat: Chat, message: ChatMessage, path: str = "messages") -> list[Json]:
    """The content of a message as blocks; an empty text is none, for it would be refused."""
    content = message.content
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    blocks = []
    for at, part in enumerate(content or ()):
        block = _block(part, f"{path}.content[{at}]", chat)
        if block is not None:
            if bytes(part.cache_control) not in (b"", b"null"):
                block["cache_control"] = part.cache_control
            blocks.append(block)
    return blocks


def _block(part: ChatPart, path: str, chat: Chat) -> Json | None:
    if part.image_url is not None:
        return _image(part.image_url.url, path)
    if part.file is not None:
        return _document(part, path)
    if part.type in ("text", "refusal"):
        text = text_of(part)
        return {"type": "text", "text": text} if text else None
    drop_or_refuse(NAME, f"{path}.type {part.type}", chat)
    return None


def _image(url: str, path: str) -> Json:
    found = read_data_url(url)
    if found is None:
        if not url.startswith("https://"):
            raise wrong(f"{path}.image_url.url", "must be a data: URL in base64, or https:")
        return {"type": "image", "source": {"type": "url", "url": url}}
    if found.media_type not in IMAGES:
        raise wrong(f"{path}.image_url.url", f"must be one of {', '.join(sorted(IMAGES))}")
    return {"type": "image", "source": _base64(found.media_type, found.data)}


def _document(part: ChatPart, path: str) -> Json:
    file = part.file
    found = read_data_url(file.file_data or "") if file is not None else None
    if file is None or found is None or found.media_type != "application/pdf":
        raise wrong(f"{path}.file.file_data", "must be a data: URL of application/pdf in base64")
    block: Json = {"type": "document", "source": _base64(found.media_type, found.data)}
    if file.filename:
        block["title"] = file.filename
    return block


def _base64(media_type: str, data: str) -> Json:
    return {"type": "base64", "media_type": media_type, "data": data}
