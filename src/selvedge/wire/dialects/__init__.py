"""Other APIs' forms of a chat: inward at the edge of a PoP, outward in front of a provider."""

from selvedge.wire.dialects.inward import Form
from selvedge.wire.dialects.inward_forms import open_form, render_refusal

__all__ = [
    "Form",
    "open_form",
    "render_refusal",
]
