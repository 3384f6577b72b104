"""Making a bundle from what two logs publish. No index of leaves: times and order find them.

A receipt's leaf is looked for from where the PoP's log stood when the receipt ended. A PoP's sizes
only grow in the log of its jurisdiction, so that the first of its checkpoints that covers the leaf
is found by halving.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence

import msgspec

from selvedge.fabric import BadProof
from selvedge.tlog.bundle import Bundle, BundleKeys, receipt_leaf, write_bundle
from selvedge.tlog.checkpoints import Checkpoint, read_checkpoint
from selvedge.tlog.hashes import leaf_hash
from selvedge.tlog.notes import COSIGNATURE, Note, Signature, Verifier, verified
from selvedge.tlog.proofs import TlogProof
from selvedge.tlog.tiles import TILE_WIDTH, ReadPath, TileTree


class PublishedLog(msgspec.Struct, frozen=True):
    """A log as it is published: its newest checkpoint, and the files beside it."""

    checkpoint: Checkpoint
    note: Note
    tree: TileTree

    @property
    def origin(self) -> str:
        """Its origin line."""
        return self.checkpoint.origin


def open_log(read: ReadPath, origin: str, keys: Iterable[Verifier]) -> PublishedLog:
    """A log by its files, if one of its keys signed its checkpoint. Raises `BadProof`."""
    data = read("checkpoint")
    if data is None:
        raise BadProof(origin, "has no checkpoint there: none was published yet")
    checkpoint, note = read_checkpoint(data)
    if checkpoint.origin != origin:
        raise BadProof(origin, f"its place has the checkpoint of {checkpoint.origin[:200]!r}")
    verified(note, [key for key in keys if key.name == origin])
    return PublishedLog(checkpoint, note, TileTree(checkpoint.size, checkpoint.root, read))


def find_checkpoint(log: PublishedLog, origin: str, index: int) -> tuple[int, bytes] | None:
    """The first entry of the log that is a checkpoint of ``origin`` with leaf ``index`` in it."""
    start = f"{origin}\n".encode()
    low, high = 0, (log.checkpoint.size + TILE_WIDTH - 1) // TILE_WIDTH
    found: int | None = None
    while low < high:
        middle = (low + high) // 2
        at = _next_of(log.tree, start, middle, high)
        if at is None:
            high = middle
        elif _size_of(at[1]) > index:
            found, high = at[0], middle  # the first so far; an earlier bundle may have one
        else:
            low = at[0] // TILE_WIDTH
            within = _first_in(log.tree, start, low, index)
            if within is not None:
                found = within
                break
            low += 1
    return None if found is None else (found, log.tree.entry(found))


def _next_of(tree: TileTree, start: bytes, low: int, high: int) -> tuple[int, bytes] | None:
    """The first entry that begins so in bundles ``low`` to before ``high``."""
    for number in range(low, high):
        for place, entry in enumerate(tree.bundle(number)):
            if entry.startswith(start):
                return number * TILE_WIDTH + place, entry
    return None


def _first_in(tree: TileTree, start: bytes, number: int, index: int) -> int | None:
    for place, entry in enumerate(tree.bundle(number)):
        if entry.startswith(start) and _size_of(entry) > index:
            return number * TILE_WIDTH + place
    return None


def _size_of(entry: bytes) -> int:
    return read_checkpoint(entry)[0].size


class Provable(msgspec.Struct, frozen=True):
    """A receipt as it is kept, and where its leaf was found. ``salt`` is base64."""

    receipt: bytes
    salt: str
    index: int


def find_receipt(
    pop: PublishedLog, receipt: bytes, salt: str, around: tuple[int, int | None] = (0, None)
) -> Provable | None:
    """A receipt in the log of its PoP, looked for first from and to the sizes in ``around``."""
    leaf = leaf_hash(receipt_leaf(receipt, base64.b64decode(salt)))
    size = pop.checkpoint.size
    start, stop = around[0], size if around[1] is None else around[1]
    for low, high in ((start, stop), (stop, size), (0, start)):
        index = pop.tree.find(leaf, low, high, checked=False)
        if index is not None:
            return Provable(receipt, salt, index)
    pop.tree.find(leaf, start, stop)  # names a tile that is damaged, if that is why
    return None


def prove_receipt(
    found: Provable,
    pop: PublishedLog,
    homes: Iterable[PublishedLog],
    keys: Callable[[str], Sequence[Verifier]],
    names: tuple[Note, Verifier] | None = None,
) -> bytes:
    """The bundle's file. ``homes`` are the shards of the jurisdiction's log, the likeliest first.

    ``keys`` gives, for an origin, all that may have signed there, witnesses too; signatures by
    others are left out where nothing depends on them. ``names`` is the operator's list of keys, and
    the key it is signed with. Raises `BadProof` where the PoP's log is not covered, or not yet, or
    is another.
    """
    home, at, checkpoint = _find_home(pop, homes, found.index)
    logged, note = read_checkpoint(checkpoint)
    if logged.size > pop.checkpoint.size or pop.tree.root_at(logged.size) != logged.root:
        words = f"is not the log whose checkpoint of size {logged.size} {home.origin} has: a fork"
        raise BadProof(pop.origin, words)
    signed = _known(home.note, keys(home.origin))
    logs = [key for key in signed if key.kind != COSIGNATURE]
    witnesses = [key for key in signed if key.kind == COSIGNATURE]
    home_note = Note(home.note.text, tuple(signed[key] for key in (*logs, *witnesses))).encode()
    path = tuple(pop.tree.inclusion_proof(found.index, logged.size))
    pop_proof = TlogProof(found.index, path, checkpoint)
    home_proof = TlogProof(at, tuple(home.tree.inclusion_proof(at)), home_note)
    return write_bundle(
        Bundle(
            jurisdiction=home_proof.encode(),
            keys=BundleKeys(
                jurisdiction=_texts(logs),
                operator=() if names is None else (names[1].text,),
                pop=_texts(_all_known(note, keys(pop.origin))),
                witnesses=_texts(witnesses),
            ),
            names=None if names is None else names[0].encode().decode(),
            pop=pop_proof.encode(),
            receipt=msgspec.Raw(found.receipt),
            salt=found.salt,
        )
    )


def _texts(keys: Iterable[Verifier]) -> tuple[str, ...]:
    return tuple(key.text for key in keys)


def _find_home(
    pop: PublishedLog, homes: Iterable[PublishedLog], index: int
) -> tuple[PublishedLog, int, bytes]:
    names = []
    for home in homes:
        found = find_checkpoint(home, pop.origin, index)
        if found is not None:
            return home, *found
        names.append(home.origin)
    where = ", ".join(names) or "a log of its jurisdiction"
    words = f"no checkpoint with leaf {index:,} is in {where} yet; wait a second and try again"
    raise BadProof(pop.origin, words)


def _known(note: Note, keys: Sequence[Verifier]) -> dict[Verifier, Signature]:
    """Who signed, each once, in the order of the signatures."""
    found: dict[Verifier, Signature] = {}
    for signature in note.signatures:
        for key in keys:
            if key not in found and key.verify(note.text, signature):
                found[key] = signature
    return found


def _all_known(note: Note, keys: Sequence[Verifier]) -> list[Verifier]:
    found = _known(note, keys)
    if len(found) != len(note.signatures):
        names = ", ".join(f"{one.name}+{one.key_id:08x}" for one in note.signatures)
        words = f"signed by {names}: name these keys with --keys, they are not in the release"
        raise BadProof(note.text.partition("\n")[0][:200], words)
    return list(found)
