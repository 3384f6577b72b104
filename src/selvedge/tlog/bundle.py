"""The bundle: one receipt with all that proves, offline, that and by when it was logged.

A JSON file in canonical form (RFC 8785; ASCII names, no floats) and one newline:

  v             ``selvedge/bundle/v1``
  receipt       the receipt; its bytes in the file are the canonical bytes that were hashed
  salt          base64, 32 bytes
  pop           tlog-proof of the receipt's leaf in the log of its PoP
  jurisdiction  tlog-proof of that PoP's checkpoint, the whole note, in the jurisdiction's log
  keys          verifier keys, one for each signature in its order: ``pop``, ``jurisdiction``,
                ``witnesses``, ``operator``
  names         null, or a note by the operator: the policy that says whose keys these are

Every byte is covered: what no signature covers must be written in the one canonical way, each
signature must hold under the key named for it, and each key must have a signature. Which keys are
*trusted* is for the verifier to say, and for nobody in the file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from selvedge.fabric import BadProof
from selvedge.tlog.checkpoints import Checkpoint, read_checkpoint
from selvedge.tlog.hashes import leaf_hash, verify_inclusion
from selvedge.tlog.notes import COSIGNATURE, Note, Verifier, read_note, strict_base64
from selvedge.tlog.proofs import TlogProof, read_proof
from selvedge.tlog.trust import SHARD, Trust

BUNDLE_VERSION: Final = "selvedge/bundle/v1"
BUNDLE_BYTES_MAX: Final = 512 * 1024
LEAF_DOMAIN: Final = b"selvedge/receipt/v1\n"
"""As the ledger writes it (a test compares them)."""
SALT_BYTES: Final = 32
_POP: Final = re.compile(rf"(?P<fleet>[^\s+]+)/pop/(?P<id>[^/\s+]+)/{SHARD}")
_JURISDICTION: Final = re.compile(rf"(?P<fleet>[^\s+]+)/jurisdiction/(?P<id>[^/\s+]+)/{SHARD}")


class BundleKeys(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who signed what is in the bundle, one verifier key for each signature, in their order."""

    jurisdiction: tuple[str, ...]
    operator: tuple[str, ...]
    pop: tuple[str, ...]
    witnesses: tuple[str, ...]


class Bundle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a bundle's file says; nothing of it is verified."""

    jurisdiction: str
    keys: BundleKeys
    names: str | None
    pop: str
    receipt: msgspec.Raw
    salt: str
    v: str = BUNDLE_VERSION


class Finding(msgspec.Struct, frozen=True):
    """One thing that was checked, in words; the first that is not good ends the check."""

    good: bool
    text: str


def write_bundle(bundle: Bundle) -> bytes:
    """The file. ``receipt`` is in canonical form already, as it is kept."""
    return msgspec.json.encode(bundle, order="sorted") + b"\n"


def read_bundle(data: bytes) -> Bundle:
    """Raises `BadProof` where the file is not a bundle in canonical form."""
    if len(data) > BUNDLE_BYTES_MAX:
        raise BadProof("bundle", f"is larger than {BUNDLE_BYTES_MAX} bytes")
    if not data.endswith(b"}\n"):
        raise BadProof("bundle", "does not end in '}' and a newline; it may be cut short")
    if canonical(data[:-1]) != data[:-1]:
        raise BadProof("bundle", "is not JSON in canonical form: it was changed or re-written")
    try:
        bundle = msgspec.json.decode(data, type=Bundle, strict=True)
    except msgspec.ValidationError as error:
        raise BadProof("bundle", str(error)) from None
    if bundle.v != BUNDLE_VERSION:
        raise BadProof("bundle", f"is {bundle.v[:40]!r}; this version reads {BUNDLE_VERSION}")
    return bundle


def canonical(data: bytes) -> bytes:
    """JSON re-written in canonical form. Raises `BadProof` where it is not JSON or has floats."""

    def refuse(text: str) -> float:
        raise BadProof("bundle", f"holds the number {text[:40]}: there are only integers")

    try:
        value = json.loads(data, parse_float=refuse, parse_constant=refuse)
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode()
    except (ValueError, RecursionError) as error:
        raise BadProof("bundle", f"is not JSON: {error}") from None


def receipt_leaf(receipt: bytes, salt: bytes) -> bytes:
    """The entry of a PoP's log: SHA-256 of domain, salt and canonical receipt."""
    return hashlib.sha256(LEAF_DOMAIN + salt + receipt).digest()


def verify_bundle(data: bytes, trust: Trust) -> list[Finding]:
    """Everything that is claimed, checked in order; ends at the first thing that does not hold."""
    findings: list[Finding] = []
    try:
        for text in _verify(read_bundle(data), trust):
            findings.append(Finding(True, text))
    except BadProof as error:
        findings.append(Finding(False, str(error)))
    return findings


def _verify(bundle: Bundle, trust: Trust) -> Iterator[str]:
    receipt, entry = _read_receipt(bundle)
    yield f"receipt {receipt.id} of tenant {receipt.tenant} hashes to leaf {entry.hex()}"
    pop = _Logged(bundle.pop, "PoP's log", _POP)
    pop.check_inclusion(entry, "the receipt's leaf")
    if pop.id != receipt.ingress_pop:
        raise BadProof(pop.what, f"is of PoP {pop.id!r}; the receipt is {receipt.ingress_pop!r}'s")
    pop.check_signatures(bundle.keys.pop)
    yield f"the leaf is at index {pop.index:,} of {pop.size:,} in {pop.origin}, signed by the PoP"
    home = _Logged(bundle.jurisdiction, "jurisdiction's log", _JURISDICTION)
    home.check_inclusion(pop.checkpoint_bytes, "the PoP's checkpoint")
    if home.fleet != pop.fleet:
        raise BadProof(home.what, f"is of the fleet {home.fleet!r} and not of {pop.fleet!r}")
    signers = home.check_signatures((*bundle.keys.jurisdiction, *bundle.keys.witnesses))
    yield (
        f"the PoP's checkpoint is at index {home.index:,} of {home.size:,} in {home.origin}, "
        "signed by the jurisdiction's log"
    )
    cosigners = signers[len(bundle.keys.jurisdiction) :]
    _check_kinds(bundle)
    names = _check_names(bundle)
    trust, whose = _whose(trust, names)
    yield whose
    pop.check_trusted(trust)
    home.check_trusted(trust)
    yield "the keys of both logs are trusted"
    yield _check_quorum(trust, home, cosigners)


class _Receipt(msgspec.Struct, frozen=True):
    """Of a receipt, what a proof depends on."""

    id: str
    tenant: str
    ingress_pop: str
    v: int


def _read_receipt(bundle: Bundle) -> tuple[_Receipt, bytes]:
    try:
        receipt = msgspec.json.decode(bundle.receipt, type=_Receipt)
    except msgspec.ValidationError as error:
        raise BadProof("receipt", str(error)) from None
    if receipt.v != 1:
        raise BadProof("receipt", f"is of version {receipt.v}; this version reads 1")
    salt = strict_base64(bundle.salt)
    if salt is None or len(salt) != SALT_BYTES:
        raise BadProof("salt", f"is not {SALT_BYTES} bytes in base64")
    return receipt, receipt_leaf(bytes(bundle.receipt), salt)


class _Logged:
    """One of the two proofs, and the checkpoint it is made for."""

    def __init__(self, text: str, what: str, origins: re.Pattern[str]) -> None:
        self.what = what
        proof: TlogProof = read_proof(text)
        if proof.extra is not None:
            raise BadProof(what, "its proof has an extra line, which nothing covers")
        self.checkpoint: Checkpoint
        self.note: Note
        self.checkpoint, self.note = read_checkpoint(proof.checkpoint)
        found = origins.fullmatch(self.checkpoint.origin)
        if found is None:
            raise BadProof(what, f"its origin {self.checkpoint.origin[:200]!r} is not one of such")
        self.fleet, self.id = found["fleet"], found["id"]
        self.checkpoint_bytes = proof.checkpoint
        self.index, self._hashes = proof.index, proof.hashes
        self.origin, self.size = self.checkpoint.origin, self.checkpoint.size
        self._signed_by: list[Verifier] = []

    def check_inclusion(self, entry: bytes, whose: str) -> None:
        root = self.checkpoint.root
        if not verify_inclusion(leaf_hash(entry), self.index, self.size, self._hashes, root=root):
            words = f"does not have {whose} at index {self.index}: the proof leads to another root"
            raise BadProof(self.what, words)

    def check_signatures(self, keys: Sequence[str]) -> list[Verifier]:
        self._signed_by = check_signatures(self.note, keys, self.what)
        return self._signed_by

    def check_trusted(self, trust: Trust) -> None:
        trusted = trust.keys_of(self.origin)
        if not any(key in trusted for key in self._signed_by):
            names = "a key that is not trusted" if trusted else "a key of a log that is not trusted"
            raise BadProof(self.what, f"{self.origin} is signed with {names}")


def check_signatures(note: Note, keys: Sequence[str], what: str) -> list[Verifier]:
    """The keys, parsed: the first made the first signature, and so on, and there are no others."""
    if len(keys) != len(note.signatures):
        words = f"has {len(note.signatures)} signatures, and the bundle names {len(keys)} keys"
        raise BadProof(what, words)
    found = []
    for text, signature in zip(keys, note.signatures, strict=True):
        key = Verifier.parse(text)
        if not key.claims(signature):
            raise BadProof(what, f"{signature.name[:200]!r} has signed where {key.name!r} is named")
        if not key.verify(note.text, signature):
            raise BadProof(what, f"the signature of {key.name!r} does not hold")
        found.append(key)
    if len(set(found)) != len(found):
        raise BadProof(what, "has two signatures by one key")
    return found


def _check_kinds(bundle: Bundle) -> None:
    """Logs do not cosign, and only a witness does."""
    keys = bundle.keys
    for text in (*keys.pop, *keys.jurisdiction, *keys.operator):
        if Verifier.parse(text).kind == COSIGNATURE:
            raise BadProof("keys", f"{text[:200]!r} is a witness's and stands elsewhere")
    for text in keys.witnesses:
        if Verifier.parse(text).kind != COSIGNATURE:
            raise BadProof("keys", f"{text[:200]!r} is not a witness's")


def _check_names(bundle: Bundle) -> Note | None:
    if bundle.names is None:
        if bundle.keys.operator:
            raise BadProof("keys", "name an operator, and the operator has signed nothing")
        return None
    note = read_note(bundle.names.encode())
    check_signatures(note, bundle.keys.operator, "names")
    return note


def _whose(trust: Trust, names: Note | None) -> tuple[Trust, str]:
    """The policy that counts, and a sentence on whose it is."""
    if not trust.operators:
        return trust, "keys and quorum are those that you gave"
    if names is None:
        raise BadProof("names", "are missing: no list of keys signed by the operator comes along")
    given = trust.by_note(names)
    signed = next(key for key in trust.operators if any(map(key.claims, names.signatures)))
    return given, f"keys and quorum are those that the operator {signed.name} has signed"


def _check_quorum(trust: Trust, home: _Logged, cosigners: Sequence[Verifier]) -> str:
    known = [key for key in cosigners if key in trust.witnesses.values()]
    if not trust.is_witnessed(known):
        names = ", ".join(key.name for key in known) or "nobody"
        words = f"is cosigned by {names} of those trusted: not the quorum {trust.quorum!r}"
        raise BadProof(home.what, words)
    if not known:
        return "no witness is asked for: a fork shown to others alone would not be seen"
    times = {
        key: one.time_s
        for key in known
        for one in home.note.signatures
        if key.claims(one) and one.time_s is not None
    }
    seen = ", ".join(f"{key.name} at {_utc(time_s)}" for key, time_s in times.items())
    return f"it was witnessed, and so logged at the latest then, by {seen}"


def _utc(time_s: int) -> str:
    try:
        return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{time_s} s"
