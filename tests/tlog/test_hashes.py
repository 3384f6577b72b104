"""Hashes and proofs against public vectors and against the definition written out slowly."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.tlog import (
    EMPTY_ROOT,
    leaf_hash,
    leaf_hashes,
    node_hash,
    root_from_inclusion,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from selvedge.tlog.hashes import consistency_ranges, inclusion_ranges, range_root
from tests.tlog.trees import slow_path, slow_proof, slow_root

# The vectors of Certificate Transparency's own test suites: eight entries, their roots, proofs.
ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
# A leaf of a real certificate log, from the same suites: its hash, its place, and the audit path.
CT_LEAF = "7a395c866d5ecdb0cccb623e011dbc392cd348d1d1d72776174e127a24b09c78"
CT_INDEX, CT_SIZE = 848_049, 3_630_887
CT_ROOT = "78316a05c9bcf14a3a4548f5b854a9adfcd46a4c034401b3ce7eb7ac2f1d0ecb"
CT_PATH = [
    "1a208aeebcd1b39fe2de247ee8db9454e1e93a312d206b87f6ca9cc6ec6f1ddd",
    "0a1b78b383f580856f433c01a5741e160d451c185910027f6cc9f828687a40c4",
    "3d1745789bc63f2da15850de1c12a5bf46ed81e1cc90f086148b1662e79aab3d",
    "9095b61e14d8990acf390905621e62b1714fb8e399fbb71de5510e0aef45affe",
    "0a332b91b8fab564e6afd1dd452449e04619b18accc0ff9aa8393cd4928451f2",
    "2336f0181d264aed6d8f3a6507ca14a8d3b3c3a23791ac263e845d208c1ee330",
    "b4ce56e300590500360c146c6452edbede25d4ed83919278749ee5dbe178e048",
    "933f6ddc848ea562e4f9c5cfb5f176941301dad0c6fdb9d1fbbe34fac1be6966",
    "b95a6222958a86f74c030be27c44f57dbe313e5e7c7f4ffb98bcbd3a03bb52f2",
    "daeeb3ce5923defd0faeb8e0c210b753b85b809445d7d3d3cd537a9aabaa9c45",
    "7fadd0a13e9138a2aa6c3fdec4e2275af233b94812784f66bcca9aa8e989f2bc",
    "1864e6ba3e32878610546539734fb5eeae2529991f130c575c73a7e25a2a7c56",
    "12842d1202b1dc6828a17ab253c02e7ce9409b5192430feba44189f39cc02d66",
    "29af64b16fa3053c13d02ac63aa75b23aa468506e44c3a2315edc85d2dc22b11",
    "b527b99934a0bd9edd154e449b0502e2c499bba783f3bc3dfe23364b6b532009",
    "4584db8ae8e351ace08e01f306378a92bfd43611714814f3d834a2842d69faa8",
    "86a9a41573b0d6e4292f01e93243d6cc65b30f06606fc6fa57390e7e90ed580f",
    "a88b98fbe84d4c6aae8db9d1605dfac059d9f03fe0fcb0d5dff1295dacba09e6",
    "06326dc617a6d1f7021dc536026dbfd5fffc6f7c5531d48ef6ccd1ed1569f2a1",
    "f41fe8fdc3a2e4e8345e30216e7ebecffee26ff266eeced208a6c2a3cf08f960",
    "40cf5bde8abb76983f3e98ba97aa36240402975674e120f234b3448911090f8d",
    "b3222dc8658538079883d980d7fdc2bef9285344ea34338968f736b04aeb387a",
]


def unhex(texts: list[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def made(ranges: list[tuple[int, int]], entries: list[bytes]) -> list[bytes]:
    """A proof from its ranges, each hashed through the production code."""
    hashes = leaf_hashes(entries)

    def node(height: int, index: int) -> bytes:
        return root_of(hashes[index << height : (index + 1) << height])

    return [range_root(low, high, node) for low, high in ranges]


def test_the_published_hashes() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert root_of([]) == EMPTY_ROOT
    assert leaf_hash(bytes.fromhex("101112131415161718191a1b1c1d1e1f")).hex() == (
        "3bfb960453ebaebf33727da7a1f4db38acc051d381b6da20d6d4e88f0eabfd7a"
    )
    assert node_hash(bytes(range(32)), bytes(range(32, 64))).hex() == (
        "1a378704c17da31e2d05b6d121c2bb2c7d76f6ee6fa8f983e596c2d034963c57"
    )


@pytest.mark.parametrize("size", range(1, 9))
def test_the_published_roots(size: int) -> None:
    assert root_of(leaf_hashes(ENTRIES[:size])).hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_the_published_inclusion_proofs(index: int, size: int) -> None:
    proof = unhex(INCLUSION[index, size])
    assert made(inclusion_ranges(index, size), ENTRIES[:size]) == proof
    root = bytes.fromhex(ROOTS[size - 1])
    assert verify_inclusion(leaf_hash(ENTRIES[index]), index, size, proof, root=root)


@pytest.mark.parametrize(("old", "size"), CONSISTENCY)
def test_the_published_consistency_proofs(old: int, size: int) -> None:
    proof = unhex(CONSISTENCY[old, size])
    assert made(consistency_ranges(old, size), ENTRIES[:size]) == proof
    roots = bytes.fromhex(ROOTS[old - 1]), bytes.fromhex(ROOTS[size - 1])
    assert verify_consistency(old, size, proof, old_root=roots[0], root=roots[1])


def test_a_certificate_that_was_really_logged() -> None:
    leaf, root = bytes.fromhex(CT_LEAF), bytes.fromhex(CT_ROOT)
    assert verify_inclusion(leaf, CT_INDEX, CT_SIZE, unhex(CT_PATH), root=root)
    assert not verify_inclusion(leaf, CT_INDEX + 1, CT_SIZE, unhex(CT_PATH), root=root)
    assert not verify_inclusion(leaf, CT_INDEX, CT_SIZE * 2, unhex(CT_PATH), root=root)
    assert not verify_inclusion(leaf, CT_INDEX, CT_SIZE, unhex(CT_PATH)[:-1], root=root)


@pytest.mark.parametrize("size", [*range(1, 20), 31, 32, 33, 255, 256, 257])
def test_every_proof_is_what_the_rfc_defines_and_verifies(size: int) -> None:
    entries = [str(number).encode() for number in range(size)]
    root = slow_root(entries)
    assert root_of(leaf_hashes(entries)) == root
    step = 1 if size < 40 else 17
    for index in {*range(0, size, step), size - 1}:
        proof = made(inclusion_ranges(index, size), entries)
        assert proof == slow_path(index, entries)
        assert verify_inclusion(leaf_hash(entries[index]), index, size, proof, root=root)
    for old in {*range(1, size, step), size}:
        proof = made(consistency_ranges(old, size), entries)
        assert proof == slow_proof(old, entries)
        old_root = slow_root(entries[:old])
        assert verify_consistency(old, size, proof, old_root=old_root, root=root)


@given(st.data())
def test_a_proof_of_one_thing_proves_no_other(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    index = data.draw(st.integers(0, size - 1))
    entries = [bytes([number]) for number in range(size)]
    root, leaf = slow_root(entries), leaf_hash(entries[index])
    proof = made(inclusion_ranges(index, size), entries)
    other = data.draw(st.integers(0, size - 1).filter(lambda one: one != index))
    assert not verify_inclusion(leaf, other, size, proof, root=root)
    assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, root=root)
    at = data.draw(st.integers(0, len(proof) - 1))
    broken = [*proof[:at], hashlib.sha256(proof[at]).digest(), *proof[at + 1 :]]
    assert not verify_inclusion(leaf, index, size, broken, root=root)
    assert not verify_inclusion(leaf, index, size, [*proof, leaf], root=root)
    assert not verify_inclusion(leaf, index, size, proof[:-1], root=root)


@given(st.data())
def test_no_proof_makes_another_history_consistent(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    old = data.draw(st.integers(1, size - 1))
    entries = [bytes([number]) for number in range(size)]
    changed = data.draw(st.integers(0, old - 1))
    fork = [*entries[:changed], b"changed", *entries[changed + 1 :]]
    root, old_root = slow_root(entries), slow_root(entries[:old])
    proof = made(consistency_ranges(old, size), entries)
    forked = made(consistency_ranges(old, size), fork)
    assert not verify_consistency(old, size, proof, old_root=old_root, root=slow_root(fork))
    assert not verify_consistency(old, size, forked, old_root=old_root, root=slow_root(fork))
    assert not verify_consistency(old, size, proof, old_root=slow_root(fork[:old]), root=root)
    assert not verify_consistency(old, size, [*proof, root], old_root=old_root, root=root)
    assert not verify_consistency(old, size, proof[:-1], old_root=old_root, root=root)


def test_the_ends_of_consistency() -> None:
    one, two = bytes.fromhex(ROOTS[0]), bytes.fromhex(ROOTS[1])
    assert verify_consistency(0, 2, [], old_root=EMPTY_ROOT, root=two)
    assert not verify_consistency(0, 2, [one], old_root=EMPTY_ROOT, root=two)
    assert not verify_consistency(0, 2, [], old_root=one, root=two)
    assert verify_consistency(2, 2, [], old_root=two, root=two)
    assert not verify_consistency(2, 2, [], old_root=one, root=two)
    assert not verify_consistency(2, 2, [one], old_root=two, root=two)
    assert not verify_consistency(2, 1, [], old_root=two, root=one)
    assert not verify_consistency(-1, 1, [], old_root=two, root=one)
    assert not verify_consistency(3, 5, [], old_root=two, root=one)
    assert not verify_consistency(2, 4, [two] * 3, old_root=two, root=one)
    assert consistency_ranges(0, 9) == []
    assert root_from_inclusion(one, 1, 1, []) is None
    for wrong in ((1, 1), (-1, 1)):
        with pytest.raises(ValueError, match="has no leaf"):
            inclusion_ranges(*wrong)
    with pytest.raises(ValueError, match="does not go on"):
        consistency_ranges(2, 1)
    assert range_root(4, 4, lambda height, index: b"") == EMPTY_ROOT
