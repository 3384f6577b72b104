"""The journal on disk: append-only segments, group fsync, recovery. And its memory twin.

``write`` returns when ``write(2)`` has: what it wrote survives ``kill -9``. A thread fsyncs within
``fsync_ms`` of the first unsynced byte, off the event loop. A write that fails or is cut short is
undone by truncation; where even that fails the journal closes itself to writing, because a torn
line in the middle would make the rest unreadable.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final, Protocol

from selvedge.fabric import Receipt, StoreCorrupt, StoreFailed
from selvedge.ledger import (
    Recovery,
    Sealed,
    SegmentHeader,
    receipts_of,
    recover,
    write_line,
)

SEGMENT_BYTES_MAX: Final = 64 * 1024 * 1024
_NAME: Final = "receipts-{:08d}.log"
_GLOB: Final = "receipts-*.log"
_ID: Final = re.compile(rb'"id":"([^"]*)"')


class Appender(Protocol):
    """Where records go. A promise: after ``append`` returned, the lines survive ``kill -9``."""

    def append(self, line: bytes) -> None:
        """Write lines whole, together. Raises `StoreFailed`; then either nothing of them is there,
        or they may be and every later call is refused: recovery finds out, nothing follows.
        """

    def roll(self, header: SegmentHeader) -> bool:
        """Start a new segment if the current one is full; whether it did."""

    @property
    def full(self) -> bool:
        """Whether it is time to roll."""

    @property
    def broken(self) -> str | None:
        """Why nothing can be written any more, or None."""

    def close(self) -> None:
        """Sync and close."""


class FileAppender:
    """Segments in a directory that one process owns, by a lock.

    ``on_trouble`` is told, from the syncing thread, of an fsync that failed; ``before_sync`` runs
    there before each.
    """

    def __init__(
        self,
        directory: Path,
        fsync_ms: int = 5,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        on_trouble: Callable[[OSError], None] = lambda _: None,
        before_sync: Callable[[], None] = lambda: None,
    ) -> None:
        self._directory = directory
        self._fsync_s = fsync_ms / 1000
        self._bytes_max = segment_bytes_max
        self._on_trouble = on_trouble
        self._before_sync = before_sync
        self._fd = -1
        self._size = 0
        self._broken: str | None = None
        self._dirty = False
        self._stopping = False
        # Two locks as signals, held until given: a Condition costs tens of microseconds a turn.
        self._wake = _held_lock()
        self._closing = _held_lock()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock_fd = _lock(directory)
        except OSError as error:
            raise StoreFailed(f"{directory} cannot be used: {error.strerror}") from error
        self._syncer = threading.Thread(target=self._sync_loop, name="journal-fsync", daemon=True)

    def open(self) -> Recovery:
        """Read the newest segment, cut a torn tail, and go on appending to it.

        Raises `StoreCorrupt` where anything but the tail is damaged.
        """
        segments = sorted(self._directory.glob(_GLOB))
        found = Recovery({}, {})
        if segments:
            try:
                found = self._recover(segments[-1])
                self._fd = os.open(segments[-1], os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            except OSError as error:
                raise StoreFailed(f"{segments[-1]} cannot be used: {error.strerror}") from error
            self._size = found.whole_bytes
        self._syncer.start()
        return found

    def _recover(self, path: Path) -> Recovery:
        try:
            found = recover(path.read_bytes())
        except StoreCorrupt as error:
            raise StoreCorrupt(f"{path}: {error}; restore it or move it away") from error
        if path.name != _NAME.format(found.segment):
            raise StoreCorrupt(f"{path}: its header is not its own; restore it or move it away")
        if found.torn_bytes:
            with path.open("r+b") as file:
                file.seek(found.whole_bytes)
                path.with_suffix(f".torn-{found.whole_bytes}").write_bytes(file.read())
                file.truncate(found.whole_bytes)
                os.fsync(file.fileno())
        return found

    @property
    def broken(self) -> str | None:
        """Why nothing can be written any more, or None."""
        return self._broken

    def append(self, line: bytes) -> None:
        """Write lines whole, or nothing of them; raises `StoreFailed`."""
        if self._broken is not None:
            raise StoreFailed(self._broken)
        try:
            written = os.write(self._fd, line)
        except OSError as error:
            self._undo()
            raise StoreFailed(f"the journal cannot be written: {error.strerror}") from error
        if written != len(line):
            self._undo()
            raise StoreFailed("the journal cannot be written: the disk is full")
        self._size += written
        if not self._dirty:
            self._dirty = True
            self._wake.release()

    def _undo(self) -> None:
        """Cut what a failed write left; a journal that cannot be cut takes no more."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError as error:
            self._broken = f"the journal ends in a line not written whole: {error.strerror}"

    @property
    def full(self) -> bool:
        """Whether the first segment, or the next, is to be started."""
        return self._fd < 0 or self._size >= self._bytes_max

    def roll(self, header: SegmentHeader) -> bool:
        """Start the first or next segment with ``header``; whether it was time to."""
        if self._broken is not None or not self.full:
            return False
        line = write_line(header)
        try:
            new_fd = self._start_segment(self._directory / _NAME.format(header.segment), line)
        except OSError as error:
            if self._fd >= 0:
                return False
            raise StoreFailed(f"the journal cannot be started: {error.strerror}") from error
        old_fd, self._fd, self._size = self._fd, new_fd, len(line)
        if old_fd >= 0:
            os.close(old_fd)
        try:
            _sync_directory(self._directory)
        except OSError as error:
            self._break(error)
        return True

    def _start_segment(self, path: Path, line: bytes) -> int:
        """A new segment's descriptor. Nothing that may fail comes after the rename: a segment that
        has its name is the newest, and recovery will read no other. What came before it is synced.
        """
        draft = path.with_suffix(".tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(draft, flags, 0o600)
        try:
            if os.write(fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(fd)
            self._sync_before_roll()
            draft.rename(path)
        except OSError:
            os.close(fd)
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
        return fd

    def _sync_before_roll(self) -> None:
        if self._fd < 0:
            return
        try:
            os.fsync(self._fd)
        except OSError as error:
            self._break(error)
            raise

    def _sync_loop(self) -> None:
        while not self._stopping:
            self._wake.acquire()
            self._closing.acquire(timeout=self._fsync_s)
            self._dirty = False  # before the sync: what is written from here on wakes it again
            self._sync()

    def _sync(self) -> None:
        fd = self._fd
        if fd < 0:
            return
        try:
            # What receipts commit to is on disk before they are.
            self._before_sync()
            os.fdatasync(fd)
        except OSError as error:
            # EBADF: the segment was rolled meanwhile, which synced it.
            if fd == self._fd:
                self._break(error)

    def _break(self, error: OSError) -> None:
        self._broken = f"the journal cannot be synced: {error.strerror}"
        self._on_trouble(error)

    def close(self) -> None:
        """Sync and close; the directory may then be opened by another process."""
        if self._syncer.is_alive():
            self._stopping = True
            self._closing.release()
            if self._wake.locked():  # it sleeps, or is past this lock and will look at the flag
                self._wake.release()
            self._syncer.join()
        self._sync()
        for fd in (self._fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock_fd = -1


class MemoryAppender:
    """The twin for tests. ``fault`` may name, per append, how it fails.

    ``"lost"``: failed, not written; ``"kept"``: failed, but written, and everything after refused.
    """

    def __init__(self, fault: Callable[[int], str | None] = lambda _: None) -> None:
        self.lines: list[bytes] = []
        self._fault = fault
        self._count = 0
        self._started = False
        self._broken = False

    @property
    def broken(self) -> str | None:
        """Whether a line was kept that should not have been."""
        return "fault hook" if self._broken else None

    def append(self, line: bytes) -> None:
        """Keep lines, or fail as the hook says."""
        if self._broken:
            raise StoreFailed("fault hook: broken since a line was kept")
        self._count += 1
        fault = self._fault(self._count)
        self._broken = fault == "kept"
        if fault != "lost":
            self.lines += line.splitlines(keepends=True)
        if fault is not None:
            raise StoreFailed(f"fault hook: {fault}")

    @property
    def full(self) -> bool:
        """Whether the one segment is still to be started."""
        return not self._started

    def roll(self, header: SegmentHeader) -> bool:
        """One segment only."""
        if self._started:
            return False
        self._started = True
        self.lines.append(write_line(header))
        return True

    def close(self) -> None:
        """Nothing to do."""


def _lock(directory: Path) -> int:
    fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        raise StoreFailed(
            f"{directory} is in use by another process; stop it or choose another state directory"
        ) from error
    return fd


def _held_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_segments(directory: Path) -> Iterator[bytes]:
    """Lines of all segments, oldest first, with their line ends; for readers of a live journal."""
    for path in sorted(directory.glob(_GLOB)):
        with contextlib.closing(path.open("rb")) as file:
            yield from file


def find_sealed(directory: Path, receipt_id: str) -> Sealed | None:
    """The sealed receipt with this id, newest segment first; None where there is none."""
    needle = f'"id":"{receipt_id}"'.encode()
    for path in sorted(directory.glob(_GLOB), reverse=True):
        with path.open("rb") as file:
            hits = (line for line in file if needle in line)
            for sealed in receipts_of(hits):
                if sealed.decode().id == receipt_id:
                    return sealed
    return None


def find_receipts(directory: Path, ids: Collection[str], since_s: float) -> dict[str, Receipt]:
    """Those of these receipts that are in the newest two segments, or written after ``since_s``."""
    found: dict[str, Receipt] = {}
    for age, path in enumerate(sorted(directory.glob(_GLOB), reverse=True)):
        if age > 1 and path.stat().st_mtime < since_s:
            break
        with path.open("rb") as file:
            hits = (line for line in file if any(one in ids for one in _ids_in(line)))
            receipts = [sealed.decode() for sealed in receipts_of(hits)]
        found |= {one.id: one for one in receipts if one.id in ids}
        if len(found) == len(ids):
            break
    return found


def _ids_in(line: bytes) -> list[str]:
    return [one.decode() for one in _ID.findall(line)]


def find_receipt(directory: Path, receipt_id: str) -> Receipt | None:
    """The receipt with this id, or None."""
    sealed = find_sealed(directory, receipt_id)
    return sealed.decode() if sealed is not None else None
