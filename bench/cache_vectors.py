"""A million vectors with the shape of questions: real embeddings, and variants around them.

Each of Banking77's 13,083 questions is a base. A variant is the base turned by an angle towards a
direction that is half the difference of two other real embeddings (so that variants differ as
sentences do) and half isotropic. Of the variants a fifth are near duplicates (cosine to the base
0.97 to 0.999), the others lie between 0.80 and 0.97. Of the queries one half are made from bases in
the same way, the other half from kept variants, at 0.90 to 0.999: the near duplicates among which
codes of eight bits alone lose the nearest.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
BLOCK = 10_000
SEED = 20


def variants(bases: Vectors, count: int) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    """Blocks of unit vectors, and which base each is of; the same ones each time."""
    draw = np.random.default_rng(SEED)
    for first in range(0, count, BLOCK):
        size = min(BLOCK, count - first)
        of = draw.integers(0, len(bases), size)
        near = draw.random(size) < 0.2
        cosines = np.where(near, draw.uniform(0.97, 0.999, size), draw.uniform(0.80, 0.97, size))
        yield of, turned(bases[of], bases, cosines, draw)


def queries(bases: Vectors, count: int, size: int) -> tuple[NDArray[np.int64], Vectors]:
    """Unit vectors to look for among ``count`` variants, and which base each is of."""
    draw = np.random.default_rng(SEED + 1)
    of, block = next(variants(bases, min(count, BLOCK)))
    chosen = draw.choice(len(block), size // 2, replace=False)
    by_base = draw.integers(0, len(bases), size - size // 2)
    cosines = draw.uniform(0.90, 0.999, size // 2), draw.uniform(0.80, 0.97, size - size // 2)
    made = [
        turned(block[chosen], bases, cosines[0], draw),
        turned(bases[by_base], bases, cosines[1], draw),
    ]
    order = draw.permutation(size)
    return np.concatenate([of[chosen], by_base])[order], np.concatenate(made)[order]


def turned(
    start: Vectors, bases: Vectors, cosines: NDArray[np.float64], draw: np.random.Generator
) -> Vectors:
    """Each turned away from itself so that this cosine is left."""
    size = len(start)
    one, other = bases[draw.integers(0, len(bases), (2, size))]
    free = draw.standard_normal(start.shape, np.float32)
    away = unit(one - other + 1e-9) + unit(free)
    away -= np.sum(away * start, axis=1, keepdims=True) * start
    angle = cosines[:, None].astype(np.float32)
    return unit(angle * start + np.sqrt(1 - angle * angle) * unit(away))


def unit(vectors: Vectors) -> Vectors:
    """With length one."""
    made: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return made.astype(np.float32)
