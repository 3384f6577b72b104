"""Checkpoints: the signed statement of a log's size and root (c2sp.org/tlog-checkpoint)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from selvedge.fabric import BadProof
from selvedge.tlog.hashes import HASH_BYTES, SIZE_MAX
from selvedge.tlog.notes import (
    Note,
    Signer,
    Verifier,
    read_note,
    sign_note,
    strict_base64,
    verified,
)

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")


class Checkpoint(msgspec.Struct, frozen=True):
    """A log, by its origin, at one size. Extension lines are kept, and used by nobody."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The note's text."""
        root = base64.b64encode(self.root).decode()
        return "".join(f"{line}\n" for line in (self.origin, self.size, root, *self.extensions))

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Raises `BadProof` where the text is not a checkpoint's."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() or not all(lines):
            raise BadProof("checkpoint", "has not three lines, none empty; is it cut short?")
        size = read_size(lines[1])
        if size is None:
            raise BadProof("checkpoint", f"its size {lines[1][:40]!r} is not a decimal number")
        root = strict_base64(lines[2])
        if root is None or len(root) != HASH_BYTES:
            raise BadProof("checkpoint", "its root is not 32 bytes in base64")
        return cls(lines[0], size, root, tuple(lines[3:]))


def read_size(text: str) -> int | None:
    """A size or index as notes write it: no leading zeros, below 2^63."""
    size = int(text) if _SIZE.fullmatch(text) and text.isascii() else None
    return size if size is not None and size <= SIZE_MAX else None


def sign_checkpoint(checkpoint: Checkpoint, signers: Sequence[Signer]) -> bytes:
    """The signed note. Whoever signs has made sure that no other history was ever signed."""
    return sign_note(checkpoint.text, signers).encode()


def read_checkpoint(data: bytes) -> tuple[Checkpoint, Note]:
    """A checkpoint and its note, with no signature checked. Raises `BadProof`."""
    note = read_note(data)
    return Checkpoint.parse(note.text), note


def open_checkpoint(data: bytes, origin: str, keys: Iterable[Verifier]) -> Checkpoint:
    """The checkpoint, signed by one of the keys at least. Raises `BadProof`."""
    checkpoint, note = read_checkpoint(data)
    if checkpoint.origin != origin:
        raise BadProof("checkpoint", f"is of {checkpoint.origin[:200]!r} and not of {origin!r}")
    verified(note, keys)
    return checkpoint
