"""What a jurisdiction's log knows of the PoPs' logs: the last checkpoint of each shard of each.

All of it follows from the log's own entries; a file beside says how far they were folded, so that
a start reads only what came after.
"""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from selvedge.adapters import LogFiles, LogState, LogStore, published, read_path
from selvedge.fabric import JurisdictionLog, Release, StoreCorrupt, log_of, pop_origin
from selvedge.tlog import (
    ED25519,
    SHARD_PATTERN,
    Accepted,
    Note,
    Refusal,
    TileTree,
    Verifier,
    WitnessedLog,
    judge,
    read_checkpoint,
    shard_order,
)

KNOWN: Final = "known.json"
SHARDS_KEPT: Final = 2
"""Of each PoP: the open one, and the one before."""


class Last(msgspec.Struct, frozen=True):
    """The last checkpoint of a shard."""

    size: int
    root: str


class Known(msgspec.Struct, frozen=True):
    """PoP -> shard -> last checkpoint, folded up to an entry of a shard of the log."""

    shard: str
    size: int
    pops: dict[str, dict[str, Last]]
    v: int = 1


class PopCheckpoints:
    """Judges checkpoints of PoPs by what it knows."""

    def __init__(self, log_id: str) -> None:
        self._log_id = log_id
        self._prefix = ""
        self._keys: dict[str, tuple[bytes, ...]] = {}
        self.pops: dict[str, dict[str, Last]] = {}

    def meet(self, release: Release) -> JurisdictionLog | None:
        """Take the PoPs of a release; this log as it names it, None where it does not."""
        own = next((one for one in release.logs if one.id == self._log_id), None)
        self._prefix = pop_origin(release.log_domain, release.fleet, "", "").removesuffix("/")
        self._keys = {
            pop.id: tuple(base64.b64decode(one) for one in pop.log_keys)
            for pop in release.pops
            if log_of(release.logs, pop.country) == own and own is not None
        }
        return own

    def _split(self, origin: str) -> tuple[str, str] | None:
        """PoP and shard of an origin; None where it is no PoP's of this log."""
        if not origin.startswith(self._prefix):
            return None
        pop, _, shard = origin.removeprefix(self._prefix).partition("/")
        is_one = bool(self._keys.get(pop)) and SHARD_PATTERN.fullmatch(shard) is not None
        return (pop, shard) if is_one else None

    def _find(self, origin: str) -> WitnessedLog | None:
        found = self._split(origin)
        if found is None:
            return None
        pop, shard = found
        keys = tuple(Verifier(origin, ED25519, one) for one in self._keys[pop])
        last = self.pops.get(pop, {}).get(shard)
        if last is None:
            return WitnessedLog(keys)
        return WitnessedLog(keys, last.size, bytes.fromhex(last.root))

    def judge(self, body: bytes) -> tuple[Accepted, bool] | Refusal:
        """Whether a checkpoint is taken, and whether it is new."""
        found = judge(body, self._find)
        if isinstance(found, Refusal):
            return found
        pop, shard = self._split(found.checkpoint.origin) or ("", "")
        shards = self.pops.get(pop, {})
        newest = max(shards, key=shard_order, default=shard)
        size = shards[shard].size if shard in shards else -1
        if found.checkpoint.size > size and shard_order(shard) < shard_order(newest):
            return Refusal(403, f"shard {shard} of {pop} was followed by {newest} and is closed")
        return self._bare(found), found.checkpoint.size > size

    def _bare(self, found: Accepted) -> Accepted:
        """The checkpoint with the PoP's own signatures, each once. Whoever can reach this log can
        add a line to somebody's note: a proof would have to name who signed it.
        """
        log = self._find(found.checkpoint.origin)
        keys = log.keys if log is not None else ()
        text = found.note.text
        own = [one for one in found.note.signatures if any(key.verify(text, one) for key in keys)]
        return Accepted(found.checkpoint, Note(text, tuple(dict.fromkeys(own))))

    def take(self, entry: bytes) -> None:
        """Know an entry of the log."""
        checkpoint, _ = read_checkpoint(entry)
        pop, _, shard = checkpoint.origin.rpartition("/pop/")[2].partition("/")
        shards = self.pops.setdefault(pop, {})
        shards[shard] = Last(checkpoint.size, checkpoint.root.hex())
        for one in sorted(shards, key=shard_order)[:-SHARDS_KEPT]:
            del shards[one]

    def save(self, files: LogFiles, state: LogState) -> None:
        """Keep what is known up to a state. Raises `StoreFailed`."""
        known = Known(state.shard, state.size, self.pops)
        files.replace(KNOWN, msgspec.json.encode(known))

    def load(self, store: LogStore) -> None:
        """Fold the log's entries again, from where they were folded last.

        Raises `StoreCorrupt`, `BadProof` of a file of the log that is damaged.
        """
        data = store.files.read(KNOWN)
        known = Known("", 0, {})
        if data is not None:
            try:
                known = msgspec.json.decode(data, type=Known)
            except msgspec.MsgspecError as error:
                words = f"{KNOWN} does not hold ({error}); delete it, and all entries are read"
                raise StoreCorrupt(words) from error
        self.pops = {pop: dict(shards) for pop, shards in known.pops.items()}
        for shard in store.shards():
            if shard_order(shard) < shard_order(known.shard):
                continue
            first = known.size if shard == known.shard else 0
            tree = _tree(store, shard)
            for index in range(first, tree.size):
                self.take(tree.entry(index))


def _tree(store: LogStore, shard: str) -> TileTree:
    read = read_path(store.files, shard)
    if shard == store.state.shard:
        return TileTree(store.state.size, bytes.fromhex(store.state.root), read)
    checkpoint, _ = read_checkpoint(store.files.read(published(shard)) or b"")
    return TileTree(checkpoint.size, checkpoint.root, read)
