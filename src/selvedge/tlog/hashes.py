"""The Merkle tree of a log: its hashes, its proofs, and how they are checked.

RFC 6962 section 2.1 defines the hashes; RFC 9162 sections 2.1.3 and 2.1.4 the proofs and the
algorithms that verify them. A tree is known by its size and root alone. A proof is a list of hashes
of subtrees: which ones depends only on sizes, so that this module names them as ranges of leaves
and leaves to others where their hashes come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
PROOF_HASHES_MAX: Final = 63
"""Of a tree of fewer than 2^63 leaves."""
SIZE_MAX: Final = 2**63 - 1

ReadNode = Callable[[int, int], bytes]
"""Height and index to the hash of the complete subtree of ``2**height`` leaves there."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one entry: SHA-256 of 0x00 and the entry."""
    return sha256(b"\0" + entry).digest()


def leaf_hashes(entries: Sequence[bytes]) -> list[bytes]:
    """The hashes of many entries, in order."""
    return [sha256(b"\0" + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node: SHA-256 of 0x01 and both children."""
    return sha256(b"\1" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, or over the roots of complete subtrees of one height.

    Pairs level by level; an odd last one goes up unchanged, which is RFC 6962's split at the
    largest power of two.
    """
    if not hashes:
        return EMPTY_ROOT
    level = list(hashes)
    while len(level) > 1:
        pairs = iter(level)
        above = [
            sha256(b"\1" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)
        ]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def range_root(low: int, high: int, node: ReadNode) -> bytes:
    """The root over leaves ``low`` to ``high``: a range as proofs name them.

    ``low`` is a multiple of the largest power of two that is not above ``high - low``: the range
    is then a row of complete subtrees, each smaller than the one before.
    """
    if low == high:
        return EMPTY_ROOT
    peaks: list[bytes] = []
    left = low
    while left < high:
        height = (high - left).bit_length() - 1
        peaks.append(node(height, left >> height))
        left += 1 << height
    root = peaks.pop()
    while peaks:
        root = node_hash(peaks.pop(), root)
    return root


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """The subtrees whose hashes prove leaf ``index`` in a tree of ``size``, the sibling first."""
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    low, high = 0, size
    found: list[tuple[int, int]] = []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            found.append((middle, high))
            high = middle
        else:
            found.append((low, middle))
            low = middle
    return found[::-1]


def consistency_ranges(old_size: int, size: int) -> list[tuple[int, int]]:
    """The subtrees whose hashes prove that the tree of ``old_size`` begins that of ``size``."""
    if not 0 <= old_size <= size:
        raise ValueError(f"a tree of {size} leaves does not go on from one of {old_size}")
    if old_size == 0:
        return []
    low, high = 0, size
    found: list[tuple[int, int]] = []
    while high != old_size:
        middle = low + _split(high - low)
        if old_size <= middle:
            found.append((middle, high))
            high = middle
        else:
            found.append((low, middle))
            low = middle
    if low:  # not the old tree itself, whose root the verifier knows
        found.append((low, high))
    return found[::-1]


def _split(leaves: int) -> int:
    """The largest power of two below ``leaves``."""
    return 1 << ((leaves - 1).bit_length() - 1)


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """The root that the proof leads to; None where it is too long or short (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return None
    position, last, root = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if position % 2 or position == last:
            root = node_hash(sibling, root)
            while not position % 2 and position:
                position >>= 1
                last >>= 1
        else:
            root = node_hash(root, sibling)
        position >>= 1
        last >>= 1
    return root if last == 0 else None


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], *, root: bytes
) -> bool:
    """Whether the tree of that size and root has that leaf hash at ``index``."""
    return root_from_inclusion(leaf, index, size, proof) == root


def verify_consistency(
    old_size: int, size: int, proof: Sequence[bytes], *, old_root: bytes, root: bytes
) -> bool:
    """Whether the old tree is the beginning of the new one (RFC 9162, 2.1.4.2)."""
    if not 0 <= old_size <= size:
        return False
    if old_size == size:
        return not proof and old_root == root
    if old_size == 0:
        return not proof and old_root == EMPTY_ROOT
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    position, last = old_size - 1, size - 1
    while position % 2:
        position >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position % 2 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position % 2 and position:
                position >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and old == old_root and new == root
