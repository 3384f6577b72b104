"""What a request asks, as keys: `exact` finds the same question, `bucket` the similar ones.

`exact` is SHA-256 over everything that can change the answer, in one canonical form: the route, the
digest of the model's weights, and the whole body less the fields of `UNHEARD`. The form forgets
only what no engine can tell: the order of keys, white space, escapes (`\\u0041` is `A`), `1` beside
`1.0` in the numbers of `NUMBERS`, and null beside absent in the fields of `NULLABLE`, where OpenAI
documents null as the default and the engines we know have null as theirs. A field that nobody knows
is part of the key as it is written. The scope is not: it is the partition that is searched.

`bucket` is a fingerprint of the same form without the text of the last user message: similar texts
are compared only among requests that are otherwise equal. What is hashed is a JSON list of fixed
length, so that no text can pass for another field, and `exact` is a hash of the bucket's hash and
the content, so that each byte is hashed once.

Tools pass through the parser with their duplicate keys (`wire.strict_json`), and an engine may read
the other one of two: such a body has no key. Nor has one that is larger than `BODY_BYTES_MAX`,
because hashing it would hold the event loop for what hardly ever comes twice.

Refuses to know: scopes, whether a cache is on, what similar means.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import Final

import msgspec

from selvedge.fabric import Ask, Route
from selvedge.fabric.value import Value

BODY_BYTES_MAX: Final = 256 * 2**10
TEXT_CHARS_MAX: Final = 1000
"""Longer texts are matched exactly alone: the bundled embedder reads 256 tokens and no more."""

ASKS_CHARS_MAX: Final = 8000
_HALF: Final = ASKS_CHARS_MAX // 2

UNHEARD: Final = (
    "stream",
    "stream_options",
    "user",
    "metadata",
    "prompt_cache_key",
    "store",
)
"""What changes no answer: how it is delivered, and what is noted about it."""
NUMBERS: Final = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "repetition_penalty",
    "min_p",
)
NULLABLE: Final = (
    *NUMBERS,
    "n",
    "stop",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "verbosity",
    "modalities",
    "prediction",
    "service_tier",
    "suffix",
)

_FORM: Final = 1
"""Raise it whenever the same body would have another key."""
_WHOLE: Final = b"\x00"
_PARTED: Final = b"\x01"
_ROUTES: Final = (Route.CHAT, Route.COMPLETIONS)
_decoder: Final = msgspec.json.Decoder(dict[str, object])
_encoder: Final = msgspec.json.Encoder(order="deterministic")


class Asked(Value, frozen=True):
    """One request as the cache knows it."""

    exact: bytes
    """32 bytes: equal for requests that no engine can tell apart."""
    bucket: bytes
    """16 bytes: of all but ``text``; empty where nothing similar may be looked for."""
    text: str
    """The last user message, in Unicode's NFC; "" where ``bucket`` is empty."""
    model: str
    """As the client named it."""
    asks: str = ""
    """Where ``text`` is empty: what is asked, as far as what may be kept depends on it."""

    def __repr__(self) -> str:
        return f"Asked({self.exact.hex()[:16]})"  # Not the prompt.


def read_asked(ask: Ask, body: bytes, model_digest: str | None) -> Asked | None:
    """The keys of a body that was parsed; None where nothing of it may be kept or found."""
    if ask.route not in _ROUTES or len(body) > BODY_BYTES_MAX:
        return None
    try:
        tree = _decoder.decode(body)
        if _names_twice(body, tree):
            return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    _plain(tree)
    text = None if ask.media or ask.route is not Route.CHAT else _take_text(tree)
    digest = hashlib.sha256
    if text is None:
        whole = _encoder.encode([_FORM, ask.route, model_digest, tree])
        return Asked(digest(_WHOLE + whole).digest(), b"", "", ask.model, _asks(tree))
    content, shape = text
    rest = digest(_encoder.encode([_FORM, ask.route, model_digest, shape, tree])).digest()
    exact = digest(_PARTED + rest + _encoder.encode(content)).digest()
    words = _words(content)
    asks = "" if words else _ends_of(_text_in(content))
    return Asked(exact, rest[:16] if words else b"", words, ask.model, asks)


def _names_twice(body: bytes, tree: dict[str, object]) -> bool:
    """Whether an object names a key twice: the decoder dropped one, and its quotes with it.

    A quote inside a text is written `\\"` before and after, unless somebody wrote it `\\u0022`.
    """
    if b"\\u0022" not in body:
        return body.count(b'"') != _encoder.encode(tree).count(b'"')
    try:
        json.loads(body, object_pairs_hook=_once)
    except ValueError:
        return True
    return False


def _once(pairs: list[tuple[str, object]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key comes twice")


def _plain(tree: dict[str, object]) -> None:
    """Forget, in place, what changes no answer."""
    for name in UNHEARD:
        tree.pop(name, None)
    for name in list(tree):
        value = tree[name]
        if value is None:
            if name in NULLABLE:
                del tree[name]
        elif isinstance(value, float) and name in NUMBERS and value.is_integer():
            tree[name] = int(value)
    if tree.get("n") == 1 and tree["n"] is not True:
        del tree["n"]


def _take_text(tree: dict[str, object]) -> tuple[str | list[object], list[object] | None] | None:
    """The content of the last message, taken out of ``tree``, and its shape without the texts.

    None, and nothing is taken, where it is not a user's or not all text.
    """
    messages = tree.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, dict) or last.get("role") != "user":
        return None
    content = last.get("content")
    shape: list[object] | None = None
    if isinstance(content, list):
        if not all(_is_text(part) for part in content):
            return None
        shape = [{key: part[key] for key in part if key != "text"} for part in content]
    elif not isinstance(content, str):
        return None
    del last["content"]
    return content, shape


def _is_text(part: object) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and type(part.get("text")) is str


def _text_in(content: object) -> str:
    """The texts of a content, of whatever else it may be."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = [one.get("text") if isinstance(one, dict) else one for one in parts]
    return "\n".join(one for one in texts if isinstance(one, str))


def _asks(tree: dict[str, object]) -> str:
    """What a prompt asks, or the last message where it is a user's. What a tool has found is in the
    key: an answer to it is of no other day.
    """
    if "prompt" in tree:
        return _ends_of(_text_in(tree["prompt"]))
    messages = tree.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    if not isinstance(last, dict) or last.get("role") != "user":
        return ""
    return _ends_of(_text_in(last.get("content")))


def _ends_of(text: str) -> str:
    return text if len(text) <= ASKS_CHARS_MAX else text[:_HALF] + "\n" + text[-_HALF:]


def _words(content: str | list[object]) -> str:
    """The text to compare; "" where it is too long, or has no word in it."""
    text = _text_in(content)
    if len(text) > TEXT_CHARS_MAX or not any(map(str.isalnum, text)):
        return ""
    return unicodedata.normalize("NFC", text)
