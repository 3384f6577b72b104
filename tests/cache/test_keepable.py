"""What is kept for others: the help desk's bread, and not what is one asker's or one day's."""

from __future__ import annotations

import pytest

from selvedge.cache import why_not_kept
from selvedge.cache.keepable import READ_CHARS_MAX

ANSWER = "Open the settings, choose the card, and press the button."


@pytest.mark.parametrize(
    "question",
    [
        "How do I change my password?",
        "What is my password for?",
        "Where is my order?",
        "When will my card arrive?",
        "Why was my payment declined?",
        "How do I update my phone number?",
        "My PIN is not working",
        "I can't remember what my password is",
        "What is a tracking number?",
        "How do I fill out form 1040?",
        "What does error 404 mean?",
        "How do I check my balance?",
        "What is the capital of France?",
        "Can I change the name on my card?",
        "How do I use the weather API?",
        "How do I get the current time in Python?",
        "Is 192.168.0.1 private?",
        "What happened on 11 September 2001?",
        "How many days lie between 2024-01-01 and 2024-02-01?",
        "How do I generate a random number in Python?",
        "How do I open a current account?",
        "How do I create a password?",
        "my card is not working now",
        "I am 100% sure it was taken",
        "Do I need a new one?",
        "How do I book a ticket to Rome?",
        "¿Cómo cambio mi PIN?",
    ],
)
def test_everybodys_questions_are_kept(question: str) -> None:
    assert why_not_kept(question, ANSWER, "stop") is None
    assert why_not_kept(question, "", "tool_calls") is None


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("Where is my order 12345?", "personal"),
        ("booking reference ABC123", "personal"),
        ("My card ending in 4242 is blocked", "personal"),
        ("what is my balance?", "personal"),
        ("What's my account number?", "personal"),
        ("Tell me my order status", "personal"),
        ("how much do I owe", "personal"),
        ("Am I eligible for the discount?", "personal"),
        ("My email is bob@example.com", "personal"),
        ("call me at +1 415 555 0100", "personal"),
        ("My name is Bob", "personal"),
        ("I am 34 years old and want insurance", "personal"),
        ("IBAN DE89 3704 0044 0532 0130 00", "personal"),
        ("My card 4111 1111 1111 1111 was declined", "personal"),
        ("as we discussed, please send it", "personal"),
        ("What did I say before?", "personal"),
        ("You said earlier that it is free", "personal"),
        ("my last message was wrong", "personal"),
        ("What is the weather in Oslo?", "time-bound"),
        ("What time is it?", "time-bound"),
        ("What's on today?", "time-bound"),
        ("what's the latest version of Python?", "time-bound"),
        ("Who is the current president?", "time-bound"),
        ("What is the price of bitcoin?", "time-bound"),
        ("What is the exchange rate", "time-bound"),
        ("Is the shop open now?", "time-bound"),
        ("¿Qué hora es?", "time-bound"),
        ("Wie ist das Wetter heute?", "time-bound"),
        ("give me a random number", "of chance"),
        ("Generate a strong password", "of chance"),
        ("Tell me another joke", "of chance"),
    ],
)
def test_others_are_not(question: str, why: str) -> None:
    assert (why_not_kept(question, ANSWER, "stop") or "").startswith(why)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("Your order shipped on Monday.", "personal"),
        ("Hi John, thanks for asking.", "personal"),
        ("Dear Ms Smith,\nsee below.", "personal"),
        ("Your balance is $20.", "personal"),
        ("I have cancelled your order.", "personal"),
        ("I can see that you paid twice.", "personal"),
        ("According to our records it was sent.", "personal"),
        ("As of today, it costs 5.", "time-bound"),
        ("The current temperature is 20.", "time-bound"),
        ("It's currently 14:05.", "time-bound"),
        ("Hi there! You can change it in the settings.", None),
        ("Your card will arrive within 5 days of ordering.", None),
        ("Write to help@example.com or call +1 800 555 0199.", None),
        ("We currently support 25 currencies.", None),
        ("Once your order has been shipped you can return it.", None),
        ("Hello! Sure.", None),
    ],
)
def test_what_an_answer_tells(answer: str, why: str | None) -> None:
    found = why_not_kept("How do I do it?", answer, "stop")
    assert found is None if why is None else (found or "").startswith(why)


@pytest.mark.parametrize("reason", ["length", "content_filter", "error", "", None])
def test_only_what_is_complete(reason: str | None) -> None:
    assert (why_not_kept("How?", ANSWER, reason) or "").startswith("incomplete")


def test_the_end_of_a_long_answer_is_read_too() -> None:
    long = "So it goes. " * READ_CHARS_MAX
    assert why_not_kept("How?", long, "stop") is None
    assert why_not_kept("How?", long + " Your balance is $20.", "stop") is not None
