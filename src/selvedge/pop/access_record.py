"""Who read private receipts on this PoP's disk, and when: a file of lines, each of them logged.

Whoever reads writes the line first, and syncs it; the log's writer puts the hash of it into the
log. A read that cannot be written down is not made.
"""

from __future__ import annotations

import fcntl
import getpass
import hashlib
import os
from pathlib import Path
from typing import Final

import msgspec

from selvedge.fabric import StoreFailed
from selvedge.pop.clock import now_us

FOLDER: Final = "access"
FILE: Final = "access.jsonl"
READ_BYTES: Final = 64 * 1024


class Access(msgspec.Struct, frozen=True):
    """One read: when, by whom, with what, of what."""

    at_us: int
    who: str
    what: str
    of: str
    v: int = 1


def access_file(state_dir: Path) -> Path:
    """Where the accesses to a PoP's receipts are written down."""
    return state_dir / FOLDER / FILE


def write_access(state_dir: Path, what: str, of: str, who: str | None = None) -> str:
    """Write down a read that is about to be made; the SHA-256 of its line. Raises `StoreFailed`.

    ``who`` is a user of this machine, where it is not given.
    """
    line = msgspec.json.encode(Access(now_us(), who or user_here(), what, of))
    path = access_file(state_dir)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            size = os.fstat(fd).st_size
            torn = size and os.pread(fd, 1, size - 1) != b"\n"
            data = (b"\n" if torn else b"") + line + b"\n"
            if os.write(fd, data) != len(data):
                raise OSError(0, "the disk is full")
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        words = f"{path} cannot be written: {error.strerror}; what is not written down is not read"
        raise StoreFailed(words) from error
    return hashlib.sha256(line).hexdigest()


def user_here() -> str:
    """Who runs this process, by the name that this machine has for them."""
    name = os.environ.get("SUDO_USER")
    return f"{name} as {getpass.getuser()}" if name else getpass.getuser()


class AccessReader:
    """Reads the file from ``offset`` on, whole lines alone."""

    def __init__(self, state_dir: Path) -> None:
        self.path = access_file(state_dir)
        self.offset = 0

    def read(self) -> tuple[int, list[str]]:
        """A little more: bytes read, and the SHA-256 of each line. Raises `StoreFailed`."""
        try:
            with self.path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size < self.offset:
                    self.offset = 0  # set back to an older copy: rather logged twice than not
                if size == self.offset:
                    return 0, []
                file.seek(self.offset)
                data = file.read(READ_BYTES)
                end = data.rfind(b"\n") + 1
                if end:
                    os.fdatasync(file.fileno())
        except FileNotFoundError:
            return 0, []
        except OSError as error:
            raise StoreFailed(f"{self.path} cannot be read: {error.strerror}") from error
        self.offset += end
        lines = [line for line in data[:end].split(b"\n") if line]
        return end, [hashlib.sha256(line).hexdigest() for line in lines]
