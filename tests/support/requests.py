"""How many bytes a request has, as they come in. Pure."""

from __future__ import annotations


def head_size(buffer: bytearray) -> int | None:
    at = buffer.find(b"\r\n\r\n")
    return None if at < 0 else at + 4


def chunked_size(buffer: bytearray) -> int | None:
    """How long a chunked body is, when all of it is there."""
    at = 0
    while (line := buffer.find(b"\r\n", at)) >= 0:
        size = int(buffer[at:line].split(b";")[0], 16)
        at = line + 2 + size + 2
        if size == 0:
            return at if len(buffer) >= at else None
    return None


def unchunk(data: bytes) -> bytes:
    body, at = b"", 0
    while True:
        line = data.index(b"\r\n", at)
        size = int(data[at:line].split(b";")[0], 16)
        if size == 0:
            return body
        body += data[line + 2 : line + 2 + size]
        at = line + 2 + size + 2
