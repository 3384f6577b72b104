"""One entry of the corpus, and the pieces that entries are made of."""

from __future__ import annotations

from dataclasses import dataclass

FOLLOW = b"GET /after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
INNER = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Attack:
    """`name` is unique, `kind` its class, `ref` where the trick is described or forbidden."""

    name: str
    kind: str
    raw: bytes
    ref: str


def post(headers: bytes, body: bytes, follow: bytes = FOLLOW) -> bytes:
    """A POST whose framing is in `headers` (whole lines), its body, and what follows."""
    return b"POST /a HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n" + body + follow


def chunked(body: bytes, follow: bytes = FOLLOW) -> bytes:
    """A chunked POST; `body` is what stands behind the head."""
    return post(b"Transfer-Encoding: chunked\r\n", body, follow)


def get(headers: bytes, follow: bytes = FOLLOW) -> bytes:
    """A GET with further header lines."""
    return b"GET /a HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n" + follow


def line(request_line: bytes, follow: bytes = FOLLOW) -> bytes:
    """A request with this request line, line end included."""
    return request_line + b"Host: a\r\n\r\n" + follow


def family(
    kind: str, ref: str, rows: dict[str, bytes], prefix: str | None = None
) -> tuple[Attack, ...]:
    """Entries of one class and one reference."""
    return tuple(Attack(f"{prefix or kind}: {name}", kind, raw, ref) for name, raw in rows.items())
