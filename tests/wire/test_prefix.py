"""Fingerprints: equal prompts of one tenant have equal ones, and nothing else has."""

from __future__ import annotations

import json

import pytest

from selvedge.fabric import Route
from selvedge.wire import BLOCK_BYTES, BLOCKS_MAX, fingerprint, prefix_salt

SALT = prefix_salt("acme", b"pepper")


def body(*texts: str, **more: object) -> bytes:
    messages = [{"role": "user", "content": text} for text in texts]
    return json.dumps({"model": "chat", "messages": messages, **more}).encode()


def prints(of: bytes, salt: bytes = SALT, model: str = "chat") -> tuple[int, ...]:
    return fingerprint(Route.CHAT, model, of, salt)


def test_a_short_prompt_has_none_and_the_partial_block_is_left_out() -> None:
    assert prints(body("x" * 500)) == ()
    assert prints(body("x" * 900, user="y" * 200)) == (), "long for other reasons"
    assert len(prints(body("x" * 2 * BLOCK_BYTES))) == 2
    assert len(prints(body("x" * 3 * BLOCK_BYTES))) == 3


def test_the_next_turn_goes_on_where_the_last_one_ended() -> None:
    first = body("a" * 3000)
    second = body("a" * 3000, "b" * 3000)
    assert prints(second)[: len(prints(first))] == prints(first)
    assert len(prints(second)) > len(prints(first))


def test_the_bracket_that_ends_a_prompt_is_not_of_it() -> None:
    """A turn that ends exactly with a block is found again by the next."""
    for size in range(BLOCK_BYTES - 40, BLOCK_BYTES + 1):
        first, second = body("a" * size), body("a" * size, "b" * 2000)
        assert prints(second)[: len(prints(first))] == prints(first)


def test_blocks_are_chained() -> None:
    one, other = body("a" * 4000), body("b" + "a" * 3999)
    assert not set(prints(one)) & set(prints(other)), "equal blocks after different ones"
    assert len(set(prints(one))) == len(prints(one)), "equal blocks in a row"


def test_tenants_models_and_tools_have_nothing_in_common() -> None:
    text = body("a" * 5000)
    others = [
        prints(text, prefix_salt("other", b"pepper")),
        prints(text, prefix_salt("acme", b"another")),
        prints(text, model="small"),
        prints(body("a" * 5000, tools=[{"type": "function", "function": {"name": "f"}}])),
    ]
    for other in others:
        assert len(other) == len(prints(text))
        assert not set(prints(text)) & set(other)


def test_what_is_beyond_the_prompt_does_not_matter() -> None:
    assert prints(body("a" * 3000)) == prints(body("a" * 3000, temperature=0.5, stream=True))


def test_completions_have_a_prompt_and_embeddings_have_none() -> None:
    text = json.dumps({"model": "chat", "prompt": "p" * 3000}).encode()
    longer = json.dumps({"model": "chat", "prompt": "p" * 3000 + "q" * 2000}).encode()
    first = fingerprint(Route.COMPLETIONS, "chat", text, SALT)
    assert fingerprint(Route.COMPLETIONS, "chat", longer, SALT)[: len(first)] == first
    assert len(first) == 2
    vectors = json.dumps({"model": "embed", "input": "p" * 3000}).encode()
    assert fingerprint(Route.EMBEDDINGS, "embed", vectors, SALT) == ()


def test_there_is_a_most() -> None:
    assert len(prints(body("a" * 200_000))) == BLOCKS_MAX


@pytest.mark.parametrize("secret", [b"", b"x", b"y" * 64, b"z" * 300])
def test_a_salt_depends_on_all_of_its_secret(secret: bytes) -> None:
    assert len(prefix_salt("acme", secret)) == 32
    assert prefix_salt("acme", secret) != prefix_salt("acme", secret + b"!")
