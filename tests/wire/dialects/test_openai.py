"""OpenAI's own form: where it goes, with which key, and what its headers tell of limits."""

from __future__ import annotations

import json

import pytest

from selvedge.fabric import Ask, Refused, Route
from selvedge.wire import DIALECTS, PROFILES, Order, Outgoing
from selvedge.wire.dialects.dialect import Level, Limits
from selvedge.wire.dialects.rate_limits import RESET_US_MAX, read_duration_us, read_time_us
from selvedge.wire.http1_head import Headers
from tests.wire.dialects.orders import NOW_US, body_of, order_of, outgoing

EMBEDDING = b'{"model":"chat","input":"a"}'


def embedding(profile: str, base: str, **options: str) -> Outgoing | Refused:
    ask = Ask(Route.EMBEDDINGS, "chat")
    made = Order(
        ask, EMBEDDING, "their/s", PROFILES[profile], NOW_US, "k", base, "h", options=options
    )
    return DIALECTS[PROFILES[profile].dialect].request(made)


def test_openai() -> None:
    made = outgoing("openai-api", provider={"zone": "eea"}, zone="eea", stream=True, seed=5)
    assert made.target == "/v1/chat/completions"
    assert made.headers == (("authorization", "Bearer secret"),)
    body = json.loads(made.body)
    assert body["seed"] == 5
    assert body["stream_options"] == {"include_usage": True}
    assert not {"provider", "zone"} & set(body)
    made_without = DIALECTS["openai"].request(order_of("openai", secret=""))
    assert isinstance(made_without, Outgoing)
    assert made_without.headers == ()


def test_nothing_is_kept_where_nothing_may_be() -> None:
    made = order_of("azure", store=True)
    told = DIALECTS["azure"].request(
        Order(made.ask, made.body, "n", PROFILES["azure"], NOW_US, keeps=False)
    )
    assert isinstance(told, Outgoing)
    assert json.loads(told.body)["store"] is False
    assert told.headers == ()


@pytest.mark.parametrize(
    ("base", "options", "target"),
    [
        ("", {}, "/openai/deployments/their%2Fs/embeddings?api-version=2024-10-21"),
        (
            "/proxied",
            {"api-version": "2025-01-01-preview"},
            "/proxied/openai/deployments/their%2Fs/embeddings?api-version=2025-01-01-preview",
        ),
        ("/openai", {}, "/openai/v1/embeddings"),
        ("/openai", {"api-version": "preview"}, "/openai/v1/embeddings?api-version=preview"),
    ],
)
def test_azure_puts_it_elsewhere(base: str, options: dict[str, str], target: str) -> None:
    made = embedding("azure", base, **options)
    assert isinstance(made, Outgoing)
    assert (made.target, made.headers) == (target, (("api-key", "k"),))
    assert json.loads(made.body)["model"] == "their/s"


@pytest.mark.parametrize("profile", ["azure", "openai-api"])
def test_who_does_not_rerank(profile: str) -> None:
    body = b'{"model":"r","query":"q","documents":["d"]}'
    made = Order(Ask(Route.RERANK, "r"), body, "r", PROFILES[profile], NOW_US)
    refused = DIALECTS[PROFILES[profile].dialect].request(made)
    assert isinstance(refused, Refused)
    assert refused.code == "unsupported_route"


@pytest.mark.parametrize("profile", ["anthropic", "bedrock", "gemini", "vertex"])
def test_who_only_chats(profile: str) -> None:
    refused = embedding(profile, "")
    assert isinstance(refused, Refused)
    assert refused.code == "unsupported_route"


def test_the_answer_is_in_openais_form_already() -> None:
    assert DIALECTS["azure"].translator(Ask(Route.CHAT, "chat"), NOW_US) is None
    assert body_of("openai-api")["model"] == "theirs"
    assert DIALECTS["azure"].refusal(429, Headers([]), b"{}").code == "no_engine_available"


def test_limits_that_headers_tell() -> None:
    told = DIALECTS["openai"].limits(
        Headers(
            [
                (b"x-ratelimit-limit-requests", b"100"),
                (b"x-ratelimit-remaining-requests", b"99"),
                (b"x-ratelimit-reset-requests", b"1m30.5s"),
                (b"x-ratelimit-remaining-tokens", b"7"),
                (b"retry-after-ms", b"250"),
            ]
        ),
        b"",
        NOW_US,
    )
    requests = Level(100, 99, NOW_US + 90_500_000)
    assert told == Limits(requests, Level(remaining=7), retry_after_ms=250)
    assert (
        DIALECTS["openai"].limits(Headers([(b"x-ratelimit-limit-tokens", b"-1")]), b"", 0) is None
    )


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("12ms", 12_000),
        ("6m0s", 360_000_000),
        ("1h36m16.107s", 5_776_107_000),
        ("22s", 22_000_000),
        ("0.5", 500_000),
        ("9", 9_000_000),
        ("1us500ns", 1),
        ("999999999h", RESET_US_MAX),
        ("", None),
        ("soon", None),
        ("-5s", None),
        ("5s!", None),
    ],
)
def test_durations(text: str, us: int | None) -> None:
    assert read_duration_us(text) == us


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000),
        ("1970-01-01T01:00:01+01:00", 1_000_000),
        ("1970-01-01T00:00:01", None),
        ("never", None),
        ("", None),
    ],
)
def test_times(text: str, us: int | None) -> None:
    assert read_time_us(text) == us
