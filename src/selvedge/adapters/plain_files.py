"""The files of one directory, as a log wants them: whole or not there, synced when it says so."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from selvedge.fabric import StoreFailed


class PlainFiles:
    """`ledger.Files` on a real file system. Hidden files and directories are not among them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = ""
        self._fd = -1
        with named_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)

    def names(self) -> list[str]:
        """All of them, in order."""
        with named_errors(self._directory):
            entries = list(os.scandir(self._directory))
            return sorted(
                one.name for one in entries if one.is_file() and not one.name.startswith(".")
            )

    def read(self, name: str) -> bytes:
        """A whole file."""
        with named_errors(self._directory / name):
            return (self._directory / name).read_bytes()

    def create(self, name: str, data: bytes) -> None:
        """A new file, whole and synced, under its name only when it is both."""
        path = self._directory / name
        draft = path.with_name(f".{name}.draft")
        with named_errors(path):
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                draft.rename(path)
            except OSError:
                with contextlib.suppress(OSError):
                    draft.unlink()
                raise
            self._sync_directory()

    def append(self, name: str, data: bytes) -> None:
        """Write behind what is there. Where it fails a part may be there."""
        with named_errors(self._directory / name):
            self._open(name)
            if os.write(self._fd, data) != len(data):
                raise OSError(0, "the disk is full")

    def sync(self, name: str) -> None:
        """What was written survives a loss of power."""
        with named_errors(self._directory / name):
            self._open(name)
            os.fdatasync(self._fd)

    def cut(self, name: str, size: int) -> None:
        """Drop what is behind ``size``."""
        with named_errors(self._directory / name):
            self._open(name)
            os.ftruncate(self._fd, size)
            os.fsync(self._fd)

    def remove(self, name: str) -> None:
        """Drop a file."""
        with named_errors(self._directory / name):
            (self._directory / name).unlink(missing_ok=True)
            self._sync_directory()

    def close(self) -> None:
        """Close the file that was written last."""
        if self._fd >= 0:
            os.close(self._fd)
        self._name, self._fd = "", -1

    def _open(self, name: str) -> None:
        if name != self._name:
            self.close()
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(self._directory / name, flags, 0o600)
            self._name = name

    def _sync_directory(self) -> None:
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class named_errors(contextlib.AbstractContextManager["named_errors"]):
    """An `OSError` inside becomes a `StoreFailed` that names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise StoreFailed(f"{self._path} cannot be used: {error.strerror}") from error
