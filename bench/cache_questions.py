"""Labelled questions for the answer cache's benchmark, and their embeddings, kept from run to run.

Two questions with one label may share an answer; with different labels an answer of one is wrong
for the other. Banking77 (PolyAI, CC-BY 4.0): 13,083 questions to a bank, 77 intents. Quora's
question pairs (Quora's terms: evaluate, do not pass on) are read where a file of them lies in the
data folder, as `quora/quora_duplicate_questions.tsv`; labels are then the duplicates' closure.
"""

from __future__ import annotations

import csv
import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt

from bench.cache_embedding import embed
from bench.figures import OUT

Vectors = npt.NDArray[np.float32]
QUORA = "quora/quora_duplicate_questions.tsv"
QUESTIONS_MAX = 13_083
"""Of one set: a matrix of all similarities is kept in memory."""


@dataclass(frozen=True, slots=True)
class Questions:
    """A labelled set; ``labels`` are numbers from 0."""

    name: str
    texts: Sequence[str]
    labels: Sequence[int]

    def part(self, name: str, remainder: int, of: int = 2) -> Questions:
        """What is labelled with every ``of``-th label."""
        chosen = [n for n, label in enumerate(self.labels) if label % of == remainder]
        return Questions(name, [self.texts[n] for n in chosen], [self.labels[n] for n in chosen])


def banking77(data: Path) -> Questions:
    """Both of its files. Raises `OSError`."""
    rows: list[list[str]] = []
    for name in ("train", "test"):
        with (data / "banking77" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            rows += list(csv.reader(file))[1:]
    return _numbered("Banking77", [(text, label) for text, label in rows])


def quora(data: Path, seed: int = 7) -> Questions | None:
    """So many pairs, drawn with the seed, as hold `QUESTIONS_MAX` questions; None: no file."""
    path = data / QUORA
    if not path.is_file():
        return None
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter="\t") if len(row) == 6][1:]
    Random(seed).shuffle(rows)
    texts: dict[str, str] = {}
    same: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := same.setdefault(name, name)) != name:
            name = above
        return name

    for _, first, second, one, other, duplicate in rows:
        if len(texts) >= QUESTIONS_MAX - 2:
            break
        texts[first], texts[second] = one, other
        if duplicate == "1":
            same[root(first)] = root(second)
    return _numbered("Quora pairs", [(text, root(name)) for name, text in texts.items()])


def vectors(texts: Sequence[str]) -> Vectors:
    """all-MiniLM-L6-v2's embeddings, of length one; kept under `bench/out`."""
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    path = OUT / f"cache-vectors-{digest}.npy"
    if path.is_file():
        kept: Vectors = np.load(path)
        return kept
    made = embed(texts)
    OUT.mkdir(parents=True, exist_ok=True)
    np.save(path, made)
    return made


def _numbered(name: str, rows: Sequence[tuple[str, str]]) -> Questions:
    numbers: dict[str, int] = {}
    labels = [numbers.setdefault(label, len(numbers)) for _, label in rows]
    return Questions(name, [unicodedata.normalize("NFC", text) for text, _ in rows], labels)
