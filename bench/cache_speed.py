"""What the answer cache costs: look-ups, embedding and memory, beside GPTCache 0.1.44.

    make bench-cache ARGS="--only speed"

On one core each. A look-up is everything between a vector and the word: the nearest of the bucket,
candidates ranked again with half-precision vectors that are opened from the sealed file, questions
opened from the store, the gates, the decider. The embedding is timed apart, and so is the gates'
reading of the text, which is done while another thread embeds it. What is looked for and
among what is in `cache_vectors`; recall is against all vectors in single precision.

Figures with `cpu` are the thread's processor time: on a busy machine the others tell what waited
for the processor.

GPTCache is installed into an environment of its own (its default stores: SQLite and faiss's flat
index), gets the same vectors of the same model, and is timed in turns with ours at 100,000 entries:
its search, the fetch of the answer, and its evaluation.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.cache_questions import banking77, vectors
from bench.cache_vectors import queries, variants
from bench.figures import OUT, Figures, bar, print_table, quantile
from selvedge.adapters import (
    AnswerStore,
    BundledEmbedder,
    CacheSettings,
    KeptAnswer,
    Put,
    Question,
    default_cache_dir,
    find_data,
    open_store,
)
from selvedge.adapters.cache_process_desk import Desk, Lookup, Tools
from selvedge.adapters.cache_process_judges import Judges
from selvedge.adapters.cache_process_routes import Routes
from selvedge.adapters.cache_process_scopes import Scopes
from selvedge.adapters.vector_file import Row, VectorFile
from selvedge.adapters.vector_index import VectorIndex, return_memory
from selvedge.adapters.vector_scope import Member, VectorScope
from selvedge.cache import Asked, Scope, slots_of
from selvedge.fabric import CacheRule

GPTCACHE = "gptcache==0.1.44"
BESIDE = (GPTCACHE, "faiss-cpu==1.15.1", "sqlalchemy==2.0.36", "numpy")
BUCKET = b"b" * 16
SCOPE = Scope("bench", "chat", "eu", "p1")
RULE = CacheRule(semantic="bounded", bytes_max=2**40)
NOW = 1_700_000_000_000_000
ROUNDS = 5
QUERIES = 1_000
PUT_AT_ONCE = 500
SHORT, LONG = 14, 128
Taken = tuple[float, float]
"""Milliseconds of one look-up: of the clock, and of the processor."""


def figures(*, full: bool) -> Figures:
    """The speed part of `bench/out/cache.json`. ``full``: more queries."""
    sizes = (100_000, 1_000_000)
    found: Figures = {}
    for size in sizes:
        found.update(_in_child(size, full=full))
    found.update(_embedding())
    _show(found)
    return found


def _in_child(size: int, *, full: bool) -> Figures:
    """One size in a process of its own, so that its memory is its own."""
    argv = [sys.executable, "-m", "bench.cache_speed", "--entries", str(size)]
    done = subprocess.run(
        [*argv, *(["--full"] if full else [])], stdout=subprocess.PIPE, text=True, check=True
    )
    told: Figures = json.loads(done.stdout.splitlines()[-1])
    return told


def measure(size: int, *, full: bool) -> Figures:
    """Look-ups among so many entries."""
    texts = banking77(find_data()).texts
    bases = vectors(texts)
    count = QUERIES * (4 if full else 1)
    of, asked_for = queries(bases, size, count)
    with tempfile.TemporaryDirectory(dir=OUT) as place:
        desk = Bench(Path(place), size)
        warmed(bases, asked_for)
        small = Bench(Path(place) / "small", 10_000)
        small.fill(bases, texts, 10_000, asked_for)
        small.close()
        desk.read(texts)
        before = anonymous_bytes()
        truth = desk.fill(bases, texts, size, asked_for)
        taken = (anonymous_bytes() - before) / size
        name = f"1e{len(str(size)) - 1}"
        beside = Beside(Path(place), bases) if size == 100_000 else None
        ours: list[list[Taken]] = []
        theirs: list[list[Taken]] = []
        for number in range(ROUNDS):
            part = slice(number * count // ROUNDS, (number + 1) * count // ROUNDS)
            pairs = zip(of[part], asked_for[part], strict=True)
            ours.append([desk.look(texts[base], vector) for base, vector in pairs])
            if beside is not None:
                theirs.append(beside.look(asked_for[part]))
        found: Figures = {
            **told(f"lookup_{name}", ours),
            f"recall_at_1_{name}": round(desk.recall(asked_for, truth), 4),
            f"bytes_per_entry_{name}": round(taken, 1),
            f"store_get_{name}_ms_p99": round(desk.exact_p99(size), 4),
            f"fill_{name}_s": round(desk.fill_s, 1),
        }
        found["bytes_per_entry"] = found[f"bytes_per_entry_{name}"]
        found["recall_at_1"] = found[f"recall_at_1_{name}"]
        if beside is not None:
            beside.close()
            found.update(told("gptcache_lookup", theirs))
        desk.close()
    return found


def told(name: str, rounds: list[list[Taken]]) -> Figures:
    """Medians over rounds."""
    found: Figures = {}
    for kind, which in (("ms", 0), ("cpu_ms", 1)):
        of = [[one[which] for one in taken] for taken in rounds]
        found[f"{name}_{kind}_p50"] = round(median(median(one) for one in of), 4)
        found[f"{name}_{kind}_p99"] = round(median(quantile(one, 0.99) for one in of), 4)
    return found


class Bench:
    """A scope on the disk and in memory, as the cache process has it, without its socket."""

    def __init__(self, place: Path, size: int) -> None:
        settings = CacheSettings(place / "cache", bytes_max=size * 4096)
        self.store: AnswerStore = open_store(settings, writes=True)
        self.key = self.store.keys.ensure(SCOPE, NOW)
        file = VectorFile(place / "scope.vec", self.key, 384, b"m" * 16)
        self.scope = VectorScope(file, 384)
        scopes = Scopes(self.store, place / "vectors", None)
        scopes.put_loaded(self.key.tag, self.scope)
        routes = Routes(self.store)
        self.desk = Desk(Tools(self.store, scopes, routes, Judges(None), None), lambda: 0.5)
        self.route = routes.of(self.key.tag, "small", RULE)
        self.fill_s = 0.0
        self.slots: dict[int, bytes] = {}

    def fill(
        self,
        bases: NDArray[np.float32],
        texts: Sequence[str],
        size: int,
        asked: NDArray[np.float32],
    ) -> NDArray[np.int64]:
        """Keep the variants; for each query, the number of its nearest."""
        best = np.full(len(asked), -2.0, np.float32)
        truth = np.zeros(len(asked), np.int64)
        first = 0
        began = perf_counter()
        for of, block in variants(bases, size):
            self._put(of, block, texts, first)
            similar = asked @ block.T
            at = similar.argmax(axis=1)
            top = similar[np.arange(len(asked)), at]
            better = top > best
            best[better], truth[better] = top[better], at[better] + first
            first += len(block)
            for wanted in self.scope.to_grow():
                wanted.begin()
                wanted.put(wanted.make())
        self.fill_s = perf_counter() - began
        return truth

    def read(self, texts: Sequence[str]) -> None:
        """Read all texts as the gates do, before anything is measured."""
        for number, text in enumerate(texts):
            self.slots[number] = msgspec.msgpack.encode(slots_of(text))

    def _put(
        self, of: NDArray[np.int64], block: NDArray[np.float32], texts: Sequence[str], first: int
    ) -> None:
        puts: list[Put] = []
        for at, base in enumerate(of.tolist()):
            number = first + at
            kept = KeptAnswer(_entry(number), NOW, 10**13, "small", body=b"{}")
            slots = self.slots.get(base)
            if slots is None:
                slots = self.slots[base] = msgspec.msgpack.encode(slots_of(texts[base]))
            question = Question(texts[base], BUCKET, slots, base.to_bytes(8, "big"))
            puts.append(Put(SCOPE, _exact(number), kept, question))
        for start in range(0, len(puts), PUT_AT_ONCE):
            self.store.put_all(puts[start : start + PUT_AT_ONCE], NOW)
        halves = block.astype(np.float16)
        for at, base in enumerate(of.tolist()):
            raw = (first + at).to_bytes(12, "big")
            row = Row(raw, BUCKET, base.to_bytes(8, "big"), halves[at].tobytes())
            self.scope.add(Member(raw, 500, 10), row)

    def look(self, text: str, vector: NDArray[np.float32]) -> Taken:
        """Milliseconds of one look-up, the embedding left out."""
        lookup = Lookup(SCOPE, RULE, Asked(os.urandom(32), BUCKET, text, "small"), NOW)
        lookup = msgspec.structs.replace(lookup, slots=slots_of(text))
        cpu, began = thread_time(), perf_counter()
        self.desk.decide(self.key.tag, lookup, self.route, vector)
        return (perf_counter() - began) * 1000, (thread_time() - cpu) * 1000

    def recall(self, asked: NDArray[np.float32], truth: NDArray[np.int64]) -> float:
        """How often the first is the nearest."""
        right = 0
        for vector, number in zip(asked, truth.tolist(), strict=True):
            near = self.scope.search(BUCKET, vector, 1)
            right += bool(near) and int.from_bytes(near[0].entry, "big") == number
        return right / len(asked)

    def exact_p99(self, size: int) -> float:
        """Milliseconds of reading an identical request's answer."""
        draw = np.random.default_rng(3)
        taken = []
        for number in draw.integers(0, size, 5_000).tolist():
            exact = _exact(number)
            began = perf_counter()
            found = self.store.get(SCOPE, exact, NOW)
            taken.append((perf_counter() - began) * 1000)
            assert found is not None
        return quantile(taken, 0.99)

    def close(self) -> None:
        """Let go of the files."""
        self.scope.close()
        self.store.close()


class Beside:
    """GPTCache, in a process and an environment of its own, with the same vectors."""

    def __init__(self, place: Path, bases: NDArray[np.float32]) -> None:
        python = environment()
        folder = place / "gptcache"
        folder.mkdir()
        self._folder = folder
        self._process = subprocess.Popen(
            [str(python), str(Path(__file__).with_name("cache_gptcache.py")), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        blocks = [block for _, block in variants(bases, 100_000)]
        self._ask("fill", np.concatenate(blocks))

    def look(self, asked: NDArray[np.float32]) -> list[Taken]:
        """Milliseconds of each look-up."""
        taken = self._ask("look", asked)
        assert isinstance(taken, list)
        return [(wall, cpu) for wall, cpu in taken]

    def _ask(self, verb: str, data: NDArray[np.float32]) -> object:
        path = self._folder / f"{verb}.npy"
        np.save(path, data)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{verb} {path}\n")
        stdin.flush()
        for line in stdout:
            if line[:1] in "[0123456789":
                return json.loads(line)
        raise RuntimeError("GPTCache ended; run bench/cache_gptcache.py by hand to see why")

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def environment() -> Path:
    """The interpreter of GPTCache's environment, made the first time."""
    place = OUT / "gptcache"
    python = place / "bin" / "python"
    mark = place / ".installed"
    if not mark.is_file() or mark.read_text() != " ".join(BESIDE):
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *BESIDE], check=True)
        mark.write_text(" ".join(BESIDE))
    return python


def _embedding() -> Figures:
    """One text at a time, and sixteen together."""
    embedder = BundledEmbedder(default_cache_dir())
    found: Figures = {}
    short = "how do i set a new pin for the card i got today"
    cases = ((SHORT, [short], 100), (LONG, ["card " * 126], 20), ("batch", [short] * 16, 10))
    for name, texts, turns in cases:
        taken = []
        for _ in range(turns + 3):
            began = perf_counter()
            embedder.embed(texts)
            taken.append((perf_counter() - began) * 1000 / len(texts))
        found[f"embed_{name}_ms_p50"] = round(median(taken[3:]), 3)
    texts = banking77(find_data()).texts[:2_000]
    taken = []
    for text in texts:
        began = perf_counter()
        slots_of(text)
        taken.append((perf_counter() - began) * 1000)
    found["gates_read_ms_p50"] = round(median(taken), 4)
    found["gates_read_ms_p99"] = round(quantile(taken, 0.99), 4)
    found["embed_ms_p50"] = found[f"embed_{SHORT}_ms_p50"]
    return found


def _show(found: Figures) -> None:
    limits = {
        "lookup_1e5_ms_p99": 1.0,
        "lookup_1e6_ms_p99": 5.0,
        "embed_ms_p50": 8.0,
        f"embed_{LONG}_ms_p50": 35.0,
        "bytes_per_entry": 600.0,
    }
    rows = []
    for name, value in found.items():
        words = ""
        if name in limits:
            words = bar(float(value) <= limits[name], f"≤ {limits[name]:g}")
        elif name.startswith("recall"):
            words = bar(float(value) >= 0.98, "≥ 0.98")
        rows.append((name, f"{value}", words))
    print_table("the cache's speed, one core", rows)


def warmed(bases: NDArray[np.float32], asked: NDArray[np.float32]) -> None:
    """Do once what libraries keep memory for: it is the process's, not the entries'."""
    return_memory()
    small = VectorIndex(bases.shape[1])
    for _, block in variants(bases, 40_000):
        small.add(np.arange(small.size, small.size + len(block), dtype=np.int32), block)
        similar = asked @ block.T
    small.remade(512, np.ones(small.size, np.bool_))
    del similar, small


def anonymous_bytes() -> int:
    """Memory of this process that is no file's."""
    gc.collect()
    return_memory()
    for line in Path("/proc/self/smaps_rollup").read_text("ascii").splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/smaps_rollup has no line Anonymous")


def _entry(number: int) -> str:
    return "ce_" + number.to_bytes(12, "big").hex()


def _exact(number: int) -> bytes:
    return number.to_bytes(32, "big")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--entries", type=int, required=True)
    parser.add_argument("--full", action="store_true")
    given = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    print(json.dumps(measure(given.entries, full=given.full)))
