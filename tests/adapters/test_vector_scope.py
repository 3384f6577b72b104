"""A scope's vectors: the nearest of a bucket, whatever form its index has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from selvedge.adapters import vector_index
from selvedge.adapters.scope_keys import ScopeKeys, SealKey
from selvedge.adapters.vector_file import Row, VectorFile
from selvedge.adapters.vector_scope import Member, VectorScope
from selvedge.cache import Scope

DIMS = 384
MARK = b"m" * 16
ONE, OTHER = b"1" * 16, b"2" * 16


@pytest.fixture
def key(tmp_path: Path) -> SealKey:
    return ScopeKeys(tmp_path / "keys", writes=True).ensure(Scope("a", "b", "c"), 1)


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    made = np.random.default_rng(seed).standard_normal((count, DIMS)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def entry(number: int) -> bytes:
    return number.to_bytes(12, "big")


def row(number: int, vector: NDArray[np.float32], bucket: bytes = ONE) -> Row:
    cluster = (number // 10).to_bytes(8, "big")
    return Row(entry(number), bucket, cluster, vector.astype(np.float16).tobytes())


def filled(path: Path, key: SealKey, kept: NDArray[np.float32], bucket: bytes = ONE) -> VectorScope:
    scope = VectorScope(VectorFile(path / "v.vec", key, DIMS, MARK), DIMS)
    for number, vector in enumerate(kept):
        scope.add(Member(entry(number), 1000, 5), row(number, vector, bucket))
    return scope


def nearest(scope: VectorScope, vector: NDArray[np.float32], bucket: bytes = ONE) -> int:
    found = scope.search(bucket, vector, 1)
    return int.from_bytes(found[0].entry, "big") if found else -1


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 66, 500])
def test_the_nearest_is_found(tmp_path: Path, key: SealKey, count: int) -> None:
    kept = vectors(count)
    scope = filled(tmp_path, key, kept)
    for asked in vectors(20, seed=1):
        assert nearest(scope, asked) == int(np.argmax(kept.astype(np.float16).astype("f4") @ asked))
    found = scope.search(ONE, kept[0], 5)
    assert found[0].similarity == pytest.approx(1.0, abs=1e-3)
    assert [one.similarity for one in found] == sorted((o.similarity for o in found), reverse=True)
    assert found[0].cluster == bytes(8)


def test_near_duplicates_are_told_apart(tmp_path: Path, key: SealKey) -> None:
    """Eight bits alone would not: the candidates are ranked with the vectors of the file."""
    base = vectors(1)[0]
    kept = base + 0.01 / np.sqrt(DIMS) * np.random.default_rng(2).standard_normal(
        (20, DIMS)
    ).astype(np.float32)
    kept = np.concatenate([kept / np.linalg.norm(kept, axis=1, keepdims=True), vectors(500, 3)])
    scope = filled(tmp_path, key, kept)
    halves = kept.astype(np.float16).astype(np.float32)
    for number in range(20):
        assert nearest(scope, kept[number]) == int(np.argmax(halves @ kept[number]))


def test_a_bucket_is_searched_alone(tmp_path: Path, key: SealKey) -> None:
    kept = vectors(200)
    scope = filled(tmp_path, key, kept[:100])
    for number in range(100, 200):
        scope.add(Member(entry(number), 1, 1), row(number, kept[number], OTHER))
    for number in (0, 99, 100, 199):
        own, foreign = (ONE, OTHER) if number < 100 else (OTHER, ONE)
        assert nearest(scope, kept[number], own) == number
        assert nearest(scope, kept[number], foreign) != number
    assert scope.search(b"3" * 16, kept[0], 5) == []


@pytest.mark.parametrize("count", [3, 100])
def test_what_is_dropped_is_gone_and_its_row_is_used_again(
    tmp_path: Path, key: SealKey, count: int
) -> None:
    kept = vectors(count)
    scope = filled(tmp_path, key, kept)
    scope.drop([entry(1), entry(999)])
    assert scope.entries == count - 1
    assert nearest(scope, kept[1]) != 1
    # Its row goes to another bucket: neither finds the other's.
    scope.add(Member(entry(5000), 1, 1), row(5000, kept[1], OTHER))
    assert nearest(scope, kept[1]) not in (1, 5000)
    assert nearest(scope, kept[1], OTHER) == 5000
    scope.drop([entry(number) for number in range(count)])
    assert scope.search(ONE, kept[0], 5) == []
    assert scope.entries == 1


def test_lists_find_what_a_scan_finds(
    tmp_path: Path, key: SealKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_index, "LISTS_FROM", 1000)
    centres = vectors(40, 5)
    draw = np.random.default_rng(6)
    kept = centres[draw.integers(0, 40, 3000)] + 0.5 * vectors(3000, 7)
    kept /= np.linalg.norm(kept, axis=1, keepdims=True)
    scope = filled(tmp_path, key, kept[:2000])
    (wanted,) = scope.to_grow()
    wanted.begin()
    assert scope.to_grow() == []
    # What comes and goes while the lists are made is not lost.
    for number in range(2000, 2500):
        scope.add(Member(entry(number), 1, 1), row(number, kept[number]))
    scope.drop([entry(7)])
    assert nearest(scope, kept[2400]) == 2400
    wanted.put(wanted.make())
    for number in range(2500, 3000):
        scope.add(Member(entry(number), 1, 1), row(number, kept[number]))
    assert nearest(scope, kept[7]) != 7
    asked = kept[10:3000:30]
    right = sum(nearest(scope, one) == 10 + 30 * at for at, one in enumerate(asked))
    assert right >= 0.98 * len(asked)


@pytest.mark.parametrize("lists_from", [500, 10**6])
def test_what_is_gone_leaves_memory_too(
    tmp_path: Path, key: SealKey, monkeypatch: pytest.MonkeyPatch, lists_from: int
) -> None:
    """A scope that is always full turns over, and its index does not grow for ever."""
    monkeypatch.setattr(vector_index, "LISTS_FROM", lists_from)
    kept = vectors(6000)
    scope = filled(tmp_path, key, kept[:600])
    largest = 0
    for number in range(600, 6000):
        scope.drop([entry(number - 600)])
        scope.add(Member(entry(number), 1, 1), row(number, kept[number]))
        for wanted in scope.to_grow():
            wanted.begin()
            wanted.put(wanted.make())
        (bucket,) = scope._buckets.values()
        assert not isinstance(bucket, int)
        assert bucket.main is not None
        largest = max(largest, bucket.main.size)
    assert largest <= 1300
    assert scope.entries == 600
    assert all(nearest(scope, kept[number]) == number for number in range(5400, 6000, 50))
    assert nearest(scope, kept[100]) >= 5400


def test_an_index_that_cannot_be_made_leaves_the_old_one(
    tmp_path: Path, key: SealKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vector_index, "LISTS_FROM", 100)
    kept = vectors(300)
    scope = filled(tmp_path, key, kept[:200])
    (wanted,) = scope.to_grow()
    wanted.begin()
    scope.add(Member(entry(200), 1, 1), row(200, kept[200]))
    wanted.put(None)
    assert nearest(scope, kept[200]) == 200
    assert nearest(scope, kept[100]) == 100


def test_a_scope_is_loaded_as_it_was(tmp_path: Path, key: SealKey) -> None:
    kept = vectors(200)
    scope = filled(tmp_path, key, kept)
    scope.drop([entry(3)])
    scope.close()
    again = VectorScope(VectorFile(tmp_path / "v.vec", key, DIMS, MARK), DIMS)
    # The answers' store lost 5, and has one that never got a vector.
    members = [Member(entry(n), 1000, 5) for n in range(200) if n not in (3, 5)]
    assert again.load([*members, Member(entry(900), 10, 1)]) == [entry(900)]
    assert again.entries == 199
    assert nearest(again, kept[10]) == 10
    assert nearest(again, kept[5]) != 5
    again.attach(entry(900), row(900, kept[5]))
    assert nearest(again, kept[5]) == 900


def test_uses_raise_the_value(tmp_path: Path, key: SealKey) -> None:
    scope = filled(tmp_path, key, vectors(3))
    scope.use({entry(1): 9, entry(77): 1})
    rows, values, sizes = scope.values()
    assert values.tolist() == [5 / 1000, 50 / 1000, 5 / 1000]
    assert sizes.tolist() == [1000] * 3
    assert [scope.entry_of(int(one)) for one in rows] == [entry(0), entry(1), entry(2)]


# The file


def test_a_row_opens_in_its_own_place_alone(tmp_path: Path, key: SealKey) -> None:
    scope = filled(tmp_path, key, vectors(4))
    scope.close()
    path = tmp_path / "v.vec"
    data = path.read_bytes()
    size = 832
    path.write_bytes(data[:64] + data[64 + size : 64 + 2 * size] + data[64 + size :])
    file = VectorFile(path, key, DIMS, MARK)
    assert file.half(0) is None
    assert file.half(1) is not None
    assert file.damaged == 1


@pytest.mark.parametrize("size", [0, 10, 64, 100, 64 + 832 + 5])
def test_a_file_that_was_cut_keeps_its_whole_rows(tmp_path: Path, key: SealKey, size: int) -> None:
    filled(tmp_path, key, vectors(4)).close()
    path = tmp_path / "v.vec"
    path.write_bytes(path.read_bytes()[:size])
    file = VectorFile(path, key, DIMS, MARK)
    assert len(list(file.all())) == (1 if size > 800 else 0)
    file.write(0, row(0, vectors(1)[0]))
    assert file.half(0) is not None


def test_another_embedders_file_is_begun_anew(tmp_path: Path, key: SealKey) -> None:
    filled(tmp_path, key, vectors(4)).close()
    file = VectorFile(tmp_path / "v.vec", key, DIMS, b"another embedder")
    assert list(file.all()) == []
    assert file.damaged == 1


def test_no_vector_lies_open_on_the_disk(tmp_path: Path, key: SealKey) -> None:
    kept = vectors(3)
    filled(tmp_path, key, kept).close()
    data = (tmp_path / "v.vec").read_bytes()
    assert all(one.astype(np.float16).tobytes()[:8] not in data for one in kept)
    assert (tmp_path / "v.vec").stat().st_mode & 0o777 == 0o600
