"""Signed notes (c2sp.org/signed-note) and cosignatures of checkpoints (c2sp.org/tlog-cosignature).

A note is text, an empty line, and a line for each signature. A key is known by its name and by a
32-bit id over name, kind and public key. Two kinds are known here: plain Ed25519, with which logs
sign, and Ed25519 cosignatures with the time at which a witness saw the checkpoint. Reading is
strict: what is accepted is written in exactly one way.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from selvedge.fabric import BadProof

ED25519: Final = 1
COSIGNATURE: Final = 4
KINDS: Final = {ED25519: "Ed25519", COSIGNATURE: "Ed25519 cosignature"}
NOTE_BYTES_MAX: Final = 65_535
"""Such that a note can be an entry of a log."""
SIGNATURES_MAX: Final = 100
TIME_S_MAX: Final = 2**63 - 1
_DASH: Final = "\N{EM DASH} "
_SIGNATURE_BYTES: Final = {ED25519: 64, COSIGNATURE: 72}


def is_key_name(name: str) -> bool:
    """Whether a key may bear the name: not empty, no spaces, no plus, nothing unprintable."""
    return bool(name) and not any(c.isspace() or c == "+" or c < " " for c in name)


def key_id(name: str, kind: int, public: bytes) -> int:
    """The first four bytes of SHA-256 of name, newline, kind and public key."""
    digest = sha256(name.encode() + b"\n" + bytes([kind]) + public).digest()
    return int.from_bytes(digest[:4], "big")


def strict_base64(text: str) -> bytes | None:
    """What standard base64 says, None unless it is written in the one canonical way."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


class Signature(msgspec.Struct, frozen=True):
    """One line under a note: who claims to have signed, and the bytes of it."""

    name: str
    key_id: int
    data: bytes

    @property
    def line(self) -> str:
        """With its newline."""
        blob = self.key_id.to_bytes(4, "big") + self.data
        return f"{_DASH}{self.name} {base64.b64encode(blob).decode()}\n"

    @property
    def time_s(self) -> int | None:
        """When a cosignature says that it was made; None where it is not long enough for one."""
        if len(self.data) != _SIGNATURE_BYTES[COSIGNATURE]:
            return None
        return int.from_bytes(self.data[:8], "big")


class Note(msgspec.Struct, frozen=True):
    """A text, which ends in a newline, and what is signed under it. Nothing is verified yet."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """The bytes of the note, as they are signed and stored."""
        return f"{self.text}\n{''.join(one.line for one in self.signatures)}".encode()


class Verifier(msgspec.Struct, frozen=True):
    """A public key by which signatures are checked."""

    name: str
    kind: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """From ``name+id+base64``. Raises `BadProof` where it is not a key of a kind known here."""
        name, _, rest = text.partition("+")
        id_, _, key = rest.partition("+")
        data = strict_base64(key)
        if not is_key_name(name) or data is None or len(data) < 2 or len(id_) != 8:
            raise BadProof("key", f"{text[:200]!r} is not name+id+base64")
        if id_ != f"{key_id(name, data[0], data[1:]):08x}":
            raise BadProof("key", f"the id {id_} is not that of {name!r} and its public key")
        if data[0] not in KINDS or len(data) != 33:
            raise BadProof("key", f"{name!r} is of a kind that is not known here; use Ed25519")
        return cls(name, data[0], data[1:])

    @property
    def key_id(self) -> int:
        """The number by which signatures name the key."""
        return key_id(self.name, self.kind, self.public)

    @property
    def text(self) -> str:
        """As ``name+id+base64``, which `parse` and other tools read."""
        key = base64.b64encode(bytes([self.kind]) + self.public).decode()
        return f"{self.name}+{self.key_id:08x}+{key}"

    def claims(self, signature: Signature) -> bool:
        """Whether the signature says that it is of this key."""
        return signature.name == self.name and signature.key_id == self.key_id

    def verify(self, text: str, signature: Signature) -> bool:
        """Whether this key made the signature over the text."""
        if not self.claims(signature) or len(signature.data) != _SIGNATURE_BYTES[self.kind]:
            return False
        message, raw = text.encode(), signature.data
        if self.kind == COSIGNATURE:
            time_s = int.from_bytes(raw[:8], "big")
            if time_s > TIME_S_MAX:
                return False
            message, raw = cosigned(text, time_s), raw[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(raw, message)
        except InvalidSignature:
            return False
        return True


class Signer:
    """A private key: 32 bytes of Ed25519 seed, under a name. Never shows the seed."""

    __slots__ = ("_id", "_private", "kind", "name", "verifier")

    def __init__(self, name: str, seed: bytes, kind: int = ED25519) -> None:
        if not is_key_name(name):
            raise BadProof("key", f"{name!r} cannot be a key's name: no spaces and no '+'")
        self.name = name
        self.kind = kind
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = Verifier(name, kind, self._private.public_key().public_bytes_raw())
        self._id = self.verifier.key_id

    def sign(self, text: str) -> Signature:
        """The signature over a note's text. A cosigner signs with `cosign`."""
        if self.kind != ED25519:
            raise ValueError("a cosigner's signature has a time: use cosign")
        return Signature(self.name, self._id, self._private.sign(text.encode()))

    def cosign(self, text: str, time_s: int) -> Signature:
        """The cosignature of a checkpoint, seen at ``time_s`` since 1970."""
        if self.kind != COSIGNATURE:
            raise ValueError("a log's key does not cosign: make the key of kind COSIGNATURE")
        raw = self._private.sign(cosigned(text, time_s))
        return Signature(self.name, self._id, time_s.to_bytes(8, "big") + raw)


def cosigned(text: str, time_s: int) -> bytes:
    """What a cosignature signs: a header, the time, and the whole text."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def check_text(text: str) -> None:
    """Raises `BadProof` unless the text may be signed as a note."""
    if not text.endswith("\n"):
        raise BadProof("note", "its text does not end in a newline")
    if any(c < " " and c != "\n" for c in text):
        raise BadProof("note", "holds a control character")


def sign_note(text: str, signers: Sequence[Signer]) -> Note:
    """A note under a text, signed by logs' keys."""
    check_text(text)
    return Note(text, tuple(signer.sign(text) for signer in signers))


def read_note(data: bytes) -> Note:
    """A note as it is written; its signatures are not checked. Raises `BadProof`."""
    if len(data) > NOTE_BYTES_MAX:
        raise BadProof("note", f"is larger than {NOTE_BYTES_MAX} bytes")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise BadProof("note", "is not UTF-8") from None
    text, blank, lines = whole.rpartition("\n\n")
    if not blank or not lines:
        raise BadProof("note", "has no empty line with signatures after it; it may be cut short")
    check_text(text + "\n")
    return Note(text + "\n", read_signatures(lines))


def read_signatures(lines: str) -> tuple[Signature, ...]:
    """Signature lines, each ended by a newline. Raises `BadProof`."""
    if not lines.endswith("\n"):
        raise BadProof("note", "its last signature line is cut short")
    found = tuple(_read_signature(line) for line in lines[:-1].split("\n"))
    if len(found) > SIGNATURES_MAX:
        raise BadProof("note", f"has more than {SIGNATURES_MAX} signatures")
    return found


def _read_signature(line: str) -> Signature:
    name, _, text = line.removeprefix(_DASH).partition(" ")
    data = strict_base64(text)
    if not line.startswith(_DASH) or not is_key_name(name) or data is None or len(data) < 5:
        raise BadProof("note", f"{line[:120]!r} is not a signature line")
    return Signature(name, int.from_bytes(data[:4], "big"), data[4:])


def verified(note: Note, keys: Iterable[Verifier]) -> tuple[Verifier, ...]:
    """The keys, of those given, that have signed. Other signatures are ignored.

    Raises `BadProof` where a signature names one of the keys and does not hold, or where none of
    the keys has signed: then the text must not be believed.
    """
    found: dict[Verifier, None] = {}
    for key in keys:
        for signature in note.signatures:
            if key.claims(signature):
                if not key.verify(note.text, signature):
                    raise BadProof("note", f"the signature of {key.name!r} does not hold")
                found[key] = None
    if not found:
        raise BadProof("note", "is signed by none of the keys that are trusted for it")
    return tuple(found)
