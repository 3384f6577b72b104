"""Legal holds: tenants whose receipts are not dropped, whatever their time says.

A file of lines beside the receipts, at a PoP or a collector; who set and who released a hold stays
in it. Where it cannot be read nothing is dropped.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final, Literal

import msgspec

from selvedge.fabric import StoreFailed

HOLDS_FILE: Final = "holds.jsonl"

Act = Literal["hold", "release"]


class Hold(msgspec.Struct, frozen=True):
    """A hold that was set on a tenant's receipts, or released."""

    act: Act
    tenant: str
    at_us: int
    who: str
    reason: str
    v: int = 1


def read_holds(directory: Path) -> list[Hold]:
    """Every act, in order. Raises `StoreFailed`."""
    path = directory / HOLDS_FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreFailed(f"{path} cannot be read: {error.strerror}") from error
    try:
        return [msgspec.json.decode(line, type=Hold) for line in data.split(b"\n") if line]
    except msgspec.MsgspecError as error:
        words = "restore it; until then nothing is dropped"
        raise StoreFailed(f"{path} holds a line that is no hold ({error}); {words}") from error


def held_tenants(directory: Path) -> frozenset[str]:
    """The tenants that are held now. Raises `StoreFailed`."""
    held: dict[str, Act] = {}
    for one in read_holds(directory):
        held[one.tenant] = one.act
    return frozenset(tenant for tenant, act in held.items() if act == "hold")


def write_hold(directory: Path, hold: Hold) -> None:
    """Add an act, for good. Raises `StoreFailed`."""
    path = directory / HOLDS_FILE
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            size = os.fstat(fd).st_size
            data = msgspec.json.encode(hold) + b"\n"
            if os.write(fd, data) != len(data):
                os.ftruncate(fd, size)
                raise OSError(0, "the disk is full")
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise StoreFailed(f"{path} cannot be written: {error.strerror}") from error
