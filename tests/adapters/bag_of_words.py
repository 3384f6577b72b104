"""An embedder for tests: a direction for each word, and a text is the sum of its words'."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selvedge.adapters import EmbedderFailed

DIMS = 384


class BagOfWords:
    """The same text has the same vector anywhere. It fails, or waits, as a test says."""

    def __init__(self, mark: bytes = b"bag of words 001") -> None:
        self.dims = DIMS
        self.mark = mark
        self.fails = False
        self.may_go = threading.Event()
        self.may_go.set()
        self.calls: list[list[str]] = []

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls.append(list(texts))
        self.may_go.wait(30)
        if self.fails:
            raise EmbedderFailed("told to fail")
        return np.stack([_vector(text) for text in texts])


def _vector(text: str) -> NDArray[np.float32]:
    total = np.zeros(DIMS, np.float32)
    for word in text.lower().split():
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        total += np.random.default_rng(seed).standard_normal(DIMS).astype(np.float32)
    return total / np.float32(np.linalg.norm(total))
