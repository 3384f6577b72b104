"""Google's `generateContent`, outward: the Gemini API with its key, Vertex with a bearer token.

Turns are `contents` of `parts`, settings stand under `generationConfig`, a tool's result names the
function rather than the call. Schemas go as JSON Schema (`parametersJsonSchema`). The form: the
REST reference of v1beta and of Vertex. A call's `thoughtSignature` travels as Google's own OpenAI
API has it, in ``tool_calls[].extra_content.google``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from selvedge.fabric import Ask, Refused
from selvedge.wire.dialects.carrying import (
    Carried,
    drop_or_refuse,
    sort_fields,
    told_by,
    uncarried,
    wrong,
)
from selvedge.wire.dialects.chat_form import Call, Chat, ChatMessage, ChatPart
from selvedge.wire.dialects.chunks import Json
from selvedge.wire.dialects.dialect import Limits, Order, Outgoing, Translator
from selvedge.wire.dialects.gemini_answers import GeminiTranslator
from selvedge.wire.dialects.gemini_shapes import read_error, refusal_of, retry_ms_of
from selvedge.wire.dialects.google_token import bearer_of
from selvedge.wire.dialects.parts import arguments_of, is_object, read_data_url, text_of, texts_of
from selvedge.wire.dialects.rate_limits import waits_only
from selvedge.wire.http1_head import Headers

NAME: Final = "gemini"
SYSTEM: Final = frozenset({"system", "developer"})
UNSIGNED: Final = "skip_thought_signature_validator"
"""What Google's guide puts where a call was not made by its model and has no signature."""
_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "temperature": "temperature",
        "top_p": "topP",
        "top_k": "topK",
        "n": "candidateCount",
        "presence_penalty": "presencePenalty",
        "frequency_penalty": "frequencyPenalty",
        "seed": "seed",
    }
)
_BUDGETS: Final[Mapping[str, int]] = MappingProxyType(
    {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576}
)
_LEVELS: Final = frozenset({"minimal", "low", "medium", "high"})
_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "png": "image/png",
        "jpg": "image/jpeg",
        "jpeg": "image/jpeg",
        "webp": "image/webp",
        "gif": "image/gif",
        "heic": "image/heic",
        "pdf": "application/pdf",
    }
)
_FOREIGN_IDS: Final = ("call_", "toolu_", "chatcmpl-", "tooluse_")

CARRIED: Final = Carried(
    NAME,
    frozenset(_SETTINGS)
    | {
        "tools",
        "tool_choice",
        "response_format",
        "stop",
        "max_tokens",
        "max_completion_tokens",
        "reasoning_effort",
    },
    # Not `cachedContent`: what lies there was put there by others with the same key.
    frozenset({"safetySettings", "labels"}),
)
_encode: Final = msgspec.json.Encoder().encode


class Gemini:
    """The dialect, as the Gemini API has it."""

    def request(self, order: Order) -> Outgoing | Refused:
        """`generateContent`, or `streamGenerateContent` as server-sent events."""
        body = told_by(order, "Gemini's own API", _body)
        if isinstance(body, Refused):
            return body
        how = ":streamGenerateContent?alt=sse" if order.ask.stream else ":generateContent"
        return Outgoing(self._place(order) + how, self._proof(order), body)

    def translator(self, ask: Ask, now_us: int) -> Translator:
        """Reads an answer, whole or in pieces that look like whole ones."""
        return GeminiTranslator(ask, now_us)

    def refusal(self, status: int, headers: Headers, body: bytes) -> Refused:
        """By Google's status, which is finer than HTTP's."""
        return refusal_of(read_error(body), status)

    def limits(self, headers: Headers, body: bytes, now_us: int) -> Limits | None:
        """Only when to come again, in the error's details."""
        return waits_only(headers, retry_ms_of(read_error(body)))

    def _place(self, order: Order) -> str:
        return f"{order.base or '/v1beta'}/{_model(order.name, 'models/')}"

    def _proof(self, order: Order) -> tuple[tuple[str, str], ...]:
        return (("x-goog-api-key", order.secret),) if order.secret else ()


class Vertex(Gemini):
    """The same at Vertex: the URL names project and location, an access token proves who asks."""

    def _place(self, order: Order) -> str:
        return f"{order.base}/{_model(order.name, 'publishers/google/models/')}"

    def _proof(self, order: Order) -> tuple[tuple[str, str], ...]:
        token = bearer_of(order.secret, order.now_us)
        return (("authorization", f"Bearer {token}"),) if token else ()


def _model(name: str, under: str) -> str:
    """A model's path; a name with a path of its own (a tuned model, an endpoint) keeps it."""
    return quote(name if "/" in name else under + name, safe="/")


def _body(order: Order, chat: Chat, fields: dict[str, msgspec.Raw]) -> bytes:
    found = sort_fields(order, CARRIED, chat, fields)
    body: Json = {"contents": _contents(chat, order.name)}
    system = [text for one in chat.messages if one.role in SYSTEM for text in texts_of(one)]
    if system:
        body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    if "tools" in found:
        body["tools"] = _tools(chat)
        if "tool_choice" in found:
            body["toolConfig"] = {"functionCallingConfig": _choice(chat)}
    settings: Json = {theirs: fields[ours] for ours, theirs in _SETTINGS.items() if ours in found}
    if chat.output_tokens_max is not None and found & {"max_tokens", "max_completion_tokens"}:
        settings["maxOutputTokens"] = chat.output_tokens_max
    if "stop" in found:
        settings["stopSequences"] = chat.stops
    if "response_format" in found:
        _set_format(settings, chat)
    if "reasoning_effort" in found:
        _set_thinking(settings, chat, order.name)
    if settings:
        body["generationConfig"] = settings
    body.update((name, fields[name]) for name in sorted(found & CARRIED.passed))
    return _encode(body)


def _tools(chat: Chat) -> list[Json]:
    declared = []
    for at, one in enumerate(chat.tools or ()):
        if one.type != "function" or one.function is None:
            drop_or_refuse(NAME, f"tools[{at}].type", chat)
            continue
        about: Json = {"name": one.function.name}
        if one.function.description:
            about["description"] = one.function.description
        if bytes(one.function.parameters) not in (b"", b"null"):
            about["parametersJsonSchema"] = one.function.parameters
        declared.append(about)
    return [{"functionDeclarations": declared}]


def _choice(chat: Chat) -> Json:
    wanted = chat.tool_choice
    if isinstance(wanted, str):
        mode = {"auto": "AUTO", "none": "NONE", "required": "ANY"}.get(wanted)
        if mode is None:
            raise wrong("tool_choice", "must be 'auto', 'none', 'required' or name a function")
        return {"mode": mode}
    if wanted is not None and wanted.function is not None:
        return {"mode": "ANY", "allowedFunctionNames": [wanted.function.name]}
    drop_or_refuse(NAME, "tool_choice", chat)
    return {"mode": "AUTO"}


def _set_format(settings: Json, chat: Chat) -> None:
    wanted = chat.response_format
    if wanted is None or wanted.type == "text":
        return
    if wanted.type == "json_object":
        settings["responseMimeType"] = "application/json"
    elif wanted.type == "json_schema" and wanted.json_schema is not None:
        settings["responseMimeType"] = "application/json"
        if bytes(wanted.json_schema.schema) not in (b"", b"null"):
            settings["responseJsonSchema"] = wanted.json_schema.schema
    else:
        drop_or_refuse(NAME, f"response_format.type {wanted.type}", chat)


def _set_thinking(settings: Json, chat: Chat, name: str) -> None:
    """By budget where the model is of the second generation, else by level."""
    wanted = chat.reasoning_effort or ""
    if wanted == "none" or (_is_older(name) and wanted in _BUDGETS):
        settings["thinkingConfig"] = {"thinkingBudget": _BUDGETS[wanted]}
    elif wanted in _LEVELS:
        settings["thinkingConfig"] = {"thinkingLevel": wanted}
    else:
        drop_or_refuse(NAME, f"reasoning_effort {wanted}", chat)


def _is_older(name: str) -> bool:
    return name.rpartition("/")[2].startswith(("gemini-1", "gemini-2"))


def _contents(chat: Chat, name: str) -> list[Json]:
    """The turns; neighbours of one role are one turn."""
    names: dict[str, str] = {}
    turns: list[Json] = []
    for at, one in enumerate(chat.messages):
        if one.role in SYSTEM:
            continue
        path = f"messages[{at}]"
        role = "model" if one.role == "assistant" else "user"
        if one.role == "assistant":
            parts = _said(chat, one, path, name)
            names |= {call.id: call.function.name for call in one.tool_calls or () if call.function}
        elif one.role == "tool":
            parts = _result(chat, one, path, names)
        elif one.role == "user":
            parts = _parts(chat, one, path)
        else:
            raise uncarried(NAME, f"{path}.role {one.role}", "use roles 'tool' and 'assistant'")
        if turns and turns[-1]["role"] == role:
            turns[-1]["parts"] += parts
        elif parts:
            turns.append({"role": role, "parts": parts})
    return turns


def _said(chat: Chat, message: ChatMessage, path: str, name: str) -> list[Json]:
    parts = _parts(chat, message, path)
    if message.refusal:
        parts.append({"text": message.refusal})
    for at, call in enumerate(message.tool_calls or ()):
        where = f"{path}.tool_calls[{at}]"
        if call.function is None:
            raise uncarried(NAME, f"{where}.type", "call functions alone")
        said: Json = {"name": call.function.name, "args": arguments_of(call, where)}
        part: Json = {"functionCall": _with_id(said, call.id)}
        signature = _signature(call)
        if signature is not None:
            part["thoughtSignature"] = signature
        elif at == 0 and not _is_older(name):
            part["thoughtSignature"] = UNSIGNED
        parts.append(part)
    return parts


def _signature(call: Call) -> str | None:
    google = call.extra_content.google if call.extra_content is not None else None
    return google.thought_signature if google is not None else None


def _with_id(fields: Json, call_id: str) -> Json:
    """Google's own ids go back; it never gave those of others, nor ours."""
    if call_id and not call_id.startswith(_FOREIGN_IDS):
        fields["id"] = call_id
    return fields


def _result(chat: Chat, message: ChatMessage, path: str, names: dict[str, str]) -> list[Json]:
    call_id = message.tool_call_id or ""
    if call_id not in names:
        raise wrong(f"{path}.tool_call_id", "must be the id of a call in an earlier message")
    text = "".join(texts_of(message))
    raw: Any = msgspec.Raw(text.encode()) if is_object(text) else {"result": text}
    result = _with_id({"name": names[call_id], "response": raw}, call_id)
    shown = [part for part in _parts(chat, message, path) if "text" not in part]
    return [{"functionResponse": result}, *shown]


def _parts(chat: Chat, message: ChatMessage, path: str) -> list[Json]:
    content = message.content
    if isinstance(content, str):
        return [{"text": content}] if content else []
    found = []
    for at, part in enumerate(content or ()):
        made = _part(part, f"{path}.content[{at}]", chat)
        if made is not None:
            found.append(made)
    return found


def _part(part: ChatPart, path: str, chat: Chat) -> Json | None:
    if part.image_url is not None:
        return _media(part.image_url.url, f"{path}.image_url.url")
    if part.input_audio is not None:
        kind = f"audio/{part.input_audio.format}"
        return {"inlineData": {"mimeType": kind, "data": part.input_audio.data}}
    if part.file is not None and part.file.file_data:
        return _media(part.file.file_data, f"{path}.file.file_data")
    if part.type in ("text", "refusal"):
        text = text_of(part)
        return {"text": text} if text else None
    drop_or_refuse(NAME, f"{path}.type {part.type}", chat)
    return None


def _media(url: str, path: str) -> Json:
    found = read_data_url(url)
    if found is not None:
        return {"inlineData": {"mimeType": found.media_type, "data": found.data}}
    kind = _KINDS.get(urlsplit(url).path.rpartition(".")[2].lower())
    if not url.startswith("https://") or kind is None:
        raise wrong(path, "must be a data: URL in base64, or https: with the ending of an image")
    return {"fileData": {"mimeType": kind, "fileUri": url}}
