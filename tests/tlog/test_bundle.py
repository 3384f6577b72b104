"""Bundles: that good ones hold, and that no changed one does, whatever was changed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest

from selvedge.fabric import BadProof
from selvedge.ledger import Sealed
from selvedge.ledger.records import LEAF_DOMAIN as LEDGER_DOMAIN
from selvedge.tlog import (
    Finding,
    Note,
    Signer,
    TlogProof,
    Trust,
    find_receipt,
    parse_trust,
    prove_receipt,
    read_bundle,
    read_note,
    read_proof,
    receipt_leaf,
    verify_bundle,
)
from selvedge.tlog.bundle import BUNDLE_BYTES_MAX, LEAF_DOMAIN
from tests.tlog.worlds import FLEET, SEEN_S, World, receipt_of, seed

Json = dict[str, Any]  # Any: a bundle's JSON while it is bent


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def bundle(world: World) -> bytes:
    return world.prove("sg", 17)


def fails(data: bytes, trust: Trust) -> str:
    """The sentence with which a bundle is refused."""
    findings = verify_bundle(data, trust)
    bad = [one.text for one in findings if not one.good]
    assert bad, "it holds:\n" + "\n".join(one.text for one in findings)
    assert bad == [findings[-1].text], "the first that does not hold ends the check"
    assert "\n" not in bad[0]
    return bad[0]


def holds(data: bytes, trust: Trust) -> bool:
    return all(one.good for one in verify_bundle(data, trust))


def written(value: Json) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


def changed(data: bytes, change: Callable[[Json], object]) -> bytes:
    value = json.loads(data)
    change(value)
    return written(value)


def with_proof(data: bytes, field: str, change: Callable[[TlogProof], TlogProof]) -> bytes:
    value = json.loads(data)
    value[field] = change(read_proof(value[field])).encode()
    return written(value)


def with_note(data: bytes, field: str, change: Callable[[Note], Note]) -> bytes:
    def bend(proof: TlogProof) -> TlogProof:
        note = change(read_note(proof.checkpoint))
        return TlogProof(proof.index, proof.hashes, note.encode(), proof.extra)

    return with_proof(data, field, bend)


def test_the_leaf_is_the_ledgers() -> None:
    assert LEAF_DOMAIN == LEDGER_DOMAIN
    receipt, salt = receipt_of("sg", 3)
    sealed = Sealed(receipt=msgspec.Raw(receipt), salt=salt)
    assert receipt_leaf(receipt, base64.b64decode(salt)) == sealed.leaf()


def test_good_bundles_hold_under_each_kind_of_trust(world: World, bundle: bytes) -> None:
    assert holds(bundle, world.trust())
    assert holds(bundle, world.trust(quorum=0))
    assert holds(bundle, world.trust(quorum=3))
    assert holds(bundle, parse_trust(f"operator {world.operator.verifier.text}\n"))
    assert holds(world.prove("fr", 0, named=False), world.trust())
    months = "".join(f"log {log.signer.verifier.text}\n" for log in world.pops.values())
    own = f"log {world.home.signer.verifier.text}\n{months}quorum none\n"
    assert holds(bundle, parse_trust(own))


def test_what_is_said_of_a_good_bundle(world: World, bundle: bytes) -> None:
    said = [one.text for one in verify_bundle(bundle, world.trust())]
    assert said[0].startswith("receipt rcpt_sg_17 of tenant acmé hashes to leaf ")
    assert said[1].startswith("the leaf is at index 17 of ")
    assert "w0.example/w at 2026-11-18 11:06:40 UTC, w1.example/w at" in said[-1]
    unwitnessed = verify_bundle(bundle, parse_trust(world.policy(0).replace("witness", "#")))
    assert "no witness is asked for" in unwitnessed[-1].text


def test_every_receipt_of_every_pop_can_be_proved(world: World) -> None:
    trust = world.trust()
    for name, count in world.counts.items():
        for number in range(0, count, 7):
            assert holds(world.prove(name, number), trust)


def test_every_byte_counts(world: World, bundle: bytes) -> None:
    """A bit of each byte in turn, with the checks of a verifier who brought a policy."""
    trust = world.trust()
    rng = Random(1)
    for at in range(len(bundle)):
        data = bytearray(bundle)
        data[at] ^= 1 << rng.randrange(8)
        fails(bytes(data), trust)


def bend(value: Any, rng: Random) -> Any:  # Any: any JSON
    """Change one value somewhere below, and leave the form as it must be."""
    if isinstance(value, dict) and value:
        name = rng.choice(sorted(value))
        value[name] = bend(value[name], rng)
        return value
    if isinstance(value, list) and value:
        place = rng.randrange(len(value))
        value[place] = bend(value[place], rng)
        return value
    if isinstance(value, str) and value:
        at = rng.randrange(len(value))
        other = rng.choice([one for one in "A0z=+/ \n" if one != value[at]])
        return rng.choice([value[:at] + other + value[at + 1 :], value[:at] + value[at + 1 :]])
    return value + 1 if isinstance(value, int) else "A"


def test_a_thousand_mutations(world: World, bundle: bytes) -> None:
    trust = world.trust()
    rng = Random(2)
    other = world.prove("fr", 20)
    for _ in range(1_000):
        data = bytearray(bundle)
        kind = rng.randrange(6)
        start = rng.randrange(len(data))
        end = min(len(data), start + 1 + rng.randrange(60))
        if kind == 0:
            data[start] = (data[start] + 1 + rng.randrange(255)) % 256
        elif kind == 1:
            del data[start:]
        elif kind == 2:
            del data[start:end]
        elif kind == 3:
            data[start:start] = data[start:end]
        elif kind == 4:
            data = bytearray(changed(bundle, lambda value: bend(value, rng)))
        else:
            data[start:end] = other[start : start + 1 + rng.randrange(60)]
        if data != bundle:
            fails(bytes(data), trust)


def test_parts_of_other_bundles_do_not_fit(world: World, bundle: bytes) -> None:
    trust = world.trust()
    mine = json.loads(bundle)
    for name, number in (("sg", 18), ("sg", world.counts["sg"] - 1), ("fr", 17)):
        other = json.loads(world.prove(name, number))
        for field in ("receipt", "salt", "pop", "jurisdiction"):
            if other[field] != mine[field]:
                fails(written({**mine, field: other[field]}), trust)
    fails(written({**mine, "pop": mine["jurisdiction"], "jurisdiction": mine["pop"]}), trust)
    fails(written({**mine, "pop": mine["jurisdiction"]}), trust)


RECEIPT: list[tuple[Callable[[Json], object], str]] = [
    (lambda b: b["receipt"].update(tenant="other"), "another root"),
    (lambda b: b["receipt"].update(extra=1), "another root"),
    (lambda b: b["receipt"].update(ingress_pop="fr"), "another root"),
    (lambda b: b["receipt"].update(v=2), "receipt: is of version 2"),
    (lambda b: b["receipt"].update(v=1.0), "holds the number 1.0"),
    (lambda b: b["receipt"].update(v=float("nan")), "holds the number NaN"),
    (lambda b: b["receipt"].pop("id"), "receipt: Object missing required field `id`"),
    (lambda b: b.update(receipt=[]), "receipt: Expected `object`"),
    (lambda b: b.update(salt=b["salt"][:-2]), "salt: is not 32 bytes"),
    (lambda b: b.update(salt=base64.b64encode(bytes(31)).decode()), "salt: is not 32 bytes"),
    (lambda b: b.update(salt=base64.b64encode(bytes(32)).decode()), "another root"),
    (lambda b: b.update(v="selvedge/bundle/v2"), "bundle: is 'selvedge/bundle/v2'"),
    (lambda b: b.update(more=1), "bundle: Object contains unknown field"),
    (lambda b: b.pop("keys"), "bundle: Object missing required field"),
    (lambda b: b["keys"].update(more=[]), "unknown field"),
    (lambda b: b["keys"].update(pop=[]), "has 1 signatures, and the bundle names 0 keys"),
    (lambda b: b["keys"]["pop"].append(b["keys"]["pop"][0]), "names 2 keys"),
    (lambda b: b["keys"].update(pop=b["keys"]["jurisdiction"]), "has signed where"),
    (lambda b: b["keys"]["witnesses"].reverse(), "has signed where"),
    (lambda b: b["keys"]["witnesses"].pop(), "has 4 signatures, and the bundle names 3 keys"),
    (
        lambda b: b["keys"].update(jurisdiction=[], witnesses=[*b["keys"]["jurisdiction"]]
                                   + b["keys"]["witnesses"]),
        "is not a witness's",
    ),
    (
        lambda b: b["keys"].update(
            jurisdiction=b["keys"]["jurisdiction"] + b["keys"]["witnesses"][:1],
            witnesses=b["keys"]["witnesses"][1:],
        ),
        "is a witness's and stands elsewhere",
    ),
    (lambda b: b.update(names=None), "the operator has signed nothing"),
    (lambda b: b.update(names="x"), "no empty line with signatures"),
    (lambda b: b.update(names=b["names"].replace("quorum-of-2 2", "quorum-of-2 1")), "not hold"),
    (lambda b: b["keys"].update(operator=[]), "names: has 1 signatures"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "why"), RECEIPT)
def test_what_is_changed_in_the_json_is_named(
    world: World, bundle: bytes, change: Callable[[Json], object], why: str
) -> None:
    assert why in fails(changed(bundle, change), world.trust())


def at_index(index: int) -> Callable[[TlogProof], TlogProof]:
    return lambda proof: TlogProof(index, proof.hashes, proof.checkpoint)


@pytest.mark.parametrize("field", ["pop", "jurisdiction"])
def test_what_is_changed_in_a_proof_is_named(world: World, bundle: bytes, field: str) -> None:
    trust = world.trust()

    def bent(change: Callable[[TlogProof], TlogProof]) -> str:
        return fails(with_proof(bundle, field, change), trust)

    for index in (0, 16, 10**9):
        assert "another root" in bent(at_index(index))
    assert "another root" in bent(lambda p: TlogProof(p.index, p.hashes[::-1], p.checkpoint))
    assert "another root" in bent(lambda p: TlogProof(p.index, p.hashes[:-1], p.checkpoint))
    assert "another root" in bent(
        lambda p: TlogProof(p.index, (*p.hashes, seed("x")), p.checkpoint)
    )
    assert "extra line" in bent(lambda p: TlogProof(p.index, p.hashes, p.checkpoint, b"x"))
    assert "has no line 'index N'" in fails(
        changed(bundle, lambda b: b.update({field: b[field].replace("index", "indeks")})), trust
    )


@pytest.mark.parametrize("field", ["pop", "jurisdiction"])
def test_what_is_changed_in_a_checkpoint_is_named(world: World, bundle: bytes, field: str) -> None:
    trust = world.trust()

    def bent(old: str, new: str) -> str:
        return fails(
            with_note(bundle, field, lambda n: Note(n.text.replace(old, new), n.signatures)), trust
        )

    said = bent("2026-11", "2026-12")
    assert "another root" in said or "does not hold" in said
    assert "is not one of such" in bent(f"/{field}/", "/other/")
    assert "is not one of such" in bent("2026-11", "2026-11/x")
    swapped = fails(with_note(bundle, field, lambda n: Note(n.text, n.signatures[::-1] * 2)), trust)
    assert "signatures" in swapped or "another root" in swapped


def test_a_wrong_key_is_named(world: World, bundle: bytes) -> None:
    stranger = Signer(f"{FLEET}/pop/sg", seed("stranger")).verifier.text
    mine = world.pops["sg"]
    real = Signer(mine.base, seed(mine.base)).verifier.text
    said = fails(bundle, parse_trust(world.policy().replace(real, stranger)))
    assert said == f"PoP's log: {mine.origin} is signed with a key that is not trusted"
    home = Signer(world.home.base, seed(world.home.base)).verifier.text
    said = fails(bundle, parse_trust(world.policy().replace(f"log {home}\n", "")))
    assert said == (
        f"jurisdiction's log: {world.home.origin} is signed with a key of a log that is not trusted"
    )
    other = Signer("example.net/f/operator", seed("operator")).verifier
    assert "none of the keys" in fails(bundle, parse_trust(f"operator {other.text}\n"))
    unnamed = world.prove("sg", 17, named=False)
    said = fails(unnamed, parse_trust(f"operator {world.operator.verifier.text}\n"))
    assert said.startswith("names: are missing")


def test_a_quorum_is_of_the_trusted(world: World) -> None:
    again = World()
    again.publish(cosigners=1)
    one = again.prove("sg", 17)
    assert holds(one, again.trust(quorum=1))
    assert fails(one, again.trust(quorum=2)) == (
        "jurisdiction's log: is cosigned by w0.example/w of those trusted: "
        "not the quorum 'quorum-of-2'"
    )
    again.publish(cosigners=0)
    assert "cosigned by nobody" in fails(again.prove("sg", 17), again.trust(quorum=1))
    assert holds(again.prove("sg", 17), again.trust(quorum=0))


def test_a_fork_of_equal_size_is_refused_by_the_quorum() -> None:
    """The log's key signs a second history; the witnesses have cosigned the first."""
    honest, forked = World(), World()
    honest.log("sg", 5)
    honest.publish()
    forked.counts["sg"] += 1_000  # other receipts at the same places
    forked.log("sg", 5)
    forked.home.sign()
    assert forked.home.files.edge.size == honest.home.files.edge.size
    assert forked.home.files.edge.root() != honest.home.files.edge.root()
    number = forked.counts["sg"] - 1
    alone = forked.prove("sg", number)
    assert holds(alone, forked.trust(quorum=0))
    assert "cosigned by nobody" in fails(alone, forked.trust())
    # Lent cosignatures are over another root.
    lent = read_note(honest.home.files.files["checkpoint"]).signatures
    note = read_note(forked.home.files.files["checkpoint"])
    forked.home.files.files["checkpoint"] = Note(note.text, (*note.signatures, *lent[1:])).encode()
    proved = forked.prove("sg", number)
    assert "cosigned by nobody" in fails(proved, forked.trust())
    stuffed = with_note(proved, "jurisdiction", lambda n: Note(n.text, (*n.signatures, *lent[1:])))
    keys = [witness.verifier.text for witness in forked.witnesses]
    stuffed = changed(stuffed, lambda b: b["keys"].update(witnesses=keys))
    assert "the signature of 'w0.example/w' does not hold" in fails(stuffed, forked.trust())


def test_a_time_that_no_calendar_has_is_told_as_it_is() -> None:
    world = World()
    world.home.sign((world.witnesses[0], 2**62))
    said = verify_bundle(world.prove("sg", 17), world.trust(quorum=1))[-1]
    assert said == Finding(True, said.text)
    assert f"by w0.example/w at {2**62} s" in said.text


def test_one_witness_is_not_two(world: World, bundle: bytes) -> None:
    def twice(note: Note) -> Note:
        first = world.witnesses[0].cosign(note.text, SEEN_S + 9)
        return Note(note.text, (*note.signatures[:2], first))

    data = with_note(bundle, "jurisdiction", twice)
    key = world.witnesses[0].verifier.text
    data = changed(data, lambda b: b["keys"].update(witnesses=[key, key]))
    assert "has two signatures by one key" in fails(data, world.trust())


def test_a_receipt_of_another_pop_or_fleet_is_refused(world: World) -> None:
    receipt, salt = receipt_of("sg", 10_000)
    mixed = World()
    entry = receipt_leaf(receipt, base64.b64decode(salt))
    mixed.pops["fr"].files.append([entry])
    mixed.home.files.append([mixed.pops["fr"].sign()])
    mixed.publish()
    pop = mixed.pops["fr"].open()
    found = find_receipt(pop, receipt, salt)
    assert found is not None
    data = prove_receipt(found, pop, [mixed.home.open()], lambda _: mixed.keys)
    assert "is of PoP 'fr'; the receipt is 'sg''s" in fails(data, mixed.trust())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "may be cut short"),
        (b"{}", "may be cut short"),
        (b"{}\n", "missing required field"),
        (b"[1}\n", "is not JSON"),
        (b"[" * 100_000 + b"}\n", "is not JSON"),
        (b'{"a":1,"a":1}\n', "not JSON in canonical form"),
        (b'{"a": 1}\n', "not JSON in canonical form"),
        (b'{"b":1,"a":1}\n', "not JSON in canonical form"),
        (b'{"a":"\\u0041"}\n', "not JSON in canonical form"),
        (b'{"a":"\\ud800"}\n', "is not JSON"),
        (b'{"a":"\xff"}\n', "is not JSON"),
        (b'\xef\xbb\xbf{"a":1}\n', "is not JSON"),
        (b'{"a":1e3}\n', "holds the number 1e3"),
        (b'{"a":Infinity}\n', "holds the number Infinity"),
        (b" " * BUNDLE_BYTES_MAX + b"{}\n", "is larger than"),
    ],
)
def test_what_is_no_bundle_is_refused_by_reason(data: bytes, why: str) -> None:
    with pytest.raises(BadProof, match=why):
        read_bundle(data)
