"""Amazon Bedrock's Converse, outward: one form for all of its models.

The model is in the path, a stream has a path of its own, and requests are signed (SigV4), or carry
a Bedrock API key as a bearer token. The form: the service model `bedrock-runtime` of AWS's SDKs.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

import msgspec

from selvedge.fabric import Ask, Refused
from selvedge.wire.dialects.bedrock_answers import BedrockTranslator
from selvedge.wire.dialects.bedrock_shapes import read_error, refusal_of
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
from selvedge.wire.dialects.parts import (
    arguments_of,
    plain_id,
    read_data_url,
    schema_or,
    text_of,
    texts_of,
    thoughts_of,
)
from selvedge.wire.dialects.rate_limits import waits_only
from selvedge.wire.dialects.sigv4 import Place, read_credentials, sign
from selvedge.wire.http1_head import Headers

NAME: Final = "bedrock"
SYSTEM: Final = frozenset({"system", "developer"})
IMAGES: Final = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}
DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_REGION: Final = re.compile(r"bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9 \-()\[\]]+")

CARRIED: Final = Carried(
    NAME,
    frozenset(
        {
            "tools",
            "tool_choice",
            "response_format",
            "stop",
            "max_tokens",
            "max_completion_tokens",
            "temperature",
            "top_p",
            "reasoning_effort",
        }
    ),
    frozenset(
        {
            "additionalModelRequestFields",
            "additionalModelResponseFieldPaths",
            "guardrailConfig",
            "performanceConfig",
            "promptVariables",
            "requestMetadata",
        }
    ),
)
_encode: Final = msgspec.json.Encoder().encode


class Bedrock:
    """The dialect."""

    def request(self, order: Order) -> Outgoing | Refused:
        """`Converse` or `ConverseStream`, signed."""
        body = told_by(order, "Bedrock's Converse", _body)
        if isinstance(body, Refused):
            return body
        how = "converse-stream" if order.ask.stream else "converse"
        target = f"{order.base}/model/{quote(order.name, safe='')}/{how}"
        proof = _proof(order, target, body)
        return proof if isinstance(proof, Refused) else Outgoing(target, proof, body)

    def translator(self, ask: Ask, now_us: int) -> Translator:
        """Reads an answer, whole or as an event stream."""
        return BedrockTranslator(ask, now_us)

    def refusal(self, status: int, headers: Headers, body: bytes) -> Refused:
        """By the type of the error, which is in a header or in the body."""
        error = read_error(body)
        kind = headers.get("x-amzn-errortype") or error.kind
        return refusal_of(kind, error.words, status)

    def limits(self, headers: Headers, body: bytes, now_us: int) -> Limits | None:
        """Bedrock tells none but when to come again."""
        return waits_only(headers)


def _proof(order: Order, target: str, body: bytes) -> tuple[tuple[str, str], ...] | Refused:
    credentials = read_credentials(order.secret)
    if credentials is None:
        return (("authorization", f"Bearer {order.secret}"),) if order.secret else ()
    found = _REGION.search(order.host)
    region = order.options.get("region") or (found.group(1) if found is not None else "")
    if not region:
        words = "The engine's URL names no AWS region; end it in '?region=' and the region."
        return Refused("engine_failed", words)
    signed = [("host", order.host), ("content-type", "application/json")]
    return sign(("POST", target, body), signed, credentials, Place(region, NAME), order.now_us)


def _body(order: Order, chat: Chat, fields: dict[str, msgspec.Raw]) -> bytes:
    found = sort_fields(order, CARRIED, chat, fields)
    body: Json = {"messages": _messages(chat)}
    system = [text for one in chat.messages if one.role in SYSTEM for text in texts_of(one)]
    if system:
        body["system"] = [{"text": text} for text in system]
    settings: Json = {}
    if chat.output_tokens_max is not None and found & {"max_tokens", "max_completion_tokens"}:
        settings["maxTokens"] = chat.output_tokens_max
    for ours, theirs in (("temperature", "temperature"), ("top_p", "topP")):
        if ours in found:
            settings[theirs] = fields[ours]
    if "stop" in found:
        settings["stopSequences"] = chat.stops
    if settings:
        body["inferenceConfig"] = settings
    if "tools" in found:
        _set_tools(body, chat)
    if "response_format" in found:
        _set_format(body, chat)
    if "reasoning_effort" in found:
        body.setdefault("outputConfig", {})["effort"] = chat.reasoning_effort
    body.update((name, fields[name]) for name in sorted(found & CARRIED.passed))
    return _encode(body)


def _set_tools(body: Json, chat: Chat) -> None:
    choice: Json | None = None
    wanted = chat.tool_choice
    if wanted == "none":
        if not any(one.tool_calls for one in chat.messages):
            return
        drop_or_refuse(NAME, "tool_choice none", chat)
    elif wanted == "required":
        choice = {"any": {}}
    elif wanted is not None and not isinstance(wanted, str) and wanted.function is not None:
        choice = {"tool": {"name": wanted.function.name}}
    elif wanted not in (None, "auto"):
        drop_or_refuse(NAME, "tool_choice", chat)
    tools = []
    for at, one in enumerate(chat.tools or ()):
        if one.type != "function" or one.function is None:
            drop_or_refuse(NAME, f"tools[{at}].type", chat)
            continue
        about = one.function
        spec: Json = {"name": about.name, "inputSchema": {"json": schema_or(about.parameters)}}
        if about.description:
            spec["description"] = about.description
        if about.strict is not None:
            spec["strict"] = about.strict
        tools.append({"toolSpec": spec})
    body["toolConfig"] = {"tools": tools} | ({"toolChoice": choice} if choice else {})


def _set_format(body: Json, chat: Chat) -> None:
    wanted = chat.response_format
    if wanted is None or wanted.type == "text":
        return
    if wanted.type != "json_schema" or wanted.json_schema is None:
        drop_or_refuse(NAME, f"response_format.type {wanted.type}", chat)
        return
    about = wanted.json_schema
    schema: Json = {"schema": bytes(schema_or(about.schema)).decode(), "name": about.name}
    if about.description:
        schema["description"] = about.description
    how = {"type": "json_schema", "structure": {"jsonSchema": schema}}
    body.setdefault("outputConfig", {})["textFormat"] = how


def _messages(chat: Chat) -> list[Json]:
    """The turns, which have to alternate; neighbours of one role are one."""
    turns: list[Json] = []
    for at, one in enumerate(chat.messages):
        if one.role in SYSTEM:
            continue
        path = f"messages[{at}]"
        role = "assistant" if one.role == "assistant" else "user"
        if one.role == "assistant":
            content = _said(chat, one, path)
        elif one.role == "tool":
            use_id = plain_id(one.tool_call_id or "")
            result = {"toolUseId": use_id, "content": _content(chat, one, path)}
            content = [{"toolResult": result}]
        elif one.role == "user":
            content = _content(chat, one, path)
        else:
            raise uncarried(NAME, f"{path}.role {one.role}", "use roles 'tool' and 'assistant'")
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += content
        elif content:
            turns.append({"role": role, "content": content})
    return turns


def _said(chat: Chat, message: ChatMessage, path: str) -> list[Any]:  # Any: blocks of all kinds
    content: list[Any] = []
    for one in thoughts_of(message):
        if one.type == "redacted_thinking":
            content.append({"reasoningContent": {"redactedContent": one.data}})
        else:
            told = {"text": one.thinking, "signature": one.signature}
            content.append({"reasoningContent": {"reasoningText": told}})
    content += _content(chat, message, path)
    if message.refusal:
        content.append({"text": message.refusal})
    for at, call in enumerate(message.tool_calls or ()):
        where = f"{path}.tool_calls[{at}]"
        if call.function is None:
            raise uncarried(NAME, f"{where}.type", "call functions alone")
        used = {"toolUseId": plain_id(call.id), "name": call.function.name}
        content.append({"toolUse": used | {"input": arguments_of(call, where)}})
    return content


def _content(chat: Chat, message: ChatMessage, path: str) -> list[Json]:
    if isinstance(message.content, str):
        return [{"text": message.content}] if message.content else []
    found = []
    for at, part in enumerate(message.content or ()):
        block = _block(part, f"{path}.content[{at}]", chat)
        if block is not None:
            found.append(block)
    return found


def _block(part: ChatPart, path: str, chat: Chat) -> Json | None:
    if part.image_url is not None:
        found = read_data_url(part.image_url.url)
        if found is None or found.media_type not in IMAGES:
            rule = f"must be a data: URL in base64 of {', '.join(IMAGES)}"
            raise wrong(f"{path}.image_url.url", rule)
        kind = IMAGES[found.media_type]
        return {"image": {"format": kind, "source": {"bytes": found.data}}}
    if part.file is not None:
        found = read_data_url(part.file.file_data or "")
        if found is None or found.media_type not in DOCUMENTS:
            rule = f"must be a data: URL in base64 of {', '.join(DOCUMENTS)}"
            raise wrong(f"{path}.file.file_data", rule)
        name = _NOT_IN_NAMES.sub("-", part.file.filename or "document")[:200]
        kind = DOCUMENTS[found.media_type]
        return {"document": {"format": kind, "name": name, "source": {"bytes": found.data}}}
    if part.type in ("text", "refusal"):
        text = text_of(part)
        return {"text": text} if text else None
    drop_or_refuse(NAME, f"{path}.type {part.type}", chat)
    return None
