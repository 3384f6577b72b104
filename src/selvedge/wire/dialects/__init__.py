"""Other APIs' forms of a chat: inward at the edge of a PoP, outward in front of a provider."""

from selvedge.wire.dialects.inward import Form
from selvedge.wire.dialects.inward_forms import open_form, render_refusal
from selvedge.wire.dialects.inward_responses import items_of, previous_of, response_of

__all__ = [
    "Form",
    "items_of",
    "open_form",
    "previous_of",
    "render_refusal",
    "response_of",
]
