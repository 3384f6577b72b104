"""What trees, proofs and bundles cost: appending, proving from tiles on disk, verifying.

``python -m bench.log_proofs`` prints them. Figures are of one core. Appending is CPU time, the
least of several runs, verifying its median; proving is told by the clock and in CPU time, with the
files warm in the page cache and every tile read, hashed and checked anew for each proof.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import msgspec

from selvedge.tlog import (
    RightEdge,
    TileName,
    TileTree,
    leaf_hash,
    leaf_hashes,
    partial_tiles,
    verify_bundle,
    verify_inclusion,
    write_entries,
)
from tests.tlog.worlds import World

LEAVES = 10_000_000
BATCH = 20_000
"""Leaves between two checkpoints: a second's at the least rate that is asked for."""
PROOFS = 300
ReadFile = Callable[[str], bytes | None]


class Proved(msgspec.Struct, frozen=True):
    """Milliseconds for one inclusion proof, the tiles it read, and a leaf found by its time."""

    leaves: int
    prove_ms: float
    prove_ms_p99: float
    prove_cpu_ms_p99: float
    tiles_read: float
    find_ms: float | None = None


def append_us(leaves: int = 1_000_000, runs: int = 3) -> float:
    """CPU microseconds a leaf: its hash, tiles, and each `BATCH` the partial tiles and the root."""
    entries = [hashlib.sha256(bytes([n % 256])).digest() for n in range(BATCH)]
    best = float("inf")
    for _ in range(runs):
        edge = RightEdge()
        start = time.process_time()
        for _ in range(leaves // BATCH):
            edge.append(leaf_hashes(entries))
            edge.partial()
            edge.root()
        best = min(best, (time.process_time() - start) / edge.size * 1e6)
    return best


def build_log(folder: Path, leaves: int = LEAVES) -> bytes:
    """A log of that many distinct entries on disk, tiles and bundles, not synced; its root."""
    edge = RightEdge()
    made: set[Path] = set()

    def write(name: TileName, data: bytes) -> None:
        path = folder / name.path
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.write_bytes(data)

    for start in range(0, leaves, 65_536):
        entries = [entry_of(n) for n in range(start, min(leaves, start + 65_536))]
        for tile in edge.append(leaf_hashes(entries)):
            write(*tile)
        for at in range(0, len(entries), 256):
            part = entries[at : at + 256]
            write(TileName(-1, (start + at) // 256, len(part)), write_entries(part))
    for tile in edge.partial():
        write(*tile)
    return edge.root()


def entry_of(number: int) -> bytes:
    """The entry at an index."""
    return hashlib.sha256(b"entry %d" % number).digest()


def prove(read: ReadFile, leaves: int, root: bytes, entry: Callable[[int], bytes]) -> Proved:
    """Prove random leaves, each by a tree that has read nothing yet; each proof is verified."""
    rng, took, worked, reads = Random(5), [], [], 0

    def counted(path: str) -> bytes | None:
        nonlocal reads
        reads += 1
        return read(path)

    for _ in range(PROOFS):
        index = rng.randrange(leaves)
        start, work = time.perf_counter(), time.process_time()
        proof = TileTree(leaves, root, counted).inclusion_proof(index)
        worked.append((time.process_time() - work) * 1e3)
        took.append((time.perf_counter() - start) * 1e3)
        assert verify_inclusion(leaf_hash(entry(index)), index, leaves, proof, root=root)
    took.sort()
    worked.sort()
    return Proved(
        leaves=leaves,
        prove_ms=statistics.median(took),
        prove_ms_p99=took[len(took) * 99 // 100],
        prove_cpu_ms_p99=worked[len(worked) * 99 // 100],
        tiles_read=reads / PROOFS,
    )


def find_ms(read: ReadFile, leaves: int, root: bytes, window: int = 10 * BATCH) -> float:
    """Look for a leaf at the end of a window: the worst of ten seconds, where times are kept."""
    took = []
    for start in range(0, leaves - window, leaves // 5):
        wanted = leaf_hash(entry_of(start + window - 1))
        begun = time.perf_counter()
        assert (
            TileTree(leaves, root, read).find(wanted, start, leaves, checked=False)
            == start + window - 1
        )
        took.append((time.perf_counter() - begun) * 1e3)
    return statistics.median(took)


def verify_ms(runs: int = 200) -> float:
    """CPU milliseconds to verify a bundle with three witnesses and the operator's list of keys."""
    world = World()
    bundle, trust = world.prove("sg", 17), world.trust()
    took = []
    for _ in range(runs):
        start = time.process_time()
        assert verify_bundle(bundle, trust)[-1].good
        took.append((time.process_time() - start) * 1e3)
    return statistics.median(took)


def prove_even(leaves: int, folder: Path) -> Proved:
    """The same for a log of one entry over and over: a file for each kind of tile stands for all.

    The files that are read, their number, size and hashing are those of a log of that size.
    """
    kinds: dict[str, bytes] = {}
    full = leaf_hash(b"same")
    node = full
    for level in range(8):
        kinds[f"{level}"] = node * 256
        width = (leaves >> (8 * level)) % 256
        if width:
            kinds[f"{level}.p"] = node * width
        edge = RightEdge()
        edge.append([node] * 256)
        node = edge.root()
    for kind, data in kinds.items():
        (folder / kind).write_bytes(data)

    def read(path: str) -> bytes:
        name = TileName.parse(path)
        return (folder / f"{name.level}{'.p' if name.width < 256 else ''}").read_bytes()

    edge = RightEdge()
    edge._levels = [  # the state that so many appends would leave
        [kinds[f"{level}"][:32]] * ((leaves >> (8 * level)) % 256) for level in range(8)
    ]
    edge.size = leaves
    assert [tile.name for tile in edge.partial()] == partial_tiles(leaves)
    return prove(read, leaves, edge.root(), lambda _: b"same")


def main() -> None:
    """Print all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--leaves", type=int, default=LEAVES)
    parser.add_argument("--folder", type=Path, default=None, help="keep the log there")
    asked = parser.parse_args()
    print(f"append_us {append_us():.2f}")
    print(f"verify_ms {verify_ms():.2f}")
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="log-proofs-"))
    try:
        start = time.perf_counter()
        root = build_log(folder / "log", asked.leaves)
        print(f"built {asked.leaves:,} leaves in {time.perf_counter() - start:.0f} s")

        def read(path: str) -> bytes | None:
            try:
                return (folder / "log" / path).read_bytes()
            except FileNotFoundError:
                return None

        proved = prove(read, asked.leaves, root, entry_of)
        print(msgspec.structs.replace(proved, find_ms=find_ms(read, asked.leaves, root)))
        (folder / "even").mkdir(exist_ok=True)
        print(prove_even(10 * asked.leaves, folder / "even"))
    finally:
        if asked.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
