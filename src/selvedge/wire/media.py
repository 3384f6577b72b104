"""Pictures, sound and files in messages: what an engine would fetch is not for a client to choose.

An engine that is handed `{"image_url": {"url": "http://10.0.0.1/"}}` fetches it, from inside the
operator's network. So only what comes with the request (`data:`) passes, unless the setting
`image_urls` says otherwise; and even then no address in digits, which has no name to be asked for.

Refuses to know: what is in a picture, which engine will see it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final, Literal, cast
from urllib.parse import urlsplit

from selvedge.fabric import Refused, read_address
from selvedge.wire.strict_json import (
    Tree,
    check_keys,
    read_judged,
    read_list,
    read_shallow,
)

BODY_IN_FULL_MAX: Final = 512 * 1024
COMMAS_MAX: Final = 10_000
QUOTES_MAX: Final = 150_000

ImageUrls = Literal["data-only", "https"]

TEXT_PARTS: Final = frozenset({"text", "refusal"})
MESSAGE_KEYS: Final = frozenset({"role", "content", "name", "tool_calls", "tool_call_id"})
PART_KEYS: Final = frozenset(
    {"type", "text", "refusal", "image_url", "input_audio", "audio_url", "video_url", "file", "url"}
)
_SCHEME: Final = re.compile(r"[\s\x00-\x20]*([A-Za-z][A-Za-z0-9+.-]*):")
_DIGITS_HOST: Final = re.compile(
    r"(0[xX][0-9a-fA-F]+|[0-9]+)(\.(0[xX][0-9a-fA-F]+|[0-9]+)){0,3}\.?"
)


def read_body(body: bytes) -> Tree:
    """What is judged of a chat body: in full where it is small, else only the judged objects.

    A tree of Python objects takes up to 25 times the memory of its JSON, and a second for 10 MB.
    Raises `Ambiguous`, `ValueError` or `RecursionError`.
    """
    if len(body) <= BODY_IN_FULL_MAX:
        return cast(Tree, read_judged(body))
    if body.count(b'"') > QUOTES_MAX and body.count(b'"') - body.count(b'\\"') > QUOTES_MAX:
        raise ValueError("too many strings")  # each has an opening quote without a backslash
    top = read_shallow(body)
    found: Tree = dict.fromkeys(top)
    for name in ("stream_options", "messages"):
        value = top.get(name, b"null")
        if value.startswith(b"{"):
            found[name] = dict.fromkeys(read_shallow(value))
        elif value.startswith(b"["):
            found[name] = [_read_message(one) for one in read_list(value)]
    return found


def _read_message(raw: bytes) -> Tree:
    fields = read_shallow(raw)
    found: Tree = dict.fromkeys(fields)
    content = fields.get("content", b"")
    if content.startswith(b"["):
        found["content"] = [_read_part(one) for one in read_list(content)]
    return found


def _read_part(raw: bytes) -> Tree:
    fields = read_shallow(raw)
    found: Tree = dict.fromkeys(fields)
    found["type"] = json.loads(fields["type"])
    if found["type"] in TEXT_PARTS:
        return found
    if raw.count(b",") > COMMAS_MAX:  # data: has one, base64 none: this is a heap of something
        raise ValueError("a part has too many values")
    return cast(Tree, read_judged(raw))


def check_messages(found: Tree, image_urls: ImageUrls) -> Refused | None:
    """Judge every part of every message. Raises `Ambiguous` for keys that differ in case only."""
    messages = found.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        check_keys(message, MESSAGE_KEYS)
        content = message.get("content")
        for at, part in enumerate(content if isinstance(content, list) else ()):
            check_keys(part, PART_KEYS)
            if part.get("type") in TEXT_PARTS:
                continue
            for path, text in _texts(part, f"messages[{index}].content[{at}]"):
                if not _harmless(path, text, image_urls):
                    return _refusal(path, image_urls)
    return None


def _texts(part: Tree, path: str) -> Iterator[tuple[str, str]]:
    """Every string of a part with its place, but those that are words for the model."""
    left: list[tuple[str, object]] = [(path, part)]
    while left:
        where, value = left.pop()
        if isinstance(value, str):
            yield where, value
        elif isinstance(value, dict):
            check_keys(cast(Tree, value), PART_KEYS)
            left += [(f"{where}.{key}", one) for key, one in value.items() if key != "text"]
        elif isinstance(value, list):
            left += [(f"{where}[{at}]", one) for at, one in enumerate(value)]


def _harmless(path: str, text: str, image_urls: ImageUrls) -> bool:
    if text.startswith("data:"):
        return True
    fetched = path.rpartition(".")[2].partition("[")[0].casefold().endswith(("url", "urls"))
    if not fetched and _SCHEME.match(text) is None and not text.lstrip().startswith(("//", "\\\\")):
        return True  # base64, a format's name, an id
    return image_urls == "https" and _names_a_host(text)


def is_harmless_url(url: str, image_urls: ImageUrls) -> bool:
    """Whether an engine may be handed this as the address of a picture."""
    return url.startswith("data:") or (image_urls == "https" and _names_a_host(url))


def _names_a_host(text: str) -> bool:
    """Whether this is an https URL of a host with a name, as every reader would read it."""
    if not text.startswith("https://") or not text.isascii() or re.search(r"[\s\x00-\x20\\]", text):
        return False
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if "@" in parts.netloc or read_address(host) is not None or _DIGITS_HOST.fullmatch(host):
        return False
    return "." in host.rstrip(".") and not host.rstrip(".").endswith(("localhost", ".internal"))


def _refusal(path: str, image_urls: ImageUrls) -> Refused:
    shown = ascii(path)[1:-1][:200]
    allowed = "a data: URL" if image_urls == "data-only" else "a data: or https: URL with a name"
    words = f"Field {shown!r} is not {allowed}; send the content itself (setting 'image_urls')."
    return Refused("invalid_value", words, param=shown)
