"""The door of the PoPs: sealed messages in, sealed messages out. What they say is the desk's.

A handler is ``bytes -> bytes`` and is asked by one thread at a time. It answers for who asks: the
messages carry the MAC of a pair (proposal 0009).
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

from selvedge.control.admin_api import read_body, refuse
from selvedge.control.admin_errors import AdminRefused
from selvedge.exchange import lease_messages
from selvedge.fabric import BadTicket, SelvedgeError

MESSAGE_BYTES_MAX: Final = lease_messages.MESSAGE_BYTES_MAX
LEASES: Final = lease_messages.TARGET

PopHandler = Callable[[bytes], bytes]

log: Final = logging.getLogger("selvedge.control")


def pops_app(handlers: Mapping[str, PopHandler]) -> Starlette:
    """The door as ASGI; a path nobody answers for is 503, for it may be that somebody will."""
    paths = {LEASES, *handlers}
    return Starlette(
        routes=[Route(path, _endpoint(handlers.get(path)), methods=["POST"]) for path in paths]
    )


def _endpoint(handler: PopHandler | None) -> Callable[[Request], object]:
    turn = anyio.CapacityLimiter(1)

    async def answer(request: Request) -> Response:
        if handler is None:
            words = "nobody grants leases here"
            return refuse(AdminRefused("store_unavailable", words, retry_after_s=5))
        try:
            body = await read_body(request, MESSAGE_BYTES_MAX)
            made = await anyio.to_thread.run_sync(handler, body, limiter=turn)
        except AdminRefused as error:
            return refuse(error)
        except BadTicket as error:
            return refuse(AdminRefused("forbidden", str(error)))
        except SelvedgeError as error:
            log.error("a PoP was not answered: %s", error)
            return refuse(AdminRefused("store_unavailable", str(error), retry_after_s=2))
        return Response(made, media_type="application/octet-stream")

    return answer
