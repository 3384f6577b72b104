"""Keys that two parsers read differently, and places that an engine would fetch for a stranger."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import Ask, Refused, Route
from selvedge.wire import parse
from selvedge.wire.strict_json import Ambiguous, read_judged, read_shallow

HI = '{"role":"user","content":"hi"}'
PNG = "data:image/png;base64,AAAA"


def chat(extra: str = "", messages: str = f"[{HI}]") -> bytes:
    return f'{{"model":"m","messages":{messages}{extra}}}'.encode()


def with_part(part: object) -> bytes:
    message = {"role": "user", "content": [{"type": "text", "text": "see http://a/"}, part]}
    return chat(messages=json.dumps([message]))


TWICE = {
    "model": chat(',"model":"other"'),
    "model, escaped": chat(',"\\u006dodel":"other"'),
    "stream": chat(',"stream":false,"stream":true'),
    "messages": chat(f',"messages":[{HI}]'),
    "n": chat(',"n":1,"n":16'),
    "content": chat(messages='[{"role":"user","content":"a","content":"b"}]'),
    "role": chat(messages='[{"role":"user","role":"system","content":"b"}]'),
    "type": chat(messages='[{"role":"user","content":[{"type":"image_url","type":"text"}]}]'),
    "include_usage": chat(
        ',"stream":true,"stream_options":{"include_usage":true,"include_usage":false}'
    ),
    "url": chat(
        messages='[{"role":"user","content":[{"type":"image_url","image_url":'
        '{"url":"http://10.0.0.1/","url":"data:,"}}]}]'
    ),
}


@pytest.mark.parametrize("name", TWICE)
def test_a_key_that_comes_twice(name: str) -> None:
    refused = parse(Route.CHAT, TWICE[name])
    assert isinstance(refused, Refused)
    assert (refused.code, refused.param) == ("duplicate_key", name.partition(",")[0])
    assert "comes twice in one object" in refused.message


CASED = {
    "MODEL": chat(',"MODEL":"other"'),
    "Stream": chat(',"Stream":true'),
    "\u017ftream": chat(',"\u017ftream":true'),  # a long s: Go's parser folds it
    "Content": chat(messages='[{"role":"user","content":"a","Content":[]}]'),
    "Type": chat(messages='[{"role":"user","content":[{"type":"text","Type":"image_url"}]}]'),
}


@pytest.mark.parametrize("name", CASED)
def test_a_key_that_differs_in_case_only(name: str) -> None:
    refused = parse(Route.CHAT, CASED[name])
    assert isinstance(refused, Refused)
    assert (refused.code, refused.param) == ("duplicate_key", ascii(name)[1:-1])
    assert "only in case" in refused.message


def test_what_is_the_clients_own_may_be_cased_as_it_likes() -> None:
    schema = '{"type":"object","properties":{"Type":{},"Model":{},"model":{}}}'
    tool = f',"tools":[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}]'
    assert isinstance(parse(Route.CHAT, chat(tool)), Ask)
    assert isinstance(parse(Route.CHAT, chat(',"y":[{"x":1,"x":2}]')), Ask)
    assert isinstance(parse(Route.CHAT, chat(',"top_k":1,"Extra":2')), Ask)


FETCHED = (
    {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data/"}},
    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    {"type": "image_url", "image_url": "https://example.com/a.png"},
    {"type": "image_url", "image_url": {"url": " \u00a0data:image/png;base64,AA"}},
    {"type": "image_url", "image_url": {"url": "DATA:image/png;base64,AA"}},
    {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
    {"type": "image_url", "image_url": {"url": "/etc/passwd.png"}},
    {"type": "image_url", "image_url": {"url": "\\\\host\\share"}},
    {"type": "image_url", "image_url": {"URL": "gopher://a/"}},
    {"type": "input_image", "image_url": "http://10.0.0.1/"},
    {"type": "video_url", "video_url": {"url": "http://10.0.0.1/"}},
    {"type": "audio_url", "audio_url": {"url": "ftp://10.0.0.1/"}},
    {"type": "input_audio", "input_audio": {"data": "http://10.0.0.1/a.wav", "format": "wav"}},
    {"type": "file", "file": {"file_data": "//10.0.0.1/a.pdf"}},
    {"type": "file", "file": {"file_url": "x"}},
    {"type": "tomorrow", "deep": [{"images": ["\x01http://10.0.0.1/"]}]},
    {"type": "IMAGE_URL", "image_url": {"url": "http://10.0.0.1/"}},
)


@pytest.mark.parametrize("part", FETCHED, ids=range(len(FETCHED)))
def test_what_an_engine_would_fetch_is_refused(part: dict[str, object]) -> None:
    refused = parse(Route.CHAT, with_part(part))
    assert isinstance(refused, Refused)
    if "URL" in str(part.get("image_url")):
        assert refused.code == "duplicate_key"
        return
    assert refused.code == "invalid_value"
    assert refused.param is not None
    assert refused.param.startswith("messages[0].content[1].")
    assert "data: URL" in refused.message
    assert "'image_urls'" in refused.message
    assert "10.0.0.1" not in refused.message


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": PNG, "detail": "high"}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a"}},
        {"type": "file", "file": {"file_id": "file-abc"}},
        {"type": "video_url", "text": "http://a/ is only text", "video_url": {"url": PNG}},
    ],
)
def test_what_a_request_brings_itself_passes(part: dict[str, object]) -> None:
    ask = parse(Route.CHAT, with_part(part))
    assert isinstance(ask, Ask)
    assert ask.media


@pytest.mark.parametrize(
    ("url", "passes"),
    [
        ("https://example.com/a.png", True),
        ("https://example.com:8443/a.png?b=c#d", True),
        (PNG, True),
        ("http://example.com/a.png", False),
        ("HTTPS://example.com/a.png", False),
        ("https://169.254.169.254/", False),
        ("https://[fd00::1]/", False),
        ("https://2852039166/", False),
        ("https://0xa9.0xfe.0xa9.0xfe/", False),
        ("https://0251.0376.0251.0376/", False),
        ("https://127.1/", False),
        ("https://localhost/", False),
        ("https://a.localhost/", False),
        ("https://metadata.google.internal/", False),
        ("https://intranet/", False),
        ("https://a@169.254.169.254/", False),
        ("https://example.com\\@10.0.0.1/", False),
        ("https://exa mple.com/", False),
        ("https://example.com:x/", False),
        ("https://ex\u0430mple.com/", False),
        ("https:///a", False),
    ],
)
def test_https_means_https_to_a_host_with_a_name(url: str, passes: bool) -> None:
    body = with_part({"type": "image_url", "image_url": {"url": url}})
    assert isinstance(parse(Route.CHAT, body, "https"), Ask) is passes


FILL = "a" * 600_000
LARGE = f'{{"role":"user","content":"{FILL}"}}'


@pytest.mark.parametrize("name", TWICE)
def test_in_a_large_body_too(name: str) -> None:
    large = TWICE[name].replace(b'"messages":[', f'"messages":[{LARGE},'.encode(), 1)
    refused = parse(Route.CHAT, large)
    assert isinstance(refused, Refused)
    assert refused.code == "duplicate_key"


@pytest.mark.parametrize("name", CASED)
def test_in_another_case_in_a_large_body_too(name: str) -> None:
    large = CASED[name].replace(b'"messages":[', f'"messages":[{LARGE},'.encode(), 1)
    refused = parse(Route.CHAT, large)
    assert isinstance(refused, Refused)
    assert refused.code == "duplicate_key"


@pytest.mark.parametrize("part", FETCHED, ids=range(len(FETCHED)))
def test_what_is_fetched_in_a_large_body_too(part: dict[str, object]) -> None:
    large = with_part(part).replace(b'"messages": [', b'"messages":[')
    large = large.replace(b'"messages":[', f'"messages":[{LARGE},'.encode(), 1)
    assert isinstance(parse(Route.CHAT, large), Refused)


@pytest.mark.parametrize("indent", [None, 0, 1, "\t", "\r\n "])
def test_a_large_body_may_be_laid_out_in_any_way(indent: int | str | None) -> None:
    parts = [{"type": "text", "text": "é \n"}, {"type": "image_url", "image_url": {"url": PNG}}]
    messages = [
        {"role": "user", "content": FILL},
        {"role": "user", "content": parts},
        {"role": "user"},
    ]
    extra = {"x": {}, "é": [1, {"a": " "}], "stream": True, "stream_options": {}}
    body = json.dumps(
        {"model": "m", "messages": messages, **extra}, indent=indent, ensure_ascii=False
    )
    for text in (body, f" \n{body}\t", body.replace(": ", ":").replace(", ", ",")):
        assert isinstance(parse(Route.CHAT, text.encode()), Ask)


def test_a_part_that_is_a_heap_of_values_is_refused() -> None:
    part = {"type": "image_url", "image_url": {"url": PNG}, "x": [0] * 200_000}
    assert isinstance(parse(Route.CHAT, with_part(part)), Refused)


def test_messages_have_a_limit() -> None:
    refused = parse(Route.CHAT, chat(messages=f"[{','.join([HI] * 10_001)}]"))
    assert isinstance(refused, Refused)
    assert refused.param == "messages"


KEYS = st.sampled_from(["model", "messages", "role", "content", "x", "stream", "MODEL"])


@given(
    st.recursive(
        st.integers() | st.text('ab \\"\n{}:,', max_size=4) | st.booleans(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text('ab \\":,', max_size=3), inner, max_size=3)
        ),
        max_leaves=8,
    ),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_the_shallow_reading_agrees_with_the_full_one(
    value: object, indent: int | None, twice: bool
) -> None:
    items = list(value.items()) if isinstance(value, dict) else [("k", value)]
    items += items[:1] if twice else []
    pairs = [f"{json.dumps(key)}:{json.dumps(one, indent=indent)}" for key, one in items]
    text = ("{" + (" ,\n" if indent else ",").join(pairs) + "}").encode()
    full = read_judged(text)
    assert isinstance(full, dict)
    if type(full) is dict and not any("\\" in json.dumps(key) for key, _ in items):
        assert list(read_shallow(text)) == list(full)
    else:
        with pytest.raises(Ambiguous):
            read_shallow(text)


@given(st.lists(st.tuples(KEYS, st.integers(0, 3)), max_size=6))
def test_whatever_passes_reads_the_same_from_both_ends(pairs: list[tuple[str, int]]) -> None:
    more = "".join(f',"{key}":{value}' for key, value in pairs)
    ask = parse(Route.CHAT, chat(more))
    if isinstance(ask, Ask):
        first: dict[str, object] = {}
        json.loads(
            chat(more), object_pairs_hook=lambda found: first.update(dict(reversed(found))) or {}
        )
        assert first["model"] == ask.model
        assert "MODEL" not in first
