"""A proof that an entry is in a log, in one text that is checked offline (c2sp.org/tlog-proof)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Final

import msgspec

from selvedge.fabric import BadProof
from selvedge.tlog.checkpoints import read_size
from selvedge.tlog.hashes import HASH_BYTES, PROOF_HASHES_MAX
from selvedge.tlog.notes import NOTE_BYTES_MAX, strict_base64

PROOF_HEADER: Final = "c2sp.org/tlog-proof@v1"
_PROOF_BYTES_MAX: Final = 2 * NOTE_BYTES_MAX


class TlogProof(msgspec.Struct, frozen=True):
    """Index and inclusion proof of an entry, and the checkpoint that it is in, verbatim.

    ``extra`` is bytes for an application; no signature covers them.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def encode(self) -> str:
        """The text of a ``.tlog-proof`` file."""
        extra = "" if self.extra is None else f"extra {base64.b64encode(self.extra).decode()}\n"
        hashes = write_hashes(self.hashes)
        return f"{PROOF_HEADER}\n{extra}index {self.index}\n{hashes}\n{self.checkpoint.decode()}"


def read_proof(text: str) -> TlogProof:
    """Raises `BadProof` where the text is not a proof; verifies nothing yet."""
    if len(text) > _PROOF_BYTES_MAX:
        raise BadProof("proof", f"is larger than {_PROOF_BYTES_MAX} characters")
    head, blank, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if lines.pop(0) != PROOF_HEADER:
        raise BadProof("proof", f"does not begin with {PROOF_HEADER}")
    extra = None
    if lines and lines[0].startswith("extra "):
        extra = strict_base64(lines.pop(0).removeprefix("extra "))
        if extra is None:
            raise BadProof("proof", "its extra line is not base64")
    index = read_size(lines[0].removeprefix("index ")) if lines else None
    if index is None or not lines.pop(0).startswith("index "):
        raise BadProof("proof", "has no line 'index N'")
    hashes = read_hashes(lines)
    if not blank or not checkpoint:
        raise BadProof("proof", "has no checkpoint after an empty line; it may be cut short")
    try:
        return TlogProof(index, hashes, checkpoint.encode(), extra)
    except UnicodeEncodeError:
        raise BadProof("proof", "is not UTF-8") from None


def write_hashes(hashes: Sequence[bytes]) -> str:
    """A line of base64 for each."""
    return "".join(f"{base64.b64encode(one).decode()}\n" for one in hashes)


def read_hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    """The hashes of a proof. Raises `BadProof`."""
    if len(lines) > PROOF_HASHES_MAX:
        raise BadProof("proof", f"has more than {PROOF_HASHES_MAX} hashes")
    found = []
    for number, line in enumerate(lines):
        one = strict_base64(line)
        if one is None or len(one) != HASH_BYTES:
            raise BadProof("proof", f"its hash {number} is not 32 bytes in base64")
        found.append(one)
    return tuple(found)
