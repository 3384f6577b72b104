"""Who keeps every checkpoint that a log ever published, and holds them against each other."""

from __future__ import annotations

from pathlib import Path

from selvedge.adapters import FolderFiles, read_path
from selvedge.fabric import BadProof
from selvedge.tlog import TileTree, read_checkpoint, verify_consistency


class Watch:
    """Published checkpoints of the logs in some folders, by folder and shard."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders
        self.seen: dict[tuple[Path, str], dict[int, bytes]] = {}
        self.contradictions: list[str] = []

    def look(self) -> None:
        """Take what is published now."""
        for folder in self._folders:
            for path in folder.glob("public/*/checkpoint"):
                try:
                    data = path.read_bytes()
                except FileNotFoundError:
                    continue
                self.take(folder, path.parent.name, data)

    def take(self, folder: Path, shard: str, data: bytes) -> None:
        """Take one checkpoint: another root of a size that was seen is another history."""
        try:
            found, _ = read_checkpoint(data)
        except BadProof as error:
            self.contradictions.append(f"{folder.name}/{shard}: {error}")
            return
        known = self.seen.setdefault((folder, shard), {}).setdefault(found.size, found.root)
        if known != found.root:
            self.contradictions.append(f"{found.origin}: two trees of size {found.size}")

    def inconsistent(self) -> list[str]:
        """Checkpoints of which the newest one is no continuation, or cannot be proved to be."""
        found = []
        for (folder, shard), seen in self.seen.items():
            newest = max(seen)
            tree = TileTree(newest, seen[newest], read_path(FolderFiles(folder), shard))
            for size, root in seen.items():
                try:
                    proof = tree.consistency_proof(size)
                except BadProof as error:
                    found.append(f"{folder.name}/{shard} at {size}: {error}")
                    continue
                if not verify_consistency(size, newest, proof, old_root=root, root=seen[newest]):
                    found.append(f"{folder.name}/{shard}: {size} does not lead to {newest}")
        return found

    def entries(self, folder: Path) -> list[bytes]:
        """Every entry of a folder's log, by the newest checkpoint of each shard, all checked."""
        found = []
        for (one, shard), seen in sorted(self.seen.items()):
            if one == folder:
                size = max(seen)
                tree = TileTree(size, seen[size], read_path(FolderFiles(folder), shard))
                found += [tree.entry(index) for index in range(size)]
        return found

    @property
    def checkpoints(self) -> int:
        """How many different ones were seen."""
        return sum(map(len, self.seen.values()))
