"""Whatever comes as a body of another API: refused by its client's names, or a chat that holds."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import Refused, Route
from selvedge.wire import parse
from selvedge.wire.dialects.inward import Asked
from selvedge.wire.dialects.inward_messages import MessagesForm
from selvedge.wire.dialects.inward_messages_shapes import MessagesBody
from selvedge.wire.dialects.inward_responses import ResponsesForm
from selvedge.wire.dialects.inward_responses_shapes import ResponsesBody

Json = Any  # Any: JSON
FORMS: dict[str, tuple[Any, type[msgspec.Struct]]] = {
    "anthropic": (MessagesForm, MessagesBody),
    "responses": (ResponsesForm, ResponsesBody),
}
WORDS = [
    "type",
    "text",
    "role",
    "content",
    "user",
    "assistant",
    "system",
    "tool_use",
    "tool_result",
    "thinking",
    "image",
    "source",
    "base64",
    "url",
    "data",
    "media_type",
    "image/png",
    "id",
    "name",
    "input",
    "input_schema",
    "tool_use_id",
    "function",
    "function_call",
    "function_call_output",
    "call_id",
    "arguments",
    "output",
    "output_text",
    "input_text",
    "input_image",
    "image_url",
    "parameters",
    "strict",
    "format",
    "json_schema",
    "schema",
    "auto",
    "any",
    "tool",
    "data:,",
    "http://10.0.0.1/",
    "message",
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2**40),
    st.floats(-3, 3),
    st.sampled_from(WORDS),
    st.text(max_size=3),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    ),
    max_leaves=12,
)


def names(kind: str) -> list[str]:
    return [one.encode_name for one in msgspec.structs.fields(FORMS[kind][1])]


def good(kind: str) -> dict[str, Json]:
    if kind == "anthropic":
        return {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    return {"model": "m", "input": "x"}


def check(kind: str, body: bytes) -> None:
    form = FORMS[kind][0](Asked("rcpt_1", "req_1"))
    read = form.read(body)
    if isinstance(read, bytes):
        asked = parse(Route.CHAT, read)
        if not isinstance(asked, Refused):
            return
        read = asked
    if read.param is not None:
        top = read.param.partition(".")[0].partition("[")[0]
        assert top in names(kind) or "is not carried" in read.message, read
    assert json.loads(form.refusal(read))


@pytest.mark.parametrize("kind", FORMS)
@given(data=st.data())
@settings(max_examples=300)
def test_any_value_of_any_field(kind: str, data: st.DataObject) -> None:
    fields = good(kind)
    for name in data.draw(st.lists(st.sampled_from(names(kind)), max_size=3)):
        fields[name] = data.draw(TREES)
    check(kind, json.dumps(fields).encode())


@pytest.mark.parametrize("kind", FORMS)
@given(data=st.data())
@settings(max_examples=200)
def test_any_item_of_a_conversation(kind: str, data: st.DataObject) -> None:
    """Close to what is right, and wrong in one place."""
    fields = good(kind)
    if kind == "anthropic":
        blocks = st.lists(st.dictionaries(st.sampled_from(WORDS), TREES, max_size=4), max_size=3)
        role = data.draw(st.sampled_from(["user", "assistant", "system"]))
        fields["messages"] = [{"role": role, "content": data.draw(blocks)}]
    else:
        items = st.lists(st.dictionaries(st.sampled_from(WORDS), TREES, max_size=5), max_size=3)
        fields["input"] = data.draw(items)
    check(kind, json.dumps(fields).encode())


@pytest.mark.parametrize("kind", FORMS)
@given(body=st.binary(max_size=60))
def test_any_bytes(kind: str, body: bytes) -> None:
    check(kind, body)


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("depth", [100, 5_000, 200_000])
def test_depth(kind: str, depth: int) -> None:
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    name = b'"metadata":' if kind == "anthropic" else b'"text":'
    check(kind, b'{"model":"m",' + name + deep + b"}")
    check(kind, b'{"model":"m","tools":[{"name":"f","input_schema":' + deep + b"}]}")
