"""The models that a key can reach, as clients list them: in OpenAI's form, or in Anthropic's."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from selvedge.fabric import Model
from selvedge.wire import RequestHead

Row = dict[str, object]
ANTHROPIC_FIELD: Final = b"anthropic-version"
"""Anthropic's clients send it with every request."""


def models_page(models: Sequence[Model], made_us: int, head: RequestHead) -> Row:
    """All of them, in the form of who asks."""
    rows = [model_row(model, made_us, head) for model in models]
    if not _is_anthropics(head):
        return {"object": "list", "data": rows}
    first, last = (rows[0]["id"], rows[-1]["id"]) if rows else (None, None)
    return {"data": rows, "has_more": False, "first_id": first, "last_id": last}


def model_row(model: Model, made_us: int, head: RequestHead) -> Row:
    """One model; it is as old as the release that names it."""
    if _is_anthropics(head):
        made = datetime.fromtimestamp(made_us // 1_000_000, UTC)
        return {
            "type": "model",
            "id": model.id,
            "display_name": model.id,
            "created_at": made.isoformat().replace("+00:00", "Z"),
            "max_input_tokens": model.context_tokens_max,
        }
    return {
        "id": model.id,
        "object": "model",
        "created": made_us // 1_000_000,
        "owned_by": model.owner,
    }


def _is_anthropics(head: RequestHead) -> bool:
    return head.headers.raw(ANTHROPIC_FIELD) is not None
