"""A disk under a log that dies at any operation, with or without what was not synced."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from selvedge.fabric import StoreFailed
from tests.support.disks import Died


class LogDisk:
    """`LogFiles` in memory. A death comes before, in or after an operation that changes something.

    ``dies_at`` counts those from 1; ``fails`` names operations that raise `StoreFailed` instead.
    ``power``: whether a death takes what was not synced, tears it, or brings back what was removed.
    """

    def __init__(self, rng: Random, *, power: bool = False) -> None:
        self.files: dict[str, bytes] = {}
        self.synced: dict[str, bytes] = {}
        self.operations = 0
        self.dies_at = 0
        self.fails: dict[int, str] = {}
        self._rng = rng
        self._power = power

    def copy(self) -> dict[str, bytes]:
        """As a backup is made."""
        return dict(self.files)

    def restore(self, files: dict[str, bytes]) -> None:
        """As a backup is brought back."""
        self.files, self.synced = dict(files), dict(files)

    def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    def names(self, folder: str) -> list[str]:
        inside = [one.removeprefix(f"{folder}/") for one in self.files if one.startswith(folder)]
        return sorted({one.partition("/")[0] for one in inside})

    def put(self, path: str, data: bytes) -> None:
        self._before(path)
        self.files[path] = data
        self._after()

    def replace(self, path: str, data: bytes) -> None:
        self._before(path)
        self.files[path] = self.synced[path] = data
        self._after()

    def append(self, path: str, data: bytes) -> None:
        fault = self.fails.get(self.operations + 1)
        if fault is not None or self.operations + 1 == self.dies_at:
            part = data[: self._rng.randrange(len(data) + 1)]
            self.files[path] = self.files.get(path, b"") + part
        self._before(path)
        self.files[path] = self.files.get(path, b"") + data
        self._after()

    def sync(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._before(path)
            self.synced[path] = self.files[path]
            self._after()

    def cut(self, path: str, size: int) -> None:
        self._before(path)
        self.files[path] = self.synced[path] = self.files[path][:size]
        self._after()

    def remove(self, path: str) -> None:
        self._before(path)
        for one in [one for one in self.files if one == path or one.startswith(f"{path}/")]:
            del self.files[one]
        self._after()

    def _before(self, path: str) -> None:
        self.operations += 1
        fault = self.fails.pop(self.operations, None)
        if fault is not None:
            raise StoreFailed(f"{path} cannot be used: {fault}")
        if self.operations == self.dies_at and self._rng.random() < 0.5:
            self._die()

    def _after(self) -> None:
        if self.operations == self.dies_at:
            self._die()

    def _die(self) -> None:
        self.dies_at = 0
        if self._power:
            for path in {*self.files, *self.synced}:
                self._lose(path)
        raise Died

    def _lose(self, path: str) -> None:
        now, before = self.files.get(path), self.synced.get(path)
        if now == before:
            return
        kind = self._rng.randrange(3)
        if now is not None and kind == 0:  # torn
            least = len(before) if before is not None and now.startswith(before) else 0
            now = now[: self._rng.randint(least, len(now))]
            if len(now) > least and self._rng.random() < 0.3:
                now = now[:-1] + b"\0"
        elif kind == 1:
            now = before
        if now is None:
            self.files.pop(path, None)
            self.synced.pop(path, None)
        else:
            self.files[path] = self.synced[path] = now
