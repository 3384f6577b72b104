"""Answers of a connection that no request was made of: whole, in OpenAI's shape, and the last."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence

from selvedge.wire import HeaderPair, render_response_head


def error_body(code: str, message: str, kind: str = "invalid_request_error") -> bytes:
    """An error in OpenAI's shape."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    return json.dumps({"error": error}).encode()


def refusal(status: int, code: str, words: str, extra: Sequence[HeaderPair] = ()) -> bytes:
    """Head and body of a refusal that closes its connection, with an id to ask about."""
    body = error_body(code, words)
    request_id = f"req_{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"
    headers = [("content-type", "application/json"), ("x-request-id", request_id), *extra]
    framing = [b"connection: close", b"content-length: %d" % len(body)]
    return render_response_head(status, headers, framing) + body
