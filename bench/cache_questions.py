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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt

from bench.figures import OUT
from selvedge.adapters import default_cache_dir
from selvedge.adapters.embedder import BundledEmbedder

Vectors = npt.NDArray[np.float32]
QUORA = "quora/quora_duplicate_questions.tsv"
BATCH = 32
QUESTIONS_MAX = 13_083
"""Of one set: a matrix of all similarities is kept in memory."""


@dataclass(frozen=True, slots=True)
class Questions:
    """A labelled set; ``labels`` are numbers from 0."""

    name: str
    texts: Sequence[str]
    labels: Sequence[int]

    def part(self, name: str, belongs: Callable[[int], bool]) -> Questions:
        """What is labelled with labels that belong to it."""
        chosen = [n for n, label in enumerate(self.labels) if belongs(label)]
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
    """all-MiniLM-L6-v2's embeddings, of length one; kept under `bench/out`, text by text."""
    path = OUT / "cache-vectors.npz"
    known: dict[str, Vectors] = {}
    if path.is_file():
        with np.load(path) as kept:
            known = dict(zip(kept["names"].tolist(), kept["vectors"], strict=True))
    names = [hashlib.sha256(text.encode()).hexdigest()[:24] for text in texts]
    new = {name: text for name, text in zip(names, texts, strict=True) if name not in known}
    if new:
        known.update(zip(new, _embedded(list(new.values())), strict=True))
        OUT.mkdir(parents=True, exist_ok=True)
        np.savez(path, names=np.array(list(known)), vectors=np.stack(list(known.values())))
    return np.stack([known[name] for name in names])


def _embedded(texts: Sequence[str]) -> Vectors:
    """By the product's own embedder, alike lengths together."""
    embedder = BundledEmbedder(default_cache_dir())
    made = np.zeros((len(texts), embedder.dims), np.float32)
    order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
    for first in range(0, len(order), BATCH):
        batch = order[first : first + BATCH]
        made[batch] = embedder.embed([texts[number] for number in batch])
    return made


def _numbered(name: str, rows: Sequence[tuple[str, str]]) -> Questions:
    numbers: dict[str, int] = {}
    labels = [numbers.setdefault(label, len(numbers)) for _, label in rows]
    return Questions(name, [unicodedata.normalize("NFC", text) for text, _ in rows], labels)
