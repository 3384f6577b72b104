"""GPTCache's look-up, in a virtual environment of its own: started by `bench.cache_speed`.

It needs nothing of this repository. It is told, line by line, what to do, and answers with JSON:
`fill PATH` keeps the vectors of a file; `look PATH` looks for those of a file, one by one, as its
adapter does: search the nearest, fetch its answer, evaluate their distance.
"""

from __future__ import annotations

import json
import sys
import time

import faiss
import numpy as np
from gptcache.manager import CacheBase, VectorBase, get_data_manager
from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation

THRESHOLD = 0.8
STEP = 2_000


def main(folder: str) -> None:
    """Until its input ends."""
    faiss.omp_set_num_threads(1)
    manager = None
    judge = SearchDistanceEvaluation()
    for line in sys.stdin:
        verb, path = line.split()
        vectors = np.load(path)
        if verb == "fill":
            manager = get_data_manager(
                CacheBase("sqlite", sql_url=f"sqlite:///{folder}/sqlite.db"),
                VectorBase("faiss", dimension=vectors.shape[1], index_path=f"{folder}/faiss.index"),
                max_size=len(vectors) + 1,
            )
            for first in range(0, len(vectors), STEP):
                part = vectors[first : first + STEP]
                names = [f"question {first + at}" for at in range(len(part))]
                manager.import_data(names, names, list(part), [None] * len(part))
            print(json.dumps(len(vectors)), flush=True)
        else:
            print(json.dumps([look(manager, judge, one) for one in vectors]), flush=True)


def look(manager: object, judge: object, vector: np.ndarray) -> tuple[float, float]:
    """Milliseconds of one look-up, of the clock and of the processor."""
    cpu, began = time.thread_time(), time.perf_counter()
    for found in manager.search(vector, top_k=1):
        kept = manager.get_scalar_data(found)
        if kept is not None:
            rank = judge.evaluation({}, {"search_result": found})
            if rank >= 4.0 * THRESHOLD:
                break
    return (time.perf_counter() - began) * 1000, (time.thread_time() - cpu) * 1000


if __name__ == "__main__":
    main(sys.argv[1])
