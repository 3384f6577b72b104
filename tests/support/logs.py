"""Logs under test: who writes one, who watches what it publishes, and what it holds in the end."""

from __future__ import annotations

import hashlib

from selvedge.adapters import LogFiles, LogStore, published, read_path
from selvedge.tlog import (
    Checkpoint,
    Signer,
    TileTree,
    open_checkpoint,
    sign_checkpoint,
    verify_consistency,
)

DOMAIN = "logs.example"
SHARD = "2026-11"
SEED = bytes(range(32))


def signer_of(shard: str) -> Signer:
    return Signer(f"{DOMAIN}/{shard}", SEED)


def sign(shard: str, size: int, root: bytes) -> bytes:
    return sign_checkpoint(Checkpoint(f"{DOMAIN}/{shard}", size, root), [signer_of(shard)])


def leaf_of(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def new_store(files: LogFiles, **facts: int) -> LogStore:
    return LogStore(files, sign, **facts)


class Observer:
    """Keeps every checkpoint that was ever published, and whatever was signed beside."""

    def __init__(self) -> None:
        self.seen: dict[str, dict[int, bytes]] = {}

    def look(self, files: LogFiles, shard: str) -> None:
        """Take what is published now. Two roots of one size are two histories."""
        data = files.read(published(shard))
        if data is None:
            return
        found = open_checkpoint(data, f"{DOMAIN}/{shard}", [signer_of(shard).verifier])
        known = self.seen.setdefault(shard, {}).setdefault(found.size, found.root)
        assert known == found.root, f"two histories of {shard} at {found.size}"

    def check(self, files: LogFiles, shard: str) -> TileTree:
        """Every checkpoint seen begins the newest; its tree."""
        self.look(files, shard)
        seen = self.seen[shard]
        newest = max(seen)
        tree = TileTree(newest, seen[newest], read_path(files, shard))
        for size, root in seen.items():
            proof = tree.consistency_proof(size)
            assert verify_consistency(size, newest, proof, old_root=root, root=seen[newest])
        return tree


def entries_of(tree: TileTree) -> list[bytes]:
    """All entries of a log, each checked against its leaf."""
    return [tree.entry(index) for index in range(tree.size)]
