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
    "name",
    [
        "opposites.jsonl",
        "opposites_second.jsonl",
        "opposites_third.jsonl",
        "opposites_fourth.jsonl",
    ],
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
        (
            "Isn't it true that it is not open on Monday morning?",
            "Isn't it true that it is open on Monday morning?",
            "one denies more than the other",
        ),
        ("When is it?", "Where is it?", "one asks 'when', the other 'where'"),
        ("When is it?", "When and where is it?", "one asks 'when', the other 'when and where'"),
        ("Am I late?", "Are you late?", "one asks about me, the other about you"),
        ("Is this for me?", "Is this for you?", "one speaks to you, the other of me"),
        ("I pay you late", "You pay me late", "who does it to whom differs"),
        ("Who will win?", "Who has won?", "one asks of the past, the other of the future"),
        (
            "The red box is not open and the blue box is shut",
            "The red box is open and the blue box is not shut",
            "only one denies 'open'",
        ),
        (
            "I did not see it there and can not find it",
            "I did see it there and can not find it",
            "only one denies 'see'",
        ),
        (
            "My card is not in my bag and it is not in my car, so where is it",
            "My card is not in my bag and it is not in my car, so why not where is it",
            "one asks 'where', the other 'why'",
        ),
        (
            "I sent it to him when he asked and he paid",
            "I sent it to him where he asked and he paid",
            "'when' stands where the other has 'where'",
        ),
        (
            "I send it to Bob if they receive it, and they send it on to Ann",
            "I receive it to Bob if they receive it, and they send it on to Ann",
            "'receive' stands where the other has 'send'",
        ),
        (
            "They go to Rome and then on from Rome to Bonn with us",
            "They go from Rome and then on from Rome to Bonn with us",
            "'from' stands where the other has 'to'",
        ),
    ],
)
def test_it_says_why(a: str, b: str, why: str) -> None:
    assert clash(slots_of(a), slots_of(b)) == why


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("What would happen if it fails?", "What will happen if it fails?"),
        ("Isn't it late?", "Isn't it late, please?"),
        ("Who would win?", "Who will win?"),
        ("Is it between 5 and 10?", "please: is it between 5 and 10"),
        ("Do you pay me when I ask you?", "Do you pay me when I ask?"),
        ("Is there a problem with my red card?", "Is there an issue with my red card?"),
        ("Can I send you a card?", "Can I send you my card?"),
        ("Where are the flurbs?", "Where is the flurb?"),
        ("Is 10k enough?", "Is 10,000 enough?"),
        ("Is a kilo heavy?", "Is a kg heavy?"),
        ("Was twenty twenty a bad year?", "was twenty twenty a bad year"),
        ("What does pending mean?", "What is pending?"),
        ("Can I pay both Ann and Bob?", "Can I pay Ann and Bob?"),
        ("How do you open a box of red wine?", "How do I open a box of red wine?"),
        ("Is it in the U.S.?", "is it in the USA"),
        ("Is it due in Jan. e.g. 5 Sept?", "Is it due in January, 5 September?"),
    ],
)
def test_what_says_the_same_agrees(a: str, b: str) -> None:
    assert clash(slots_of(a), slots_of(b)) is None
    assert clash(slots_of(b), slots_of(a)) is None


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
