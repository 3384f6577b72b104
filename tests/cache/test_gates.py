"""The gates on pairs written by hand: none of different answers passes, paraphrases do."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.cache import Slots, clash, slots_of
from selvedge.cache.lexicon import lexicon

HERE = Path(__file__).parent


def pairs(name: str) -> list[tuple[str, str, str]]:
    lines = (HERE / name).read_text("utf-8").splitlines()
    return [(row["kind"], row["a"], row["b"]) for row in map(json.loads, lines)]


@pytest.mark.parametrize(
    "name", ["opposites.jsonl", "opposites_second.jsonl", "opposites_third.jsonl"]
)
def test_no_pair_with_another_answer_passes_at_any_similarity(name: str) -> None:
    wrong = [
        (a, b)
        for _, a, b in pairs(name)
        if clash(slots_of(a), slots_of(b)) is None or clash(slots_of(b), slots_of(a)) is None
    ]
    assert wrong == []


def test_the_suite_is_large_and_varied() -> None:
    every = pairs("opposites.jsonl")
    assert len({(a, b) for _, a, b in every}) == len(every) >= 390
    assert len({kind for kind, _, _ in every}) >= 18
    assert len(pairs("paraphrases.jsonl")) >= 120


def test_paraphrases_pass_both_ways() -> None:
    refused = [
        (a, b, why)
        for _, a, b in pairs("paraphrases.jsonl")
        if (why := clash(slots_of(a), slots_of(b)) or clash(slots_of(b), slots_of(a)))
    ]
    assert refused == []


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        ("Is it hot?", "Is it cold?", "'hot' is the opposite of 'cold'"),
        ("Take 5 kg", "Take 5 lb", "one says 'kilogram', the other 'lb'"),
        ("Who called John?", "Who called Jane?", "one says 'john', the other 'jane'"),
        ("Is it open?", "Is it not open?", "only one denies something"),
        ("Must I pay?", "Can I pay?", "only one asks what must be done"),
        ("Is A before B?", "Is B before A?", "'a' and 'before' change places"),
        ("How do I pay?", "¿Cómo pago?", "languages differ"),
        ("¿Cómo pago?", "¿Cómo cobro?", "says it differently, in a language that is not read"),
        ("When is it?", "Where is it?", "one asks 'when', the other 'where'"),
    ],
)
def test_it_says_why(a: str, b: str, why: str) -> None:
    assert clash(slots_of(a), slots_of(b)) == why


def test_slots_travel_and_other_versions_are_never_compared() -> None:
    slots = slots_of("Can I pay 5 euros from Paris on May 5?")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(slots), type=Slots) == slots
    assert clash(slots, msgspec.structs.replace(slots, form=slots.form + 1)) is not None


def test_longer_than_can_be_ordered_does_not_agree() -> None:
    text = "Is the red door by the blue wall? " * 30
    assert clash(slots_of(text), slots_of(text)) is None
    assert clash(slots_of(text), slots_of("Please: " + text)) == "one is too long to compare"


@given(st.text(max_size=200))
def test_any_text_is_read_and_agrees_with_itself(text: str) -> None:
    assert clash(slots_of(text), slots_of(text)) is None


@given(st.text(max_size=80), st.text(max_size=80))
def test_clashing_is_symmetric(a: str, b: str) -> None:
    one, other = slots_of(a), slots_of(b)
    assert (clash(one, other) is None) == (clash(other, one) is None)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_no_two_numbers_agree(a: int, b: int) -> None:
    texts = [slots_of(f"How do I send {n} coins to Bob?") for n in (a, b)]
    assert (clash(*texts) is None) == (a == b)


WORDS = sorted(word for word in lexicon().opposites if word.isalpha())


@given(st.sampled_from(WORDS), st.sampled_from(["Is the {} one good?", "How do I {} it?", "{}"]))
def test_no_word_agrees_with_its_opposite(word: str, frame: str) -> None:
    for other in lexicon().opposites[word]:
        if word != other:
            assert clash(slots_of(frame.format(word)), slots_of(frame.format(other))) is not None
