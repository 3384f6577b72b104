"""A disk in memory that dies: at any operation, with or without what was written and not synced."""

from __future__ import annotations

from random import Random

from selvedge.fabric import StoreFailed


class Died(BaseException):
    """The process ended here; nothing of it runs on."""


class Disk:
    """`Files` with a death before, in or after an operation, and faults of the disk itself.

    ``dies_at`` counts operations that change something, from 1; ``fails`` names operations that
    raise `StoreFailed`. ``power``: whether a death takes what was not synced with it.
    """

    def __init__(self, rng: Random, *, power: bool = False) -> None:
        self.files: dict[str, bytes] = {}
        self.synced: dict[str, int] = {}
        self.operations = 0
        self.dies_at = 0
        self.fails: dict[int, str] = {}
        self._rng = rng
        self._power = power

    def names(self) -> list[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        return self.files[name]

    def create(self, name: str, data: bytes) -> None:
        if self._goes_on(name):
            self.files[name], self.synced[name] = data, len(data)
        self._after()

    def append(self, name: str, data: bytes) -> None:
        if self._goes_on(name, data):
            self.files[name] += data
        self._after()

    def sync(self, name: str) -> None:
        if self._goes_on(name):
            self.synced[name] = len(self.files[name])
        self._after()

    def cut(self, name: str, size: int) -> None:
        if self._goes_on(name):
            self.files[name] = self.files[name][:size]
            self.synced[name] = size
        self._after()

    def remove(self, name: str) -> None:
        if self._goes_on(name):
            del self.files[name], self.synced[name]
        self._after()

    def _goes_on(self, name: str, data: bytes = b"") -> bool:
        self.operations += 1
        fault = self.fails.pop(self.operations, None)
        is_last = self.operations == self.dies_at
        if data and (fault or (is_last and self._rng.random() < 0.5)):
            self.files[name] += data[: self._rng.randrange(len(data))]
            if is_last:
                self._die()
        if fault:
            raise StoreFailed(f"{name} cannot be written: {fault}")
        if is_last and self._rng.random() < 0.5:
            self._die()
        return True

    def _after(self) -> None:
        if self.operations == self.dies_at:
            self._die()

    def _die(self) -> None:
        if self._power:
            for name, size in self.synced.items():
                tail = self.files[name][size:]
                kept = tail[: self._rng.randrange(len(tail) + 1)]
                if kept and self._rng.random() < 0.3:
                    kept = kept[:-1] + b"\0"
                self.files[name] = self.files[name][:size] + kept
        raise Died
