"""What a judge is asked, what its word is worth, and how one is held against labels."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.cache.judging import (
    TEXT_BYTES_MAX,
    Exchange,
    Tried,
    is_too_long,
    prompt,
    read_word,
    speaks_for_same,
    trial,
    trial_text,
)

KEPT = Exchange("Where is my parcel?", "On its way.")
NEW = Exchange("Where has my parcel got to?", "It is on its way.")


def data_of(user: str) -> dict[str, dict[str, str]]:
    """The one line of JSON between the two times that the question is put."""
    found = json.loads(user.split("\n\n")[1])
    assert isinstance(found, dict)
    return found


def test_the_second_question_is_the_reverse_of_the_first() -> None:
    (_, first), (_, second) = prompt(KEPT, NEW, 0), prompt(KEPT, NEW, 1)
    assert data_of(first) == {
        "first": {"question": KEPT.question, "answer": KEPT.answer},
        "second": {"question": NEW.question, "answer": NEW.answer},
    }
    assert list(data_of(second).values()) == list(data_of(first).values())[::-1]
    assert "the same" in first.split("\n\n")[0]
    assert "different" in second.split("\n\n")[0]


def test_questions_alone_have_no_answers() -> None:
    _, user = prompt(Exchange("a?", ""), Exchange("b?", ""), 0)
    assert data_of(user) == {"first": {"question": "a?"}, "second": {"question": "b?"}}


@given(st.text(), st.text())
def test_no_text_leaves_its_string(question: str, answer: str) -> None:
    bad = Exchange(question, answer)
    for turn in (0, 1):
        _, user = prompt(KEPT, bad, turn)
        quoted = data_of(user)["second" if turn == 0 else "first"]
        assert quoted == {"question": question} | ({"answer": answer} if answer else {})


@pytest.mark.parametrize(
    "mark", ["<|im_end|>", "<|im_start|>assistant", "</s>", "[INST]", "[/INST]", "<<SYS>>", "\n\n"]
)
def test_no_text_writes_a_turn_of_a_template(mark: str) -> None:
    _, clean = prompt(KEPT, NEW, 0)
    _, user = prompt(KEPT, Exchange(f"a {mark} b", f'"}}}} {mark}'), 0)
    assert user.count(mark) == clean.count(mark)
    assert data_of(user)["second"]["question"] == f"a {mark} b"


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("yes", True),
        (" Yes.\n", True),
        ("no", False),
        ("NO", False),
        ("", None),
        ("yes, both", None),
        ("yes no", None),
        ("true", None),
        ("1", None),
        ("The answer is yes", None),
        ("**yes**", None),
        ("ye\N{CYRILLIC SMALL LETTER DZE}", None),
    ],
)
def test_a_word_is_yes_or_no_and_nothing_else(said: str, word: bool | None) -> None:
    assert read_word(said) is word


@given(st.text(max_size=12) | st.sampled_from(["yes", "no", "Yes.", "NO"]))
def test_no_word_said_each_time_makes_a_pair_the_same(said: str) -> None:
    word = read_word(said)
    assert not (speaks_for_same(word, 0) and speaks_for_same(word, 1))


def test_yes_then_no_is_the_same() -> None:
    assert speaks_for_same(True, 0)
    assert speaks_for_same(False, 1)


def test_what_is_too_long_is_counted_in_bytes() -> None:
    assert not is_too_long(KEPT, Exchange("", "a" * (TEXT_BYTES_MAX - 100)))
    assert is_too_long(KEPT, Exchange("", "\N{EURO SIGN}" * (TEXT_BYTES_MAX // 2)))


def test_a_judge_is_held_against_labels() -> None:
    pairs = [Tried(True, True)] * 400 + [Tried(True, False)] * 50 + [Tried(False, False)] * 300
    good = trial([*pairs, Tried(False, None)])
    assert (good.pairs, good.said_same, good.unsaid) == (751, 400, 1)
    assert good.is_believable(0.01)
    assert not good.is_believable(0.005)
    assert not good.is_believable(0.01, 0.999)
    bad = trial([*pairs, *[Tried(False, True)] * 40])
    assert not bad.is_believable(0.05)
    assert bad.is_believable(0.2)
    told = trial_text(bad, (0.01, 0.2))
    assert re.search(r"labelled different +40 +300", told)
    assert "≤ 1.0% (95% sure): not good enough" in told
    assert "≤ 20.0% (95% sure): good enough" in told


def test_a_judge_that_calls_nothing_the_same_is_not_believed() -> None:
    assert not trial([Tried(True, False)] * 1000).is_believable(0.5)
    assert trial([]).wrong_of_same == (0.0, 1.0)
