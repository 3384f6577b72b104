"""OpenAI's own form, and where it goes: the body is ours but for names, the answer is ours already.

Azure serves the same under a deployment's path with an `api-version`, or, where the engine's URL
ends in ``/openai/v1``, under the path of OpenAI; its key stands in `api-key`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from selvedge.fabric import Ask, Refused
from selvedge.wire.dialects.dialect import Limits, Order, Outgoing, Translator
from selvedge.wire.dialects.rate_limits import openai_limits
from selvedge.wire.engine_errors import refusal_of_answer
from selvedge.wire.http1_head import Headers
from selvedge.wire.requests import engine_body, engine_path

API_VERSION: Final = "2024-10-21"


class OpenAI:
    """The dialect of OpenAI and of all who serve its API."""

    def request(self, order: Order) -> Outgoing | Refused:
        """The client's body, changed only where it must be."""
        headers = (("authorization", f"Bearer {order.secret}"),) if order.secret else ()
        path = engine_path(order.ask.route, order.profile)
        if isinstance(path, Refused):
            return path
        return Outgoing(order.base + path, headers, _body(order))

    def translator(self, ask: Ask, now_us: int) -> Translator | None:
        """Nothing is to be translated."""
        return None

    def refusal(self, status: int, headers: Headers, body: bytes) -> Refused:
        """By code and status."""
        return refusal_of_answer(status, body, abroad=True)

    def limits(self, headers: Headers, body: bytes, now_us: int) -> Limits | None:
        """The headers tell them with every answer."""
        return openai_limits(headers, now_us)


class Azure(OpenAI):
    """The same, where Azure puts it."""

    def request(self, order: Order) -> Outgoing | Refused:
        """By deployment and version, or as OpenAI has it where the URL says ``/openai/v1``."""
        headers = (("api-key", order.secret),) if order.secret else ()
        refused = engine_path(order.ask.route, order.profile)
        if isinstance(refused, Refused):
            return refused
        if order.base.endswith("/openai"):
            target = order.base + order.ask.route.value
            version = order.options.get("api-version")
        else:
            path = order.ask.route.value.removeprefix("/v1")
            target = f"{order.base}/openai/deployments/{quote(order.name, safe='')}{path}"
            version = order.options.get("api-version", API_VERSION)
        query = f"?api-version={quote(version)}" if version else ""
        return Outgoing(target + query, headers, _body(order))


def _body(order: Order) -> bytes:
    return engine_body(order.ask, order.body, order.profile, order.name, keeps=order.keeps)
