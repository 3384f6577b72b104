"""Bodies in: each mistake has its code and field, no prompt is quoted. Bodies out: as sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selvedge.fabric import Ask, Refused, Route
from selvedge.wire import PROFILES, Profile, engine_body, engine_streams, parse
from selvedge.wire.requests import CHOICES_MAX, PROMPTS_MAX

CANARY = "CANARY-c5d1"
MESSAGES = f'"messages":[{{"role":"user","content":"{CANARY}"}}]'
OPENAI, LLAMA = PROFILES["openai"], PROFILES["llama.cpp"]
Json = dict[str, Any]  # Any: JSON


def refused(route: Route, body: bytes | str) -> Refused:
    answer = parse(route, body.encode() if isinstance(body, str) else body)
    assert isinstance(answer, Refused), answer
    assert CANARY not in answer.message + str(answer.param)
    assert answer.kind.status == 400
    assert answer.message.endswith(".")
    return answer


def accepted(route: Route, **fields: object) -> Ask:
    answer = parse(route, json.dumps(fields).encode())
    assert isinstance(answer, Ask), answer
    return answer


def chat(extra: str = "") -> str:
    return f'{{"model":"m",{MESSAGES}{extra}}}'


def messages(text: str) -> str:
    return f'{{"model":"m","messages":{text}}}'


NO_JSON: dict[str, bytes] = {
    "nothing": b"",
    "cut": chat().encode()[:-1],
    "cut in the prompt": chat().encode()[:-8],
    "more after it": chat().encode() + b"x",
    "two": chat().encode() * 2,
    "a word": CANARY.encode(),
    "single quotes": chat().replace('"', "'").encode(),
    "a comma too many": chat(",").encode(),
    "NaN": chat(',"temperature":NaN').encode(),
    "NaN in a skipped field": chat(',"x":NaN').encode(),
    "Infinity": chat(',"x":-Infinity').encode(),
    "a leading zero": chat(',"x":01').encode(),
    "a line feed in a text": messages(f'[{{"role":"user","content":"{CANARY}\n"}}]').encode(),
    "an unknown escape": messages(f'[{{"role":"user","content":"{CANARY}\\q"}}]').encode(),
    "a lone surrogate": messages(f'[{{"role":"user","content":"{CANARY}\\ud800"}}]').encode(),
    "a lone low surrogate": messages(f'[{{"role":"user","content":"{CANARY}\\udc00"}}]').encode(),
    "a lone surrogate in a skipped field": chat(',"x":"\\ud800 "').encode(),
    "BOM": b"\xef\xbb\xbf" + chat().encode(),
    "UTF-16": chat().encode("utf-16"),
    "Latin-1": chat().replace("C", "É").encode("latin-1"),
    "not UTF-8 in a skipped field": chat(',"x":"@"').encode().replace(b"@", b"\xff"),
    "overlong UTF-8 in a skipped field": chat(',"x":"@"').encode().replace(b"@", b"\xc0\xaf"),
    "a surrogate as UTF-8": chat(',"x":"@"').encode().replace(b"@", b"\xed\xa0\x80"),
    "deep": chat(',"x":' + "[" * 100_000 + "]" * 100_000).encode(),
    "deep objects": chat(',"x":' + '{"a":' * 100_000 + "1" + "}" * 100_000).encode(),
}


@pytest.mark.parametrize("name", NO_JSON)
def test_what_is_no_json(name: str) -> None:
    answer = refused(Route.CHAT, NO_JSON[name])
    assert (answer.code, answer.param) == ("invalid_json", None)


CHAT_MISTAKES: list[tuple[str, str, str | None]] = [
    ("[]", "invalid_type", None),
    ("null", "invalid_type", None),
    (f'"{CANARY}"', "invalid_type", None),
    ("{}", "missing_field", "model"),
    (f"{{{MESSAGES}}}", "missing_field", "model"),
    ('{"model":"m"}', "missing_field", "messages"),
    (f'{{"model":null,{MESSAGES}}}', "invalid_type", "model"),
    (f'{{"model":["{CANARY}"],{MESSAGES}}}', "invalid_type", "model"),
    (f'{{"model":"",{MESSAGES}}}', "invalid_value", "model"),
    ('{"model":"' + "m" * 129 + f'",{MESSAGES}}}', "invalid_value", "model"),
    (messages("null"), "invalid_type", "messages"),
    (messages(f'"{CANARY}"'), "invalid_type", "messages"),
    (messages("{}"), "invalid_type", "messages"),
    (messages("[]"), "invalid_value", "messages"),
    (messages("[null]"), "invalid_type", "messages[0]"),
    (messages("[{}]"), "missing_field", "messages[0].role"),
    (messages(f'[{{"content":"{CANARY}"}}]'), "missing_field", "messages[0].role"),
    (messages('[{"role":null}]'), "invalid_type", "messages[0].role"),
    (messages(f'[{{"role":"{CANARY}"}}]'), "invalid_value", "messages[0].role"),
    (messages('[{"role":"user"},{"role":"me"}]'), "invalid_value", "messages[1].role"),
    (messages('[{"role":"user","content":7}]'), "invalid_type", "messages[0].content"),
    (messages('[{"role":"user","content":{}}]'), "invalid_type", "messages[0].content"),
    (messages(f'[{{"role":"user","content":["{CANARY}"]}}]'), "invalid_type",
     "messages[0].content[0]"),
    (messages(f'[{{"role":"user","content":[{{"text":"{CANARY}"}}]}}]'), "missing_field",
     "messages[0].content[0].type"),
    (chat(',"messages":[]'), "invalid_value", "messages"),
    (chat(',"stream":"true"'), "invalid_type", "stream"),
    (chat(',"stream":1'), "invalid_type", "stream"),
    (chat(',"stream":true,"stream_options":[]'), "invalid_type", "stream_options"),
    (chat(',"stream":true,"stream_options":{"include_usage":1}'), "invalid_type",
     "stream_options.include_usage"),
    (chat(',"stream_options":{"include_usage":true}'), "invalid_value", "stream_options"),
    (chat(',"stream":false,"stream_options":{}'), "invalid_value", "stream_options"),
    (chat(',"n":0'), "invalid_value", "n"),
    (chat(f',"n":{CHOICES_MAX + 1}'), "invalid_value", "n"),
    (chat(',"n":-1'), "invalid_value", "n"),
    (chat(',"n":1.5'), "invalid_type", "n"),
    (chat(',"n":true'), "invalid_type", "n"),
    (chat(',"max_tokens":-1'), "invalid_value", "max_tokens"),
    (chat(',"max_tokens":"5"'), "invalid_type", "max_tokens"),
    (chat(f',"max_tokens":{2**31}'), "invalid_value", "max_tokens"),
    (chat(f',"max_tokens":{2**70}'), "invalid_value", "max_tokens"),
    (chat(',"max_tokens":' + "9" * 5000), "invalid_type", "max_tokens"),
    (chat(',"max_completion_tokens":-5'), "invalid_value", "max_completion_tokens"),
    (chat(',"temperature":2.1'), "invalid_value", "temperature"),
    (chat(',"temperature":1e999'), "invalid_type", "temperature"),
    (chat(f',"temperature":"{CANARY}"'), "invalid_type", "temperature"),
    (chat(',"top_p":-0.1'), "invalid_value", "top_p"),
    (chat(',"presence_penalty":3'), "invalid_value", "presence_penalty"),
    (chat(',"frequency_penalty":-3'), "invalid_value", "frequency_penalty"),
    (chat(',"top_logprobs":21'), "invalid_value", "top_logprobs"),
    (chat(f',"seed":{2**63}'), "invalid_value", "seed"),
    (chat(',"stop":[1]'), "invalid_type", "stop[0]"),
    (chat(',"stop":[' + ",".join(['"a"'] * 17) + "]"), "invalid_value", "stop"),
    (chat(',"user":{}'), "invalid_type", "user"),
    (chat(',"user":"' + "u" * 513 + '"'), "invalid_value", "user"),
    (chat(f',"tools":"{CANARY}"'), "invalid_type", "tools"),
    (chat(',"tools":[{"function":{"name":"f"}}]'), "missing_field", "tools[0].type"),
    (chat(f',"tools":[{{"type":"x","function":"{CANARY}"}}]'), "invalid_type", "tools[0].function"),
    (chat(',"tools":[{"type":"x"},{"type":"function"}]'), "invalid_value", "tools[1].function"),
    (chat(',"max_tokens":0'), "invalid_value", "max_tokens"),
    (chat(',"max_completion_tokens":0'), "invalid_value", "max_completion_tokens"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "param"), CHAT_MISTAKES)
def test_mistakes_in_a_chat(body: str, code: str, param: str | None) -> None:
    answer = refused(Route.CHAT, body)
    assert (answer.code, answer.param) == (code, param)
    assert param is None or repr(param) in answer.message


COMPLETION_MISTAKES: list[tuple[str, str, str | None]] = [
    ('{"model":"m"}', "missing_field", "prompt"),
    ('{"model":"m","prompt":null}', "invalid_type", "prompt"),
    ('{"model":"m","prompt":{}}', "invalid_type", "prompt"),
    (f'{{"model":"m","prompt":[{{"a":"{CANARY}"}}]}}', "invalid_type", "prompt[0]"),
    ('{"model":"m","prompt":[]}', "invalid_value", "prompt"),
    (json.dumps({"model": "m", "prompt": [CANARY] * (PROMPTS_MAX + 1)}), "invalid_value", "prompt"),
    ('{"model":"m","prompt":"x","n":17}', "invalid_value", "n"),
]


@pytest.mark.parametrize(("body", "code", "param"), COMPLETION_MISTAKES)
def test_mistakes_in_a_completion(body: str, code: str, param: str | None) -> None:
    answer = refused(Route.COMPLETIONS, body)
    assert (answer.code, answer.param) == (code, param)


EMBEDDING_MISTAKES: list[tuple[str, str, str | None]] = [
    ('{"model":"m"}', "missing_field", "input"),
    ('{"model":"m","input":null}', "invalid_type", "input"),
    ('{"model":"m","input":""}', "invalid_value", "input"),
    ('{"model":"m","input":[]}', "invalid_value", "input"),
    (f'{{"model":"m","input":[["{CANARY}"]]}}', "invalid_type", "input[0][0]"),
    (f'{{"model":"m","input":"x","encoding_format":"{CANARY}"}}', "invalid_value",
     "encoding_format"),
    ('{"model":"m","input":"x","dimensions":0}', "invalid_value", "dimensions"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "code", "param"), EMBEDDING_MISTAKES)
def test_mistakes_in_an_embedding(body: str, code: str, param: str | None) -> None:
    answer = refused(Route.EMBEDDINGS, body)
    assert (answer.code, answer.param) == (code, param)


def test_the_facts_of_a_chat() -> None:
    body = (
        '{"model":"small","messages":[{"role":"system","content":"é"},{"role":"user","content":'
        '[{"type":"text","text":"x"},{"type":"refusal"}]},{"role":"assistant"}],"stream":true,'
        '"stream_options":{"include_usage":true,"other":1},"n":3,"max_tokens":5,'
        '"max_completion_tokens":9,"user":"me","unheard_of":{"a":[1,null]},"stop":null,'
        '"tools":[{"type":"function","function":{"name":"f","parameters":{"a":{}}}},{"type":"x"}]}'
    ).encode()
    assert parse(Route.CHAT, body) == Ask(
        Route.CHAT,
        "small",
        stream=True,
        include_usage=True,
        choices=3,
        output_tokens_max=9,
        end_user="me",
        prompt_bytes=len(body),
    )


def test_nulls_are_absent() -> None:
    names = ("stream", "stream_options", "n", "max_tokens", "temperature", "user", "stop", "tools")
    nulls = dict.fromkeys(names)
    body = {"model": "m", "messages": [{"role": "user", "content": None}]}
    with_nulls = accepted(Route.CHAT, **body, **nulls)
    without = accepted(Route.CHAT, **body)
    assert (with_nulls.stream, with_nulls.choices, with_nulls.output_tokens_max) == (False, 1, None)
    assert without.choices == 1


@pytest.mark.parametrize("kind", ["image_url", "input_audio", "file"])
def test_media_are_seen(kind: str) -> None:
    parts = [{"type": "text", "text": "x"}, {"type": kind}]
    ask = accepted(Route.CHAT, model="m", messages=[{"role": "user", "content": parts}])
    assert ask.media


@pytest.mark.parametrize(
    ("prompt", "n", "choices"),
    [
        ("x", None, 1),
        ("", 2, 2),
        (["a"], None, 1),
        (["a", "b"], None, 2),
        (["a", "b"], 3, 6),
        ([1, 2, 3], None, 1),
        ([1] * 1000, 2, 2),
        ([[1, 2], [3]], None, 2),
    ],
)
def test_every_prompt_of_a_completion_is_answered(
    prompt: object, n: int | None, choices: int
) -> None:
    ask = accepted(Route.COMPLETIONS, model="m", prompt=prompt, n=n, max_tokens=4)
    assert (ask.choices, ask.output_tokens_max) == (choices, 4)


def test_the_facts_of_an_embedding() -> None:
    ask = accepted(
        Route.EMBEDDINGS, model="m", input=["a", "b"], encoding_format="base64", dimensions=8,
        user="me",
    )  # fmt: skip
    assert (ask.route, ask.end_user, ask.stream) == (Route.EMBEDDINGS, "me", False)
    assert ask.dimensions == 8


def test_neither_of_two_keys_counts() -> None:
    refused = parse(Route.CHAT, chat(',"model":"other"').encode())
    assert isinstance(refused, Refused)
    assert (refused.code, refused.param) == ("duplicate_key", "model")


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode), st.sampled_from(list(Route)))
def test_no_bytes_break_the_reading(body: bytes, route: Route) -> None:
    assert isinstance(parse(route, body), Ask | Refused)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.just(CANARY),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just(CANARY), inner),
    max_leaves=5,
)
FIELDS = ["model", "messages", "stream", "stream_options", "n", "max_tokens", "stop", "user", "x"]


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from(FIELDS), values))
def test_no_refusal_quotes_what_was_sent(fields: Json) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": CANARY}]} | fields
    answer = parse(Route.CHAT, json.dumps(body).encode())
    if isinstance(answer, Refused):
        assert CANARY not in answer.message + str(answer.param)


def sent(body: str, profile: Profile, name: str) -> bytes:
    ask = parse(Route.CHAT, body.encode())
    assert isinstance(ask, Ask)
    return engine_body(ask, body.encode(), profile, name)


def test_untouched_where_possible() -> None:
    body = chat(' ,  "x" : 1.50 ')
    assert sent(body, OPENAI, "m") == body.encode()


def test_only_the_name_changes() -> None:
    body = chat(',"x":[1.50, "é"],"y":{"a":1, "a":2},"z":1E2')
    out = sent(body, OPENAI, 'a"b')
    assert json.loads(out) == {**json.loads(body), "model": 'a"b'}
    assert '"x":[1.50, "é"],"y":{"a":1, "a":2},"z":1E2'.encode() in out


def test_usage_is_always_asked_of_a_stream() -> None:
    plain = json.loads(sent(chat(',"stream":true'), OPENAI, "m"))
    assert plain["stream_options"] == {"include_usage": True}
    assert set(plain) == {"model", "messages", "stream", "stream_options"}
    options = '{"include_usage":false,"include_obfuscation":true}'
    merged = json.loads(sent(chat(f',"stream":true,"stream_options":{options}'), OPENAI, "m"))
    assert merged["stream_options"] == {"include_usage": True, "include_obfuscation": True}
    null = json.loads(sent(chat(',"stream":true,"stream_options":null'), OPENAI, "m"))
    assert null["stream_options"] == {"include_usage": True}


def test_llama_cpp_always_streams_with_progress() -> None:
    for body in (chat(), chat(',"stream":false'), chat(',"stream":null,"stream_options":null')):
        out = json.loads(sent(body, LLAMA, "m"))
        assert (out["stream"], out["return_progress"]) == (True, True)
        assert out["stream_options"] == {"include_usage": True}
        assert out["timings_per_token"] is True
    assert (
        json.loads(sent(chat(',"return_progress":false'), LLAMA, "m"))["return_progress"] is False
    )


def test_engines_that_can_are_asked_to_count_as_they_go() -> None:
    for name in ("vllm", "sglang"):
        options = '{"continuous_usage_stats":false}'
        body = chat(f',"stream":true,"stream_options":{options}')
        out = json.loads(sent(body, PROFILES[name], "m"))
        assert out["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}


def test_an_engine_that_may_keep_nothing_is_told_so() -> None:
    def forgetting(body: str, profile: Profile) -> Any:
        ask = parse(Route.CHAT, body.encode())
        assert isinstance(ask, Ask)
        return json.loads(engine_body(ask, body.encode(), profile, "m", keeps=False))

    for wish in ("", ',"cache_prompt":true'):
        assert forgetting(chat(wish), LLAMA)["cache_prompt"] is False
    assert forgetting(chat(',"store":true'), OPENAI)["store"] is False
    assert set(forgetting(chat(), OPENAI)) == {"model", "messages"}
    assert "cache_prompt" not in json.loads(sent(chat(), LLAMA, "m"))


def test_an_engine_that_cannot_tell_usage_in_a_stream_is_not_asked() -> None:
    out = json.loads(sent(chat(',"stream":true'), Profile("x", usage_in_stream=False), "m"))
    assert out["stream"] is True
    assert "stream_options" not in out


def test_who_streams() -> None:
    plain, streaming = Ask(Route.CHAT, "m"), Ask(Route.CHAT, "m", stream=True)
    embedding = Ask(Route.EMBEDDINGS, "m")
    asks = (plain, streaming, embedding)
    assert [engine_streams(ask, OPENAI) for ask in asks] == [False, True, False]
    assert [engine_streams(ask, LLAMA) for ask in asks] == [True, True, False]
    assert engine_body(embedding, b"{ }", LLAMA, "m") == b"{ }"


def test_a_prompt_cache_key_is_the_session() -> None:
    body = b'{"model":"chat","messages":[{"role":"user","content":"x"}],"prompt_cache_key":"%s"}'
    ask = parse(Route.CHAT, body % b"mine")
    assert isinstance(ask, Ask)
    assert ask.session == "mine"
    refused = parse(Route.CHAT, body % (b"k" * 513))
    assert isinstance(refused, Refused)
    assert (refused.code, refused.param) == ("invalid_value", "prompt_cache_key")
