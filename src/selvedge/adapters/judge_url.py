"""A model asked at a URL whether two answers say the same: to hold it against labels, by hand.

The cache's own judge goes another way, through a worker and the tenant's rule; the words that are
asked, and what counts as an answer, are the same.
"""

from __future__ import annotations

import http.client
from collections import Counter
from typing import Final
from urllib.parse import urlsplit

import msgspec

from selvedge.cache import judging
from selvedge.fabric import SelvedgeError

TIMEOUT_S: Final = 60.0
_ANSWER_BYTES_MAX: Final = 2**20
_TURNS: Final = 2


class JudgeFailed(SelvedgeError):
    """The engine cannot be asked."""


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Answer(msgspec.Struct):
    choices: list[_Choice]


_answers: Final = msgspec.json.Decoder(_Answer)


class UrlJudge:
    """An engine with ``POST /v1/chat/completions``; ``url`` is its base, ending in ``/v1``."""

    def __init__(self, url: str, model: str, key: str | None = None) -> None:
        self.counts: Counter[str] = Counter()
        """Pairs by how they ended: same, different, contradicted, unclear, long; and questions."""
        self._parts = urlsplit(url)
        self._model = model
        self._key = key

    def says_same(self, kept: judging.Exchange, new: judging.Exchange) -> bool | None:
        """As the cache's judge decides. Raises `JudgeFailed`."""
        if judging.is_too_long(kept, new):
            self.counts["long"] += 1
            return None
        for turn in range(_TURNS):
            word = judging.read_word(self._ask(*judging.prompt(kept, new, turn)))
            if not judging.speaks_for_same(word, turn):
                how = "unclear" if word is None else "contradicted" if turn else "different"
                self.counts[how] += 1
                return False
        self.counts["same"] += 1
        return True

    def _ask(self, system: str, user: str) -> str:
        messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
        body = msgspec.json.encode(
            {
                "model": self._model,
                "messages": messages,
                "temperature": 0,
                "max_tokens": judging.WORD_TOKENS_MAX,
            }
        )
        self.counts["questions"] += 1
        try:
            answer = _answers.decode(self._post(body))
        except (OSError, http.client.HTTPException, msgspec.MsgspecError) as error:
            raise JudgeFailed(f"the judge at {self._parts.netloc} failed: {error}") from error
        return (answer.choices[0].message.content or "") if answer.choices else ""

    def _post(self, body: bytes) -> bytes:
        parts = self._parts
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        headers = {"content-type": "application/json"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        try:
            path = f"{parts.path.rstrip('/')}/chat/completions"
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            data = answer.read(_ANSWER_BYTES_MAX)
            if answer.status != 200:
                words = f"the judge at {parts.netloc} answered {answer.status}; "
                raise JudgeFailed(words + "is the model's name right, and its key?")
            return data
        finally:
            connection.close()
