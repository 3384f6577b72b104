"""The forms in which clients may ask, as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from selvedge.fabric import DIALECT_PATHS, Dialect, Refused
from selvedge.wire.answers import render_error
from selvedge.wire.dialects.inward import Form
from selvedge.wire.dialects.inward_messages import MessagesForm
from selvedge.wire.media import ImageUrls

_FORMS: Final[Mapping[Dialect, Callable[[str, str, ImageUrls], Form]]] = MappingProxyType(
    {"anthropic": MessagesForm}
)


def open_form(dialect: Dialect, receipt_id: str, request_id: str, image_urls: ImageUrls) -> Form:
    """The form of one request; what it makes has ids that are made of its receipt's."""
    return _FORMS[dialect](receipt_id, request_id, image_urls)


def render_refusal(target: str, refused: Refused, request_id: str) -> bytes:
    """An error for a request of which no more is known than where it came to."""
    asked = DIALECT_PATHS.get(target.partition("?")[0])
    if asked is None:
        return render_error(refused)
    return open_form(asked[1], "", request_id, "data-only").refusal(refused)
