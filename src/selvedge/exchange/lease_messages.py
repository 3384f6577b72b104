"""Questions for leases and their answers, as they travel: MessagePack under the MAC of a pair.

The control plane is ``~control`` in the pair, a name that no PoP can have. An answer repeats the
nonce of its question. What does not hold is refused with the reason and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from selvedge.exchange.pair_messages import PairMessage
from selvedge.fabric import BadTicket
from selvedge.ledger import Answer, Question

TARGET: Final = "/pop/v1/leases"
CONTROL: Final = "~control"
NONCE_BYTES: Final = 16
MESSAGE_BYTES_MAX: Final = 1024 * 1024
VERSION: Final = 1
_ASKED: Final = PairMessage(b"selvedge/leases-asked/v1\n", Question, "question", MESSAGE_BYTES_MAX)
_TOLD: Final = PairMessage(b"selvedge/leases-told/v1\n", Answer, "answer", MESSAGE_BYTES_MAX)


def ask(question: Question, key: bytes) -> bytes:
    """A question to the control plane; ``key`` is of the pair."""
    return _ASKED.write(question, key)


def read_question(written: bytes, key_of: Callable[[str], bytes | None]) -> Question:
    """A question that holds; ``key_of`` a PoP of the release, None of any other. Raises
    `BadTicket`.
    """
    return _ASKED.read_of(written, key_of)


def tell(answer: Answer, key: bytes) -> bytes:
    """The answer to a question that holds."""
    return _TOLD.write(answer, key)


def read_answer(written: bytes, key: bytes, question: Question) -> Answer:
    """The answer to this question. Raises `BadTicket`."""
    answer = _TOLD.read(written, key)
    if (answer.nonce, answer.number, answer.v) != (question.nonce, question.number, VERSION):
        raise BadTicket("the answer is to something else")
    return answer
