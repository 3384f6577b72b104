"""Opposites, numbers, names: wrong hits by similarity alone, and past the gates.

    python -m bench.cache_opposites [FILE ...]

Each line of a FILE is a pair, `{"kind": ..., "a": ..., "b": ...}`, of questions with different
answers, or with one answer where it says `"same": true`. Without a FILE: the pairs of the tests.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.cache_questions import vectors
from selvedge.cache import clash, slots_of

THRESHOLDS = (0.85, 0.9, 0.95)
FOLDER = Path(__file__).parent.parent / "tests" / "cache"
FILES = tuple(
    f"{name}.jsonl"
    for name in (
        "opposites",
        "opposites_second",
        "opposites_third",
        "opposites_fourth",
        "paraphrases",
    )
)

Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Couple:
    """Two questions, and whether they have one answer."""

    kind: str
    a: str
    b: str
    same: bool = False


def read_couples(path: Path) -> list[Couple]:
    """The pairs of one file."""
    return [Couple(**json.loads(line)) for line in path.read_text("utf-8").splitlines()]


def agree(couple: Couple) -> bool:
    """Whether the gates let either question have the other's answer."""
    a, b = slots_of(couple.a), slots_of(couple.b)
    return clash(a, b) is None or clash(b, a) is None


def counted(couples: Sequence[Couple], embed: Embed) -> dict[str, int]:
    """Hits of pairs, by similarity alone at each threshold, and by the gates at any similarity."""
    ones, others = embed([couple.a for couple in couples]), embed([couple.b for couple in couples])
    similar = np.einsum("ij,ij->i", ones, others)
    passing = np.array([agree(couple) for couple in couples])
    found = {"pairs": len(couples), "gates_alone": int(passing.sum())}
    for threshold in THRESHOLDS:
        found[f"at_{threshold}"] = int((similar >= threshold).sum())
        found[f"at_{threshold}_gated"] = int((passing & (similar >= threshold)).sum())
    return found


def main() -> None:
    """Print a line of JSON a file."""
    for path in map(Path, sys.argv[1:] or [str(FOLDER / name) for name in FILES]):
        print(path.name, json.dumps(counted(read_couples(path), vectors)))


if __name__ == "__main__":
    main()
