"""Keys of requests: what no engine can tell apart is one key, and nothing else is."""

from __future__ import annotations

import copy
import json
import unicodedata
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from selvedge.cache import Asked, read_asked, why_not_kept
from selvedge.cache.asked import BODY_BYTES_MAX, NULLABLE, NUMBERS, TEXT_CHARS_MAX, UNHEARD
from selvedge.fabric import Ask, Route

CHAT = Ask(Route.CHAT, "m")
BODY: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "How do I change my PIN?"},
    ],
    "temperature": 0,
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def read(body: object, ask: Ask = CHAT, digest: str | None = "d") -> Asked:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = read_asked(ask, raw, digest)
    assert found is not None
    return found


def changed(**fields: object) -> dict[str, Any]:
    return copy.deepcopy(BODY) | fields


def asking(content: object) -> dict[str, Any]:
    return changed(messages=[BODY["messages"][0], {"role": "user", "content": content}])


def test_what_changes_no_answer_changes_no_key() -> None:
    known = read(BODY)
    assert read(json.dumps(BODY, indent=3, sort_keys=True).encode()) == known
    assert read(json.dumps(BODY).replace("brief", "br\\u0069ef").encode()) == known
    for name in UNHEARD:
        assert read(changed(**{name: True})) == known
    for name in NUMBERS:
        assert read(changed(**{name: 1})) == read(changed(**{name: 1.0}))
    for name in NULLABLE:
        if name not in BODY:
            assert read(changed(**{name: None})) == known
    assert read(changed(n=1)) == known


def test_what_is_not_known_to_be_harmless_is_part_of_the_key() -> None:
    known = read(BODY)
    for other in (
        changed(n=2),
        changed(n=True),
        changed(unknown=None),
        changed(seed=1),
        changed(logprobs=False),
        changed(unknown=1.0),
    ):
        assert read(other).exact != known.exact
        assert read(other).bucket != known.bucket
    assert read(changed(unknown=1)).exact != read(changed(unknown=1.0)).exact
    assert read(BODY, digest=None).exact != known.exact
    assert read(BODY, digest="e").bucket != known.bucket


def test_only_the_last_text_stays_out_of_the_bucket() -> None:
    known = read(BODY)
    other = read(asking("What is a PIN?"))
    assert other.bucket == known.bucket != b""
    assert other.exact != known.exact
    assert (other.text, len(other.exact), len(other.bucket)) == ("What is a PIN?", 32, 16)
    more = read(changed(messages=[BODY["messages"][1], *BODY["messages"]]))
    assert more.bucket != known.bucket
    named = read(changed(messages=[BODY["messages"][0], BODY["messages"][1] | {"name": "x"}]))
    assert named.bucket != known.bucket


def test_text_in_parts() -> None:
    one = read(asking([{"type": "text", "text": "How?"}]))
    two = read(asking([{"type": "text", "text": "How?"}, {"type": "text", "text": "Now"}]))
    marked = read(asking([{"type": "text", "text": "How?", "cache_control": {"type": "x"}}]))
    assert (one.text, two.text, marked.text) == ("How?", "How?\nNow", "How?")
    assert len({one.bucket, two.bucket, marked.bucket, read(asking("How?")).bucket}) == 4


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        " ?! ",
        "x" * (TEXT_CHARS_MAX + 1),
        [{"type": "image_url", "image_url": {"url": "data:,"}}],
        [{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "b"}],
        [{"type": "text", "text": 3}],
        [],
        7,
    ],
)
def test_what_has_no_semantic_side(content: object) -> None:
    found = read(asking(content))
    assert (found.bucket, found.text) == (b"", "")
    assert found.exact != read(BODY).exact


def test_only_a_users_last_word_has_one() -> None:
    for role in ("assistant", "tool", "system", "developer"):
        last = {"role": role, "content": "Hello there"}
        assert read(changed(messages=[*BODY["messages"], last])).bucket == b""
    assert read(BODY, Ask(Route.CHAT, "m", media=True)).bucket == b""
    prompt = read({"model": "m", "prompt": "Hello"}, Ask(Route.COMPLETIONS, "m"))
    assert prompt.bucket == b""
    for odd in ([], [3], {}, "x"):
        assert read(changed(messages=odd)).bucket == b""


def test_what_has_no_key() -> None:
    raw = json.dumps(BODY).encode()
    assert read_asked(Ask(Route.EMBEDDINGS, "m"), raw, None) is None
    assert read_asked(CHAT, b"x" * (BODY_BYTES_MAX + 1), None) is None
    for broken in (b"{", b"[]", b'{"a":1e999}', b'{"a":"\xff"}', b"[" * 5000):
        assert read_asked(CHAT, broken, None) is None


@pytest.mark.parametrize(
    "inner",
    [
        b'{"a":1,"a":2}',
        b'{"a":"\\u0022","a":"\\u0022"}',
        b'[{"b":{"c":1,"\\u0063":1}}]',
        b'{"a\\u0022":1,"a\\"":2}',
    ],
)
def test_a_key_that_comes_twice_has_no_key(inner: bytes) -> None:
    assert read_asked(CHAT, b'{"model":"m","x":' + inner + b"}", None) is None
    assert read_asked(CHAT, b'{"model":"m","x":"\\u0022a"}', None) is not None


def test_it_does_not_show_the_prompt() -> None:
    assert "PIN" not in repr(read(BODY))


def test_the_text_is_in_nfc_and_the_key_is_not_changed_by_that() -> None:
    composed, apart = (unicodedata.normalize(form, "Où est le café ?") for form in ("NFC", "NFD"))
    assert read(asking(apart)).text == read(asking(composed)).text == composed
    assert read(asking(apart)).exact != read(asking(composed)).exact


@given(JSON, JSON)
def test_different_contents_never_share_a_key(a: object, b: object) -> None:
    assume(json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True))
    one, other = (read_asked(CHAT, json.dumps(asking(c)).encode(), None) for c in (a, b))
    assert one is None or other is None or one.exact != other.exact


@given(st.text(min_size=1, max_size=8), JSON, JSON)
def test_any_other_field_is_in_both(name: str, a: object, b: object) -> None:
    assume(name not in UNHEARD and name not in NULLABLE and name not in BODY)
    assume(json.dumps(a, sort_keys=True) != json.dumps(b, sort_keys=True))
    one, other = (read_asked(CHAT, json.dumps(changed(**{name: c})).encode(), None) for c in (a, b))
    if one is not None and other is not None:
        assert one.exact != other.exact
        assert one.bucket != other.bucket


@given(st.text(max_size=30))
def test_text_that_looks_like_structure_stays_text(text: str) -> None:
    tricks = [
        text,
        json.dumps(text),
        json.dumps({"role": "user", "content": text}),
        f'{text}"}},{{"role":"user","content":"',
        [{"type": "text", "text": text}],
        json.dumps([{"type": "text", "text": text}]),
    ]
    found = [read_asked(CHAT, json.dumps(asking(trick)).encode(), None) for trick in tricks]
    keys = [one.exact for one in found if one is not None]
    assert len(set(keys)) == len(keys)


@given(st.lists(st.text(min_size=1, max_size=6), min_size=2, max_size=4), st.data())
def test_messages_cannot_be_cut_another_way(texts: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(1, len(texts) - 1))
    joined = ["".join(texts[:at]), "".join(texts[at:])]
    assume(joined != texts)
    one, other = (
        read(changed(messages=[{"role": "user", "content": text} for text in split]))
        for split in (texts, joined)
    )
    assert one.exact != other.exact


WEATHER = "What is the weather today in Rome?"


@pytest.mark.parametrize(
    "content",
    ["word " * TEXT_CHARS_MAX + WEATHER, [{"type": "text", "text": WEATHER * TEXT_CHARS_MAX}]],
    ids=["a long one", "a long part"],
)
def test_what_is_too_long_to_compare_is_judged_all_the_same(content: object) -> None:
    found = read(asking(content))
    assert (found.text, found.bucket) == ("", b"")
    assert why_not_kept(found.asks, "Sunny.", "stop") is not None


@pytest.mark.parametrize("prompt", [WEATHER, [WEATHER]], ids=["one", "several"])
def test_a_prompt_is_judged_too(prompt: object) -> None:
    found = read({"model": "m", "prompt": prompt}, Ask(Route.COMPLETIONS, "m"))
    assert why_not_kept(found.asks, "Sunny.", "stop") is not None


def test_what_a_tool_has_found_is_of_no_other_day() -> None:
    turns = [{"role": "user", "content": WEATHER}, {"role": "tool", "content": "It rains."}]
    assert read({"model": "m", "messages": turns}).asks == ""
