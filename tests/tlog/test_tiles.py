"""Tiles: their paths, what they prove, and that a damaged one is named and never believed."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import BadProof
from selvedge.tlog import (
    RightEdge,
    TileName,
    TileTree,
    entries_name,
    leaf_hash,
    leaf_hashes,
    partial_tiles,
    read_entries,
    root_of,
    tiles,
    tiles_between,
    verify_consistency,
    verify_inclusion,
    write_entries,
)
from tests.tlog.trees import MemoryLog, slow_path, slow_proof, slow_root


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (TileName(0, 1_234_067), "tile/0/x001/x234/067"),
        (TileName(1, 0, 17), "tile/1/000.p/17"),
        (TileName(0, 273, 112), "tile/0/273.p/112"),
        (TileName(63, 999), "tile/63/999"),
        (TileName(0, 1_000), "tile/0/x001/000"),
        (TileName(-1, 1_234_067, 255), "tile/entries/x001/x234/067.p/255"),
    ],
)
def test_paths(name: TileName, path: str) -> None:
    assert name.path == path
    assert TileName.parse(path) == name


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/67",
        "tile/00/067",
        "tile/64/067",
        "tile/0/001/067",
        "tile/0/x000/067",
        "tile/0/x001/x067",
        "tile/0/067.p/0",
        "tile/0/067.p/256",
        "tile/0/067.p/07",
        "tile/0/067/",
        "tile/data/067",
        "tile/0/../067",
        "checkpoint",
    ],
)
def test_other_ways_of_writing_a_path_are_refused(path: str) -> None:
    with pytest.raises(BadProof):
        TileName.parse(path)


def test_the_tiles_of_a_tree_of_70000_as_the_specification_counts_them() -> None:
    names = list(tiles_between(0, 70_000))
    assert sum(name.level == 0 and name.width == 256 for name in names) == 273
    assert [name.path for name in names if name.level == 0][-1] == "tile/0/273.p/112"
    assert [name.path for name in names if name.level > 0] == [
        "tile/1/000",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ]
    assert partial_tiles(70_000) == [TileName(0, 273, 112), TileName(1, 1, 17), TileName(2, 0, 1)]
    assert [name.path for name in tiles_between(0, 256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert [name.path for name in tiles_between(255, 257)] == [
        "tile/0/000",
        "tile/0/001.p/1",
        "tile/1/000.p/1",
    ]
    assert list(tiles_between(70_000, 70_000)) == []


@given(st.lists(st.integers(0, 400), max_size=4), st.randoms(use_true_random=False))
def test_every_proof_from_tiles_is_that_of_the_definition(steps: list[int], rng: Random) -> None:
    log = MemoryLog()
    for step in steps:
        log.append([rng.randbytes(rng.randrange(40)) for _ in range(step)])
    entries, tree = log.entries, log.tree()
    size = len(entries)
    assert tree.root == slow_root(entries)
    for index in {0, size // 2, size - 1, rng.randrange(size)} if size else set():
        proof = tree.inclusion_proof(index)
        leaf = leaf_hash(entries[index])
        assert proof == slow_path(index, entries)
        assert verify_inclusion(leaf, index, size, proof, root=tree.root)
        assert tree.entry(index) == entries[index]
        assert tree.find(leaf, 0, size) == entries.index(entries[index])
        assert tree.find(leaf, 0, size, checked=False) == entries.index(entries[index])
    for old in {1, size // 2, size, rng.randint(0, size)} - {0} if size else set():
        proof = tree.consistency_proof(old)
        assert proof == slow_proof(old, entries)
        old_root = tree.root_at(old)
        assert old_root == slow_root(entries[:old])
        assert verify_consistency(old, size, proof, old_root=old_root, root=tree.root)


@given(st.lists(st.integers(1, 600), min_size=1, max_size=5))
def test_an_edge_read_back_goes_on_as_the_one_that_wrote(steps: list[int]) -> None:
    log = MemoryLog()
    written: set[str] = set()
    for number, step in enumerate(steps):
        old = log.edge.size
        log.append([bytes([number])] * step)
        names = list(tiles_between(old, log.edge.size))
        written |= {name.path for name in names}
        assert written <= log.files.keys()
        log.edge = RightEdge.restore(log.edge.size, log.edge.root(), log.files.get)
    assert log.edge.root() == slow_root(log.entries)
    assert log.edge.size == len(log.entries)


def test_five_levels_without_holding_the_leaves() -> None:
    edge = RightEdge()
    block = leaf_hashes([b"same"] * 65_536)
    files = {}
    for _ in range(3):
        for tile in edge.append(block):
            files[tile.name.path] = tile.data
    files |= {tile.name.path: tile.data for tile in edge.append(block[:7]) + edge.partial()}
    tree = TileTree(edge.size, edge.root(), files.get)
    proof = tree.inclusion_proof(100_000)
    assert verify_inclusion(block[0], 100_000, edge.size, proof, root=edge.root())
    assert edge.root() == root_of(block * 3 + block[:7])
    assert tree.find(block[0], edge.size - 1, edge.size + 9) == edge.size - 1
    assert tree.find(b"\1" * 32, 0, edge.size) is None
    assert tree.leaf(5) == block[0]


def long_log() -> MemoryLog:
    log = MemoryLog()
    log.append([str(number).encode() for number in range(70_000)])
    return log


@pytest.fixture(scope="module")
def log() -> MemoryLog:
    return long_log()


@pytest.mark.parametrize(
    ("path", "proved", "named"),
    [
        ("tile/0/003", 800, "tile/0/003"),
        ("tile/1/000", 800, "tile/1/000"),
        ("tile/2/000.p/1", 800, "tile/0/273.p/112, tile/1/001.p/17, tile/2/000.p/1"),
        ("tile/0/273.p/112", 1, "tile/0/273.p/112, tile/1/001.p/17, tile/2/000.p/1"),
        ("tile/0/100", 800, None),
    ],
)
@pytest.mark.parametrize("at", [0, 31, -1])
def test_a_damaged_tile_is_named(
    log: MemoryLog, path: str, proved: int, named: str | None, at: int
) -> None:
    data = bytearray(log.files[path])
    data[at] ^= 1
    files = {**log.files, path: bytes(data)}
    tree = TileTree(70_000, log.edge.root(), files.get)
    if named is None:
        proof = tree.inclusion_proof(proved)  # not on its way
        leaf = leaf_hash(log.entries[proved])
        assert verify_inclusion(leaf, proved, 70_000, proof, root=tree.root)
    else:
        with pytest.raises(BadProof, match=r"damaged|do not give the root") as error:
            tree.inclusion_proof(proved)
        assert error.value.what == named


def test_a_leaf_that_is_only_in_a_damaged_tile_is_not_found(log: MemoryLog) -> None:
    path = "tile/0/003"
    planted = leaf_hash(b"planted")
    files = {**log.files, path: log.files[path][:64] + planted + log.files[path][96:]}
    tree = TileTree(70_000, log.edge.root(), files.get)
    for checked in (True, False):
        with pytest.raises(BadProof, match="tile/0/003: does not hash"):
            tree.find(planted, 0, 70_000, checked=checked)
    straddling = log.files[path][16:48]
    assert TileTree(70_000, log.edge.root(), log.files.get).find(straddling, 0, 70_000) is None


def test_missing_and_short_tiles_are_named(log: MemoryLog) -> None:
    root = log.edge.root()
    short = {**log.files, "tile/0/003": log.files["tile/0/003"][:-1]}
    with pytest.raises(BadProof, match="tile/0/003: has 8191 bytes and not 8192"):
        TileTree(70_000, root, short.get).inclusion_proof(800)
    gone = {path: data for path, data in log.files.items() if path != "tile/0/003"}
    with pytest.raises(BadProof, match="tile/0/003: is missing"):
        TileTree(70_000, root, gone.get).inclusion_proof(800)
    with pytest.raises(BadProof, match=r"do not give the root of the checkpoint of size 70000"):
        TileTree(70_000, b"\0" * 32, log.files.get).inclusion_proof(800)
    with pytest.raises(BadProof, match="no tile: do not give"):
        TileTree(0, b"\0" * 32, log.files.get).check()
    with pytest.raises(BadProof, match="is not in a tree of 70000 leaves"):
        TileTree(70_000, root, log.files.get).tile(0, 274)
    with pytest.raises(ValueError, match="was never of 70001"):
        TileTree(70_000, root, log.files.get).root_at(70_001)
    with pytest.raises(BadProof):
        RightEdge.restore(70_000, b"\0" * 32, log.files.get)


def test_few_tiles_are_kept_however_many_are_read(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "TILES_KEPT", 3)
    tree = log.tree()
    for index in (*range(0, 70_000, 997), 5):
        assert tree.leaf(index) == leaf_hash(log.entries[index])


def test_the_largest_tree() -> None:
    names = list(tiles_between(2**63 - 2, 2**63 - 1))
    assert [name.width for name in names] == [255]
    assert len(partial_tiles(2**63 - 1)) == 8


def test_where_a_partial_tile_is_gone_the_full_one_serves() -> None:
    log = MemoryLog()
    log.append([str(number).encode() for number in range(300)])
    size, root = log.edge.size, log.edge.root()
    log.append([b"more"] * 300)
    for path in ("tile/0/001.p/44", "tile/entries/001.p/44", "tile/1/000.p/1"):
        kept = {other: data for other, data in log.files.items() if other != path}
        if path == "tile/1/000.p/1":
            kept["tile/1/000"] = log.files["tile/1/000.p/2"] + bytes(254 * 32)
        tree = TileTree(size, root, kept.get)
        assert tree.entry(299) == b"299"
        proof = tree.inclusion_proof(299)
        assert verify_inclusion(leaf_hash(b"299"), 299, size, proof, root=root)


def test_entries_are_checked_against_the_tree(log: MemoryLog) -> None:
    path = entries_name(70_000, 800).path
    held = read_entries(log.files[path], 256)
    held[800 % 256] = b"another"
    files = {**log.files, path: write_entries(held)}
    tree = TileTree(70_000, log.edge.root(), files.get)
    assert tree.entry(801) == b"801"
    with pytest.raises(BadProof, match="entry 32 does not hash to leaf 800"):
        tree.entry(800)


def test_bundles() -> None:
    held = [b"", b"a", bytes(65_535)]
    data = write_entries(held)
    assert data[:5] == b"\0\0\0\1a"
    assert read_entries(data, 3) == held
    for broken in (data[:-1], data + b"\0", data + b"\0\2a"):
        with pytest.raises(BadProof, match="end within entry"):
            read_entries(broken, 3)
    with pytest.raises(BadProof, match="are 3 and not 2"):
        read_entries(data, 2)
    with pytest.raises(BadProof, match="larger than 65535 bytes"):
        write_entries([bytes(65_536)])
    assert write_entries([]) == b""
