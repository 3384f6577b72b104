"""The forms in which clients may ask, as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from selvedge.fabric import DIALECT_PATHS, Dialect, Head, Refused, Route
from selvedge.wire.answers import render_error
from selvedge.wire.dialects.inward import Asked, Form
from selvedge.wire.dialects.inward_messages import MessagesForm
from selvedge.wire.dialects.inward_responses import ResponsesForm
from selvedge.wire.media import ImageUrls

_FORMS: Final[Mapping[Dialect, Callable[[Asked], Form]]] = MappingProxyType(
    {"anthropic": MessagesForm, "responses": ResponsesForm}
)


def open_form(head: Head, pop: str, image_urls: ImageUrls) -> Form | None:
    """The form in which a request is asked that entered at ``pop``; None: its route's own."""
    if head.dialect is None:
        return None
    return _FORMS[head.dialect](
        Asked(head.receipt_id, head.request_id, pop, image_urls, head.route is Route.COUNT)
    )


def render_refusal(target: str, refused: Refused, request_id: str) -> bytes:
    """An error for a request of which no more is known than where it came to."""
    asked = DIALECT_PATHS.get(target.partition("?")[0])
    if asked is None:
        return render_error(refused)
    return _FORMS[asked[1]](Asked("", request_id)).refusal(refused)
