"""Questions for leases and their answers, as they travel: MessagePack under the MAC of a pair.

The control plane is ``~control`` in the pair, a name that no PoP can have. An answer repeats the
nonce of its question. What does not hold is refused with the reason and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from selvedge.fabric import BadTicket
from selvedge.ledger import Answer, Question
from selvedge.wire import is_sealed, payload_of, seal

TARGET: Final = "/pop/v1/leases"
CONTROL: Final = "~control"
NONCE_BYTES: Final = 16
MESSAGE_BYTES_MAX: Final = 1024 * 1024
VERSION: Final = 1
_ASKS: Final = b"selvedge/leases-asked/v1\n"
_TELLS: Final = b"selvedge/leases-told/v1\n"

_encode: Final = msgspec.msgpack.Encoder().encode
_questions: Final = msgspec.msgpack.Decoder(Question)
_answers: Final = msgspec.msgpack.Decoder(Answer)


def ask(question: Question, key: bytes) -> bytes:
    """A question to the control plane; ``key`` is of the pair."""
    return seal(_ASKS, _encode(question), key)


def read_question(written: bytes, key_of: Callable[[str], bytes | None]) -> Question:
    """A question that holds; ``key_of`` a PoP of the release, None of any other. Raises
    `BadTicket`.
    """
    if len(written) > MESSAGE_BYTES_MAX:
        raise BadTicket(f"the question exceeds {MESSAGE_BYTES_MAX} bytes")
    try:
        question = _questions.decode(payload_of(written))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadTicket("the question is not readable") from error
    key = key_of(question.pop)
    if key is None:
        raise BadTicket("the question is of no PoP in this release")
    if not is_sealed(_ASKS, written, key):
        raise BadTicket("the question's MAC does not hold")
    if question.v != VERSION:
        raise BadTicket(f"the question has version {question.v}, not {VERSION}")
    return question


def tell(answer: Answer, key: bytes) -> bytes:
    """The answer to a question that holds."""
    return seal(_TELLS, _encode(answer), key)


def read_answer(written: bytes, key: bytes, question: Question) -> Answer:
    """The answer to this question. Raises `BadTicket`."""
    if not is_sealed(_TELLS, written, key):
        raise BadTicket("the answer's MAC does not hold")
    try:
        answer = _answers.decode(payload_of(written))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadTicket("the answer is not readable") from error
    if (answer.nonce, answer.number, answer.v) != (question.nonce, question.number, VERSION):
        raise BadTicket("the answer is to something else")
    return answer
