"""The key that a client sends, in either of the headers that clients know.

`x-api-key` is Anthropic's and `api-key` is Azure's, and as good as `Authorization`. Two different
keys in one request are no key: whoever put the second there would not know whose quota is used.
"""

from __future__ import annotations

from typing import Final

from selvedge.fabric import Refused
from selvedge.wire import RequestHead

AUTHORIZATION: Final = b"authorization"
API_KEY: Final = b"x-api-key"
AZURE_KEY: Final = b"api-key"
_BEARER: Final = b"Bearer "


def sent_key(head: RequestHead) -> bytes | None:
    """The `Authorization` header, or what it would be for a key in one of the others."""
    authorization = head.headers.raw(AUTHORIZATION)
    if authorization is not None:
        return authorization
    key = head.headers.raw(API_KEY) or head.headers.raw(AZURE_KEY)
    return None if key is None else _BEARER + key


def two_keys(head: RequestHead) -> Refused | None:
    """What is wrong with a request that names two keys, which differ."""
    raw = head.headers.raw
    authorization, key, azure = raw(AUTHORIZATION), raw(API_KEY), raw(AZURE_KEY)
    sent = None if authorization is None else authorization[len(_BEARER) :].strip()
    if len({one for one in (sent, key, azure) if one is not None}) < 2:
        return None
    words = "Headers 'authorization', 'x-api-key' and 'api-key' hold different keys; send one."
    return Refused("invalid_header", words, param="api-key" if key is None else "x-api-key")
