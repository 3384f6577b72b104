"""What a witness answers to a checkpoint (c2sp.org/tlog-witness, ``add-checkpoint``).

A witness remembers one size and root of each log and never cosigns what does not go on from there:
a log that was rolled back or forked gets no further cosignature. The decision is made here; whoever
asks holds a lock on the log's record from reading it until what is to be remembered is on disk, and
answers only then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from selvedge.fabric import BadProof
from selvedge.tlog.checkpoints import Checkpoint, read_checkpoint, read_size
from selvedge.tlog.hashes import EMPTY_ROOT, verify_consistency
from selvedge.tlog.notes import NOTE_BYTES_MAX, Note, Signer, Verifier, verified
from selvedge.tlog.proofs import read_hashes, write_hashes

SIZE_TYPE: Final = "text/x.tlog.size"
TEXT_TYPE: Final = "text/plain; charset=utf-8"
ADD_BYTES_MAX: Final = NOTE_BYTES_MAX + 4_096


class Submission(msgspec.Struct, frozen=True):
    """A checkpoint, and the proof that it goes on from the tree of ``old_size``."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: bytes

    def encode(self) -> bytes:
        """The body of ``POST add-checkpoint``."""
        head = f"old {self.old_size}\n{write_hashes(self.proof)}\n"
        return head.encode() + self.checkpoint


class WitnessedLog(msgspec.Struct, frozen=True):
    """A log as a witness knows it: its keys, and the last tree of it that was cosigned."""

    keys: tuple[Verifier, ...]
    size: int = 0
    root: bytes = EMPTY_ROOT


class Accepted(msgspec.Struct, frozen=True):
    """A checkpoint that goes on from what was known."""

    checkpoint: Checkpoint
    note: Note


class Refusal(msgspec.Struct, frozen=True):
    """Why not, as an HTTP status and one sentence; of 409 with the size that is known."""

    status: int
    why: str
    size: int | None = None

    @property
    def body(self) -> str:
        """The body of the answer: of 409 the size alone."""
        return f"{self.why if self.size is None else self.size}\n"

    @property
    def content_type(self) -> str:
        """The content type of the answer."""
        return TEXT_TYPE if self.size is None else SIZE_TYPE


class Cosigned(msgspec.Struct, frozen=True):
    """The cosignature, to be sent as ``body`` once ``checkpoint`` is remembered on disk."""

    checkpoint: Checkpoint
    body: str
    status: int = 200
    content_type: str = TEXT_TYPE


def read_submission(body: bytes) -> Submission:
    """Raises `BadProof` where the body is not one of ``add-checkpoint``."""
    if len(body) > ADD_BYTES_MAX:
        raise BadProof("request", f"is larger than {ADD_BYTES_MAX} bytes")
    head, blank, checkpoint = body.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise BadProof("request", "is not ASCII before the checkpoint") from None
    old_size = read_size(lines[0].removeprefix("old "))
    if not lines.pop(0).startswith("old ") or old_size is None:
        raise BadProof("request", "does not begin with a line 'old SIZE'")
    if not blank or not checkpoint:
        raise BadProof("request", "has no checkpoint after an empty line; it may be cut short")
    return Submission(old_size, read_hashes(lines), checkpoint)


def judge(body: bytes, find: Callable[[str], WitnessedLog | None]) -> Accepted | Refusal:
    """Whether a submitted checkpoint is signed by its log and goes on from what is known of it.

    ``find`` gives the log of an origin. The order of the checks is the specification's.
    """
    try:
        asked = read_submission(body)
        checkpoint, note = read_checkpoint(asked.checkpoint)
    except BadProof as error:
        return Refusal(400, str(error))
    log = find(checkpoint.origin)
    if log is None:
        return Refusal(404, f"the log {checkpoint.origin!r} is not known here")
    try:
        verified(note, log.keys)
    except BadProof as error:
        return Refusal(403, str(error))
    if asked.old_size > checkpoint.size:
        return Refusal(400, f"the old size {asked.old_size} is above the new, {checkpoint.size}")
    if asked.old_size != log.size:
        return Refusal(409, f"the last size known here is {log.size}", log.size)
    if checkpoint.size == log.size and checkpoint.root != log.root:
        return Refusal(409, f"another tree of size {log.size} is known here: a fork", log.size)
    if not verify_consistency(
        log.size, checkpoint.size, asked.proof, old_root=log.root, root=checkpoint.root
    ):
        return Refusal(422, f"the proof does not lead from size {log.size} to this checkpoint")
    return Accepted(checkpoint, note)


def witness_checkpoint(
    body: bytes, find: Callable[[str], WitnessedLog | None], signer: Signer, time_s: int
) -> Cosigned | Refusal:
    """The whole decision of a witness, with its cosignature made at ``time_s`` since 1970."""
    judged = judge(body, find)
    if isinstance(judged, Refusal):
        return judged
    return Cosigned(judged.checkpoint, signer.cosign(judged.note.text, time_s).line)
