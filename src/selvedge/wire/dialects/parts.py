"""What messages are made of besides text: pictures and files, and the arguments of calls."""

from __future__ import annotations

import hashlib
import re
from typing import Final

import msgspec

from selvedge.fabric.value import Value
from selvedge.wire.dialects.carrying import wrong
from selvedge.wire.dialects.chat_form import Call, ChatMessage, ChatPart

_DATA_URL: Final = re.compile(r"data:([A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+)((?:;[^,;]*)*?);base64,")
_PLAIN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_objects: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_IN_OBJECT: Final = b"{}"
_OBJECT_SCHEMA: Final = msgspec.Raw(b'{"type":"object","properties":{}}')


class Inline(Value, frozen=True):
    """Bytes that came with the request, still in base64."""

    media_type: str
    data: str


def read_data_url(url: str) -> Inline | None:
    """What a `data:` URL holds in base64; None where it is no such URL."""
    found = _DATA_URL.match(url)
    if found is None:
        return None
    return Inline(found.group(1).lower(), url[found.end() :])


def texts_of(message: ChatMessage) -> list[str]:
    """The texts of a message, in order, the empty ones left out."""
    if isinstance(message.content, str):
        return [message.content] if message.content else []
    return [one for one in map(text_of, message.content or ()) if one]


def text_of(part: ChatPart) -> str:
    """The words of a part that holds words."""
    return part.text or part.refusal or ""


class Thought(msgspec.Struct, frozen=True):
    """Thinking that an answer of ours gave, to be given back."""

    type: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""


_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking"})
_thoughts: Final = msgspec.json.Decoder(Thought)


def thoughts_of(message: ChatMessage) -> list[Thought]:
    """What an assistant thought; what cannot be read, or is something else, is left out: a picture
    or a file would go out unjudged.
    """
    found = []
    for raw in message.thinking_blocks or ():
        try:
            one = _thoughts.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        if one.type in _THOUGHTS:
            found.append(one)
    return found


def signed_thoughts(message: ChatMessage) -> list[dict[str, str]]:
    """The same as Anthropic has them."""
    return [
        {"type": one.type, "data": one.data}
        if one.type == "redacted_thinking"
        else {"type": one.type, "thinking": one.thinking, "signature": one.signature}
        for one in thoughts_of(message)
    ]


def plain_id(call_id: str) -> str:
    """The id of a call as every provider takes it; another provider's may be of other signs."""
    if _PLAIN_ID.fullmatch(call_id):
        return call_id
    return "call_" + hashlib.sha256(call_id.encode()).hexdigest()[:32]


def schema_or(schema: msgspec.Raw) -> msgspec.Raw:
    """The schema of a function's arguments; that of none where it has none."""
    return _OBJECT_SCHEMA if bytes(schema) in (b"", b"null") else schema


def is_object(text: str) -> bool:
    """Whether a text is a JSON object."""
    try:
        _objects.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return False
    return True


def arguments_of(call: Call, path: str) -> msgspec.Raw:
    """The arguments of a call as the JSON object that they are in a string. Raises `Uncarried`."""
    text = (call.function.arguments if call.function else "").strip()
    if not text:
        return msgspec.Raw(_IN_OBJECT)
    if not is_object(text):
        raise wrong(f"{path}.function.arguments", "must be a JSON object in a string")
    return msgspec.Raw(text.encode())
