"""Making a bundle from what two logs publish. No index of leaves: times and order find them.

A receipt's leaf is looked for from where the PoP's log stood when the receipt ended. A PoP's sizes
only grow in the log of its jurisdiction, so that the first of its checkpoints that covers the leaf
is found by halving.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence

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


def open_log(read: ReadPath, keys: Iterable[Verifier]) -> PublishedLog:
    """A log by its files, if one of the keys signed its checkpoint. Raises `BadProof`."""
    data = read("checkpoint")
    if data is None:
        raise BadProof("checkpoint", "is missing: no checkpoint was published there yet")
    checkpoint, note = read_checkpoint(data)
    verified(note, [key for key in keys if key.name == checkpoint.origin])
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


class ReceiptToProve(msgspec.Struct, frozen=True):
    """A receipt as it is kept, and from and to which size of its log its leaf is looked for first.

    ``salt`` is base64, as the journal has it.
    """

    receipt: bytes
    salt: str
    start: int = 0
    stop: int | None = None


def prove_receipt(
    asked: ReceiptToProve,
    pop: PublishedLog,
    homes: Sequence[PublishedLog],
    keys: Sequence[Verifier],
    names: Note | None = None,
) -> bytes:
    """The bundle's file. ``homes`` are the shards of the jurisdiction's log, the likeliest first.

    ``keys`` are all that may have signed; signatures by others are left out where nothing depends
    on them. Raises `BadProof` where something is not logged, or not yet.
    """
    index = _find_leaf(asked, pop)
    home, at, checkpoint = _find_home(pop, homes, index)
    logged, note = read_checkpoint(checkpoint)
    if logged.size > pop.checkpoint.size or pop.tree.root_at(logged.size) != logged.root:
        words = f"is not the log whose checkpoint of size {logged.size} {home.origin} has: a fork"
        raise BadProof(pop.origin, words)
    signed_home = _known(home.note, keys)
    witnesses = [key for key in signed_home if key.kind == COSIGNATURE]
    logs = [key for key in signed_home if key.kind != COSIGNATURE]
    ordered = Note(
        home.note.text,
        tuple(
            one for key in (*logs, *witnesses) for one in home.note.signatures if key.claims(one)
        ),
    )
    pop_proof = TlogProof(index, tuple(pop.tree.inclusion_proof(index, logged.size)), checkpoint)
    home_proof = TlogProof(at, tuple(home.tree.inclusion_proof(at)), ordered.encode())
    operators = () if names is None else _all_known(names, keys)
    return write_bundle(
        Bundle(
            jurisdiction=home_proof.encode(),
            keys=BundleKeys(
                jurisdiction=tuple(key.text for key in logs),
                operator=tuple(key.text for key in operators),
                pop=tuple(key.text for key in _all_known(note, keys)),
                witnesses=tuple(key.text for key in witnesses),
            ),
            names=None if names is None else names.encode().decode(),
            pop=pop_proof.encode(),
            receipt=msgspec.Raw(asked.receipt),
            salt=asked.salt,
        )
    )


def _find_leaf(asked: ReceiptToProve, pop: PublishedLog) -> int:
    leaf = leaf_hash(receipt_leaf(asked.receipt, base64.b64decode(asked.salt)))
    size = pop.checkpoint.size
    stop = size if asked.stop is None else asked.stop
    for start, end in ((asked.start, stop), (stop, size), (0, asked.start)):
        index = pop.tree.find(leaf, start, end)
        if index is not None:
            return index
    words = f"does not have the receipt's leaf among its {size:,} entries: it is not logged yet, or"
    raise BadProof(pop.origin, f"{words} was logged in another shard")


def _find_home(
    pop: PublishedLog, homes: Sequence[PublishedLog], index: int
) -> tuple[PublishedLog, int, bytes]:
    for home in homes:
        found = find_checkpoint(home, pop.origin, index)
        if found is not None:
            return home, *found
    names = ", ".join(home.origin for home in homes) or "no log of its jurisdiction"
    words = f"no checkpoint with leaf {index:,} is in {names} yet; wait a second and try again"
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
