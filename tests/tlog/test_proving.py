"""Finding what is to be proved: leaves by time, checkpoints by halving; and what is refused."""

from __future__ import annotations

import base64
from random import Random

import pytest

from selvedge.fabric import BadProof
from selvedge.tlog import (
    EMPTY_ROOT,
    Checkpoint,
    Signer,
    find_checkpoint,
    find_receipt,
    open_log,
    prove_receipt,
    read_checkpoint,
    receipt_leaf,
    sign_checkpoint,
    verify_bundle,
)
from tests.tlog.worlds import FLEET, SignedLog, World, receipt_of, seed


@pytest.mark.parametrize("rng_seed", range(4))
def test_the_first_checkpoint_that_covers_a_leaf_is_found(rng_seed: int) -> None:
    rng = Random(rng_seed)
    home = SignedLog(f"{FLEET}/jurisdiction/eu")
    origins = [f"{FLEET}/pop/{name}/2026-11" for name in ("sg", "fr", "in")]
    sizes = dict.fromkeys(origins, 0)
    entries: list[bytes] = []
    for _ in range(rng.choice([1, 100, 2_000])):
        origin = origins[0] if rng.random() < 0.02 else rng.choice(origins[1:])
        sizes[origin] += rng.randrange(3)
        made = Checkpoint(origin, sizes[origin], EMPTY_ROOT)
        entries.append(sign_checkpoint(made, [Signer(origin, seed(origin))]))
    home.files.append(entries)
    home.sign()
    log = home.open()
    read = [read_checkpoint(entry)[0] for entry in entries]
    for origin in [*origins, "nobody"]:
        for index in {0, 1, *(rng.randrange(3_000) for _ in range(20))}:
            expected = next(
                (at for at, one in enumerate(read) if one.origin == origin and one.size > index),
                None,
            )
            found = find_checkpoint(log, origin, index)
            assert (None if found is None else found[0]) == expected
            assert found is None or found[1] == entries[found[0]]


def test_a_leaf_is_found_wherever_the_times_point() -> None:
    world = World()
    pop = world.pops["sg"].open()
    receipt, salt = receipt_of("sg", 40)
    for around in ((0, None), (40, 41), (39, None), (50, 60), (0, 10), (10**9, None)):
        found = find_receipt(pop, receipt, salt, around)
        assert found is not None
        assert found.index == 40
    assert find_receipt(pop, receipt, base64.b64encode(seed("other")).decode()) is None
    assert find_receipt(pop, receipt.replace(b"rcpt", b"xxxx"), salt) is None


def test_a_damaged_tile_that_hides_a_leaf_is_named() -> None:
    world = World(receipts=700)
    files = world.pops["sg"].files.files
    files["tile/0/000"] = bytes(8_192)
    pop = world.pops["sg"].open()
    with pytest.raises(BadProof, match="tile/0/000: does not hash"):
        find_receipt(pop, *receipt_of("sg", 40))


def test_what_is_not_covered_yet_is_said() -> None:
    world = World()
    sg = world.pops["sg"]
    sg.files.append([receipt_leaf(*unsalted("sg", world.counts["sg"]))])
    sg.sign()
    pop, home = sg.open(), world.home.open()
    found = find_receipt(pop, *receipt_of("sg", world.counts["sg"]))
    assert found is not None
    with pytest.raises(BadProof, match=r"no checkpoint with leaf \d+ is in .*/eu/2026-11 yet"):
        prove_receipt(found, pop, [home], lambda _: world.keys)
    with pytest.raises(BadProof, match="is in a log of its jurisdiction yet"):
        prove_receipt(found, pop, [], lambda _: world.keys)


def unsalted(name: str, number: int) -> tuple[bytes, bytes]:
    receipt, salt = receipt_of(name, number)
    return receipt, base64.b64decode(salt)


def test_a_pop_that_shows_another_tree_than_it_had_logged_is_refused() -> None:
    world, other = World(), World()
    other.pops["sg"].files = type(other.pops["sg"].files)()
    count = world.counts["sg"]
    other.pops["sg"].files.append([receipt_leaf(*unsalted("sg", n)) for n in range(count, 0, -1)])
    other.pops["sg"].sign()
    pop = other.pops["sg"].open()
    found = find_receipt(pop, *receipt_of("sg", 40))
    assert found is not None
    with pytest.raises(BadProof, match=r"is not the log whose checkpoint of size .* a fork"):
        prove_receipt(found, pop, [world.home.open()], lambda _: world.keys)


def test_a_proof_is_made_after_partial_tiles_have_gone() -> None:
    world = World()
    sg = world.pops["sg"]
    world.log("sg", 900)
    world.publish()
    keep = {tile.name.path for tile in sg.files.edge.partial()}
    gone = [path for path in sg.files.files if ".p/" in path and path not in keep]
    for path in gone:
        del sg.files.files[path]
    assert len(gone) > 3
    for number in (0, 17, 300, 900):
        assert verify_bundle(world.prove("sg", number), world.trust())[-1].good


def test_an_unknown_key_is_named_with_a_remedy() -> None:
    world = World()
    known = [key for key in world.keys if key.name != world.pops["sg"].origin]
    pop, home = world.pops["sg"].open(), world.home.open()
    found = find_receipt(pop, *receipt_of("sg", 3))
    assert found is not None
    with pytest.raises(BadProof, match="name these keys with --keys"):
        prove_receipt(found, pop, [home], lambda _: known)


def test_signatures_of_strangers_are_left_out() -> None:
    world = World()
    known = [key for key in world.keys if key.name != world.witnesses[0].name]
    pop, home = world.pops["sg"].open(), world.home.open()
    found = find_receipt(pop, *receipt_of("sg", 3))
    assert found is not None
    data = prove_receipt(found, pop, [home], lambda _: known)
    assert b"w0.example" not in data
    assert verify_bundle(data, world.trust())[-1].good


def test_a_place_that_is_not_the_logs() -> None:
    world = World()
    sg = world.pops["sg"]
    keys = [sg.signer.verifier]
    with pytest.raises(BadProof, match="has no checkpoint there"):
        open_log(lambda path: None, sg.origin, keys)
    with pytest.raises(BadProof, match="its place has the checkpoint of"):
        open_log(world.pops["fr"].files.files.get, sg.origin, keys)
    with pytest.raises(BadProof, match="none of the keys"):
        open_log(sg.files.files.get, sg.origin, [Signer(sg.origin, seed("x")).verifier])
