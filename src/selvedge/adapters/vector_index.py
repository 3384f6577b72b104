"""The nearest of one bucket's vectors: eight bits a number in memory, in one of two forms.

Numbers of unit vectors are scaled and cut to signed bytes, so that nothing is trained: a scan of
16,000 takes 0.13 ms of one core. From `LISTS_FROM` on the codes move into lists around centroids
(faiss's inverted file), of which the `PROBES` nearest are scanned. What comes out are candidates:
who asks ranks them again with the vectors in half precision.

Positions are never taken out; who asks passes over what is gone, and has the index made again when
much of it is.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCALE: Final = 127 / 0.35
"""A number of a unit vector of 384 dimensions is hardly ever beyond 0.35: those are cut."""
LISTS_FROM: Final = 32_768
PROBES: Final = 32
_ROUNDS: Final = 8
_SAMPLE_PER_LIST: Final = 32
_SEED: Final = 7
_BLOCK: Final = 4096
_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD of <malloc.h>
_LARGE_BYTES: Final = 65_536


class VectorIndex:
    """Codes of one bucket, by position; `rows` says which row of the scope a position is."""

    def __init__(self, dims: int) -> None:
        import faiss  # noqa: PLC0415 (the cache extra, optional)
        import numpy as np  # noqa: PLC0415

        faiss.omp_set_num_threads(1)
        self._dims = dims
        self._rows: NDArray[np.int32] = np.empty(64, np.int32)
        self.size = 0
        self.lists = 0
        """How many lists it has; 0: it is scanned whole."""
        self._index: Any = _flat(dims)  # faiss has no types

    def add(self, rows: NDArray[np.int32], vectors: NDArray[np.float32]) -> None:
        """Add unit vectors behind what is there."""
        import numpy as np  # noqa: PLC0415

        end = self.size + len(rows)
        if end > len(self._rows):
            grown: NDArray[np.int32] = np.empty(end + end // 4, np.int32)
            grown[: self.size] = self._rows[: self.size]
            self._rows = grown
        self._rows[self.size : end] = rows
        if self.lists:
            self._index.add_with_ids(scaled(vectors), np.arange(self.size, end))
        else:
            self._index.add(scaled(vectors))
        self.size = end

    def search(self, vector: NDArray[np.float32], count: int) -> list[int]:
        """Rows of the nearest positions, nearest first; a row may come twice."""
        query = scaled(vector.reshape(1, -1))
        _, found = self._index.search(query, min(count, self.size))
        positions = found[0]
        rows: list[int] = self._rows[positions[positions >= 0]].tolist()
        return rows

    def rows(self) -> NDArray[np.int32]:
        """The row of each position."""
        return self._rows[: self.size]

    def remade(self, lists: int, keep: NDArray[np.bool_]) -> VectorIndex:
        """The positions to ``keep`` in so many lists (0: scanned whole).

        Takes seconds: for a thread of its own, and until it is done nothing may be added here;
        searching may go on.
        """
        made = VectorIndex(self._dims)
        if not lists:
            for positions, block in self._blocks():
                chosen = keep[positions]
                made.add(self._rows[positions[chosen]], block[chosen] / SCALE)
            return made
        made._rows = self.rows()[keep]
        made.size, made.lists = len(made._rows), lists
        made._index = self._trained(lists, min(1.0, lists * _SAMPLE_PER_LIST / made.size))
        self._fill(made, keep)
        return made

    def _fill(self, made: VectorIndex, keep: NDArray[np.bool_]) -> None:
        """Sort what is kept into lists that are exactly as long as they must be: lists that grow
        by doubling would take half as much memory again.
        """
        import faiss  # noqa: PLC0415
        import numpy as np  # noqa: PLC0415

        places = keep.cumsum() - 1
        of: NDArray[np.int32] = np.empty(made.size, np.int32)
        for positions, block in self._blocks():
            chosen = keep[positions]
            if chosen.any():
                _, found = made._index.quantizer.search(block[chosen], 1)
                of[places[positions[chosen]]] = found[:, 0]
        inside = made._index.invlists
        for number, count in enumerate(np.bincount(of, minlength=made.lists).tolist()):
            inside.resize(number, count)
        filled = [0] * made.lists
        for positions, block in self._blocks():
            chosen = keep[positions]
            if not chosen.any():
                continue
            ids = places[positions[chosen]].astype(np.int64)
            codes = (block[chosen] + 128).astype(np.uint8)
            order = np.argsort(of[ids], kind="stable")
            ids, codes = ids[order], codes[order]
            numbers, firsts = np.unique(of[ids], return_index=True)
            ends = [*firsts[1:].tolist(), len(ids)]
            for number, first, end in zip(numbers.tolist(), firsts.tolist(), ends, strict=True):
                part, code = ids[first:end].copy(), codes[first:end].copy()
                at, count = filled[number], end - first
                ptr = faiss.swig_ptr
                inside.update_entries(number, at, count, ptr(part), ptr(code))
                filled[number] += count
        made._index.ntotal = made.size

    def _trained(self, lists: int, part: float) -> Any:  # faiss has no types
        import faiss  # noqa: PLC0415
        import numpy as np  # noqa: PLC0415

        centroids = faiss.IndexFlatIP(self._dims)
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        metric = faiss.METRIC_INNER_PRODUCT
        index = faiss.IndexIVFScalarQuantizer(centroids, self._dims, lists, kind, metric, False)
        index.cp.niter = _ROUNDS
        index.cp.min_points_per_centroid = 1
        index.cp.seed = _SEED
        index.nprobe = min(PROBES, lists)
        draw = np.random.default_rng(_SEED)
        index.train(
            np.concatenate([block[draw.random(len(at)) < part] for at, block in self._blocks()])
        )
        return index

    def take(self, other: VectorIndex) -> None:
        """Add all of another."""
        for positions, block in other._blocks():
            self.add(other._rows[positions], block / SCALE)

    def _blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Positions and what is kept of their vectors, some thousands at a time."""
        import faiss  # noqa: PLC0415
        import numpy as np  # noqa: PLC0415

        if not self.lists:
            for first in range(0, self.size, _BLOCK):
                count = min(_BLOCK, self.size - first)
                yield np.arange(first, first + count), self._index.reconstruct_n(first, count)
            return
        inside = self._index.invlists
        for number in range(self.lists):
            count = inside.list_size(number)
            if count:
                codes = faiss.rev_swig_ptr(inside.get_codes(number), count * self._dims)
                ids = faiss.rev_swig_ptr(inside.get_ids(number), count)
                block = codes.reshape(count, self._dims).astype(np.float32) - 128
                yield ids.astype(np.int64), block


def return_memory() -> None:
    """Have the C library give back what is free, and large pieces as soon as they are.

    Without it, memory that was used once and lies in the unused half of a list counts as taken.
    Does nothing where the library is another than glibc.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt"):
        libc.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.malloc_trim(0)


def lists_for(size: int) -> int:
    """How many lists so many vectors want; 0: a scan is as good."""
    if size < LISTS_FROM:
        return 0
    lists = 512
    while lists < 4096 and lists * 512 < size:
        lists *= 2
    return lists


def scaled(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """As the codes keep them."""
    import numpy as np  # noqa: PLC0415

    cut: NDArray[np.float32] = np.clip(np.rint(vectors * SCALE), -127, 127).astype(np.float32)
    return cut


def _flat(dims: int) -> Any:  # faiss has no types
    import faiss  # noqa: PLC0415

    kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
    return faiss.IndexScalarQuantizer(dims, kind, faiss.METRIC_INNER_PRODUCT)
