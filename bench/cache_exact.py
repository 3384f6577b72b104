"""What an identical question costs at a running PoP: a hit beside the same request with no cache.

One connection, one request after the other, in turns: kept answers, and requests that say
`no-store`, which an engine answers that takes no time. Of a hit two figures: what the PoP says it
spent on looking (`cache;dur`), and the whole as its client sees it.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.figures import Figures, quantile
from bench.one_pop import MODEL, OnePop
from bench.overload import build

TENANT: Final = "warp"
ROUNDS: Final = 4000
WARM: Final = 200
STORED_S_MAX: Final = 20.0
_LOOKED: Final = re.compile(rb"cache;dur=([0-9.]+)")


def exact() -> Figures:
    """The figures, by a PoP of their own."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_measured(Path(directory)))


async def _measured(directory: Path) -> Figures:
    pop = OnePop(directory, build("mock"), (TENANT,), cache={})
    await pop.start()
    try:
        return await asyncio.to_thread(_asked, pop.port, pop.keys[TENANT])
    finally:
        await pop.stop()


def _asked(port: int, key: str) -> Figures:
    looked, hits, others = [], [], []
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        kept, other = _request(key, {}), _request(key, {"cache-control": "no-store"})
        late = time.monotonic() + STORED_S_MAX
        while b"selvedge; hit" not in _turn(client, kept)[1]:
            if time.monotonic() > late:
                raise RuntimeError("the PoP keeps no answer: is its cache process up?")
        for turn in range(ROUNDS + WARM):
            took_ms, head = _turn(client, kept)
            found = _LOOKED.search(head)
            if turn >= WARM and found is not None and b"selvedge; hit" in head:
                looked.append(float(found[1]))
                hits.append(took_ms)
            took_ms, _ = _turn(client, other)
            if turn >= WARM:
                others.append(took_ms)
    return {
        "exact_hits": len(hits),
        "exact_added_ms_p50": quantile(looked, 0.5),
        "exact_added_ms_p99": quantile(looked, 0.99),
        "exact_hit_ms_p50": round(quantile(hits, 0.5), 4),
        "exact_hit_ms_p99": round(quantile(hits, 0.99), 4),
        "exact_none_ms_p50": round(quantile(others, 0.5), 4),
        "exact_none_ms_p99": round(quantile(others, 0.99), 4),
    }


def _request(key: str, more: Mapping[str, str]) -> bytes:
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "How? " * 90}]})
    headers = {"host": "bench", "authorization": f"Bearer {key}", **more}
    headers |= {"content-type": "application/json", "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST /v1/chat/completions HTTP/1.1\r\n{lines}\r\n{body}".encode()


def _turn(client: socket.socket, request: bytes) -> tuple[float, bytes]:
    """How long it took, in milliseconds, and the head of its answer."""
    begun = time.perf_counter()
    client.sendall(request)
    data = client.recv(65536)
    while b"\r\n\r\n" not in data:
        data += client.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    size = re.search(rb"content-length: (\d+)", head.lower())
    left = int(size[1]) - len(body) if size else 0
    while left > 0:
        left -= len(client.recv(65536))
    took_ms = (time.perf_counter() - begun) * 1000
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the PoP answered {head[:100]!r}")
    return took_ms, head
