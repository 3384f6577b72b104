"""The `Idempotency-Key` header: a client's own word for one request.

The IETF's draft has a quoted string (RFC 8941), Stripe and most clients send the bare word: both
are read, and mean the same.
"""

from __future__ import annotations

import re
from typing import Final

from selvedge.fabric import Refused

KEY_CHARS_MAX: Final = 255
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_QUOTED: Final = re.compile(r'"([^"\\]*)"')


def read_idempotency_key(written: str) -> str | Refused:
    """The key, without quotes; a refusal where it is none."""
    quoted = _QUOTED.fullmatch(written.strip())
    key = quoted.group(1) if quoted else written.strip()
    if _KEY.fullmatch(key):
        return key
    words = f"Header Idempotency-Key is 1 to {KEY_CHARS_MAX} visible ASCII characters, no spaces."
    return Refused("invalid_header", words, param="idempotency-key")
