"""What messages are made of besides text: pictures and files, and the arguments of calls."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from selvedge.fabric.value import Value
from selvedge.wire.dialects.carrying import wrong
from selvedge.wire.dialects.chat_form import Call, ChatMessage, ChatPart

_DATA_URL: Final = re.compile(r"data:([A-Za-z0-9.+-]+/[A-Za-z0-9.+-]+)((?:;[^,;]*)*?);base64,")
_objects: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_IN_OBJECT: Final = b"{}"


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


def arguments_of(call: Call, path: str) -> msgspec.Raw:
    """The arguments of a call as the JSON object that they are in a string. Raises `Uncarried`."""
    text = (call.function.arguments if call.function else "").strip()
    if not text:
        return msgspec.Raw(_IN_OBJECT)
    try:
        _objects.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        raise wrong(f"{path}.function.arguments", "must be a JSON object in a string") from None
    return msgspec.Raw(text.encode())
