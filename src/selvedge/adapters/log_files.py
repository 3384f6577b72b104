"""The files of a log's folder: where a write stands for good, and where only under its name.

`LogFiles` is what a log store needs of a disk; `FolderFiles` is a real one. A path has its folders
in it, and folders come with the first file. Everything raises `StoreFailed` that names the file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol

from selvedge.adapters.plain_files import named_errors

SYNCED_TOGETHER: Final = 8
_DRAFT: Final = ".draft"


class LogFiles(Protocol):
    """Files by path below one folder."""

    def read(self, path: str) -> bytes | None:
        """A whole file; None where there is none."""

    def names(self, folder: str) -> list[str]:
        """Names in a folder, in order; none where it is not there."""

    def put(self, path: str, data: bytes) -> None:
        """A file, whole under its name, but not synced: it may be gone or torn with the power."""

    def replace(self, path: str, data: bytes) -> None:
        """A file, whole and synced under its name, or as it was before."""

    def append(self, path: str, data: bytes) -> None:
        """Write behind what is there. Where it fails a part may be there."""

    def sync(self, paths: Iterable[str]) -> None:
        """These files, and that they are in their folders, survive a loss of power."""

    def cut(self, path: str, size: int) -> None:
        """Drop what is behind ``size``, and sync."""

    def remove(self, path: str) -> None:
        """Drop a file, or a folder with all that is in it; nothing where it is not there."""


class FolderFiles:
    """`LogFiles` on a real file system."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open_path = ""
        self._fd = -1
        self._known_folders: set[Path] = set()
        """Those whose own names are on disk for good."""

    def read(self, path: str) -> bytes | None:
        """A whole file; None where there is none."""
        with named_errors(self.folder / path):
            try:
                return (self.folder / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def names(self, folder: str) -> list[str]:
        """Names in a folder, in order."""
        with named_errors(self.folder / folder):
            try:
                found = os.listdir(self.folder / folder)
            except FileNotFoundError:
                return []
            return sorted(one for one in found if not one.endswith(_DRAFT))

    def put(self, path: str, data: bytes) -> None:
        """A file, whole under its name, not synced."""
        target = self.folder / path
        with named_errors(target):
            self._write(target, data, synced=False)

    def replace(self, path: str, data: bytes) -> None:
        """A file, whole and synced under its name."""
        target = self.folder / path
        with named_errors(target):
            self._write(target, data, synced=True)
            self._sync_folders({target.parent})

    def _write(self, target: Path, data: bytes, *, synced: bool) -> None:
        draft = f"{target}{_DRAFT}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        try:
            fd = os.open(draft, flags, 0o644)
        except FileNotFoundError:
            target.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(draft, flags, 0o644)
        try:
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                if synced:
                    os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(draft, target)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise

    def append(self, path: str, data: bytes) -> None:
        """Write behind what is there."""
        with named_errors(self.folder / path):
            self._open(path)
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]

    def sync(self, paths: Iterable[str]) -> None:
        """These files, and their names, survive a loss of power. Many are synced beside each
        other: the file system writes its own log for all of them at once.
        """
        wanted = list(paths)
        own = [one for one in wanted if one == self._open_path]
        for path in own:
            with named_errors(self.folder / path):
                os.fdatasync(self._fd)
        others = [self.folder / one for one in wanted if one != self._open_path]
        if len(others) > SYNCED_TOGETHER:
            with ThreadPoolExecutor(SYNCED_TOGETHER, "log-sync") as pool:
                list(pool.map(_sync_file, others))
        else:
            for target in others:
                _sync_file(target)
        with named_errors(self.folder):
            self._sync_folders({one.parent for one in others})

    def _sync_folders(self, folders: Iterable[Path]) -> None:
        """Each, and the first time those above it: a new folder is a name in another."""
        wanted = set(folders)
        for one in list(wanted):
            above = one
            while one not in self._known_folders and above != self.folder:
                above = above.parent
                wanted.add(above)
        for one in wanted:
            _sync_path(one, os.O_RDONLY | os.O_DIRECTORY)
        self._known_folders |= wanted

    def cut(self, path: str, size: int) -> None:
        """Drop what is behind ``size``, and sync."""
        with named_errors(self.folder / path):
            self._open(path)
            os.ftruncate(self._fd, size)
            os.fsync(self._fd)

    def remove(self, path: str) -> None:
        """Drop a file, or a folder with all that is in it."""
        target = self.folder / path
        if path == self._open_path:
            self.close()
        with named_errors(target):
            try:
                target.unlink(missing_ok=True)
            except IsADirectoryError:
                shutil.rmtree(target)

    def close(self) -> None:
        """Close the file that was appended to last."""
        if self._fd >= 0:
            os.close(self._fd)
        self._open_path, self._fd = "", -1

    def _open(self, path: str) -> None:
        if path == self._open_path:
            return
        self.close()
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(target, flags, 0o600)
        self._open_path = path


def _sync_file(target: Path) -> None:
    with named_errors(target):
        _sync_path(target, os.O_RDONLY | os.O_CLOEXEC)


def _sync_path(target: Path, flags: int) -> None:
    fd = os.open(target, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
