"""The door of the PoPs: sealed messages in, sealed messages out. What they say is the desk's.

A handler is ``bytes -> bytes`` and is asked by one thread at a time. It answers for who asks: the
messages carry the MAC of a pair (proposal 0009). Whatever its database does, a PoP is answered in
bounded time: one that is not asks again, and its next question must not wait behind this one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from selvedge.control.admin_api import refuse
from selvedge.control.admin_errors import AdminRefused
from selvedge.control.database import WAIT_MS
from selvedge.fabric import BadTicket, SelvedgeError

MESSAGE_BYTES_MAX: Final = 4 * 1024 * 1024
LEASES: Final = "/pop/v1/leases"
SLACK_MS: Final = 500

PopHandler = Callable[[bytes], bytes]

log: Final = logging.getLogger("selvedge.control")


def pops_app(handlers: Mapping[str, PopHandler], wait_ms: int = WAIT_MS) -> Starlette:
    """The door as ASGI; a path nobody answers for is 503, for it may be that somebody will.

    ``wait_ms`` is the longest wait for a handler, and for those before it.
    """
    paths = {LEASES, *handlers}
    return Starlette(
        routes=[
            Route(path, _endpoint(handlers.get(path), wait_ms / 1000), methods=["POST"])
            for path in paths
        ]
    )


def _endpoint(handler: PopHandler | None, wait_s: float) -> Callable[[Request], object]:
    turn = anyio.CapacityLimiter(1)

    async def answer(request: Request) -> Response:
        if handler is None:
            words = "nobody grants leases here"
            return refuse(AdminRefused("store_unavailable", words, retry_after_s=5))
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MESSAGE_BYTES_MAX:
                words = f"the message exceeds {MESSAGE_BYTES_MAX} bytes"
                return refuse(AdminRefused("request_too_large", words))
        try:
            with anyio.fail_after(wait_s):
                made = await anyio.to_thread.run_sync(
                    handler, body, limiter=turn, abandon_on_cancel=True
                )
        except TimeoutError:
            log.error("a PoP was not answered: the database is slow")
            words = "the control plane's database is slow"
            return refuse(AdminRefused("store_unavailable", words, retry_after_s=2))
        except BadTicket as error:
            return refuse(AdminRefused("forbidden", str(error)))
        except SelvedgeError as error:
            log.error("a PoP was not answered: %s", error)
            return refuse(AdminRefused("store_unavailable", str(error), retry_after_s=2))
        return Response(made, media_type="application/octet-stream")

    return answer
