"""Signed notes: the published examples, what is malformed, and cosignatures."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selvedge.fabric import BadProof
from selvedge.tlog import (
    COSIGNATURE,
    ED25519,
    NOTE_BYTES_MAX,
    Note,
    Signature,
    Signer,
    Verifier,
    read_note,
    read_signatures,
    sign_note,
    verified,
)
from selvedge.tlog.notes import SIGNATURES_MAX, key_id

# The examples of Go's sumdb/note, under its two keys.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER_LINE = (
    "\N{EM DASH} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXg"
    "KvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "\N{EM DASH} EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01"
    "oOTGwnWLox33WWd1RvMc+QQ=\n"
)
PUBLISHED = f"{TEXT}\n{PETER_LINE}{ENOCH_LINE}".encode()


def test_the_published_note_verifies() -> None:
    note = read_note(PUBLISHED)
    peter, enoch = Verifier.parse(PETER), Verifier.parse(ENOCH)
    assert note.text == TEXT
    assert note.encode() == PUBLISHED
    assert verified(note, [peter, enoch]) == (peter, enoch)
    assert verified(note, [peter]) == (peter,)  # the other is not known, and ignored
    assert peter.text == PETER
    assert (peter.name, peter.key_id, peter.kind) == ("PeterNeumann", 0xC74F20A3, ED25519)
    assert note.signatures[0].time_s is None


def test_we_sign_the_published_note_to_the_byte() -> None:
    signer = Signer("PeterNeumann", PETER_SEED)
    assert sign_note(TEXT, [signer]).encode() == f"{TEXT}\n{PETER_LINE}".encode()
    assert signer.verifier.text == PETER


def test_every_mangled_key_is_refused() -> None:
    for start in range(len(PETER)):
        for end in range(start, len(PETER) + 1):
            if (start, end) != (0, len(PETER)):
                with pytest.raises(BadProof):
                    Verifier.parse(PETER[start:end])
    for at, letter in enumerate(PETER):
        with pytest.raises(BadProof):
            Verifier.parse(PETER[:at] + chr(ord(letter) + 1) + PETER[at + 1 :])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        # From Go's tests: with ids that fit, a key of a wrong length, and a kind nobody knows.
        ("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==", "name+id"),
        ("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "is of a kind"),
        ("", "is not name"),
        ("a b+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "is not name"),
        (PETER.replace("c74f20a3", "C74F20A3"), "the id C74F20A3 is not that of"),
    ],
)
def test_bad_keys_are_refused_by_reason(text: str, why: str) -> None:
    with pytest.raises(BadProof, match=why.replace("+", r"\+")):
        Verifier.parse(text)


def test_a_short_key_of_a_known_kind_is_refused() -> None:
    id_ = key_id("short", ED25519, b"123")
    key = base64.b64encode(b"\x01123").decode()
    with pytest.raises(BadProof, match="use Ed25519"):
        Verifier.parse(f"short+{id_:08x}+{key}")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no empty line with signatures"),
        (TEXT.encode(), "no empty line with signatures"),
        (f"{TEXT}\n".encode(), "no empty line with signatures"),
        (f"{TEXT}{PETER_LINE}".encode(), "no empty line with signatures"),
        (PUBLISHED[:-1], "last signature line is cut short"),
        (PUBLISHED[:-3], "last signature line is cut short"),
        (PUBLISHED + b"\n", "no empty line with signatures"),
        (PUBLISHED + b"text\n", "is not a signature line"),
        (PUBLISHED.replace("\N{EM DASH}".encode(), b"-"), "is not a signature line"),
        (PUBLISHED.replace(b" PeterNeumann ", b" Peter+Neumann "), "is not a signature line"),
        (PUBLISHED.replace(b" PeterNeumann ", b"  "), "is not a signature line"),
        (PUBLISHED.replace(b"nAM=", b"nAN="), "is not a signature line"),  # other unused bits
        (PUBLISHED.replace(b"nAM=", b"nAM"), "is not a signature line"),
        (PUBLISHED.replace(b"problem,", b"problem,\r"), "control character"),
        (PUBLISHED.replace(b"problem,", b"problem,\xff"), "is not UTF-8"),
        ("a\n\n\N{EM DASH} b AAAAAA==\n".encode(), "is not a signature line"),
        (b"a" * (NOTE_BYTES_MAX + 1), f"larger than {NOTE_BYTES_MAX}"),
        (f"a\n\n{PETER_LINE * (SIGNATURES_MAX + 1)}".encode(), "more than 100 signatures"),
    ],
)
def test_malformed_notes_are_refused_by_reason(data: bytes, why: str) -> None:
    with pytest.raises(BadProof, match=why):
        read_note(data)


def test_a_text_may_hold_empty_lines_and_must_end() -> None:
    signer = Signer("a", bytes(32))
    note = sign_note("one\n\ntwo\n", [signer])
    assert read_note(note.encode()) == note
    for text in ("", "one", "one\ttwo\n"):
        with pytest.raises(BadProof):
            sign_note(text, [signer])


def test_a_note_by_nobody_that_is_trusted_is_refused() -> None:
    note = read_note(PUBLISHED)
    with pytest.raises(BadProof, match="none of the keys"):
        verified(note, [Signer("other", bytes(32)).verifier])
    with pytest.raises(BadProof, match="none of the keys"):
        verified(note, [])
    changed = Note(TEXT.replace("know", "knew"), note.signatures)
    with pytest.raises(BadProof, match="the signature of 'PeterNeumann' does not hold"):
        verified(changed, [Verifier.parse(PETER)])


def test_one_bad_signature_of_a_known_key_refuses_the_note() -> None:
    peter, enoch = Verifier.parse(PETER), Verifier.parse(ENOCH)
    good, other = read_note(PUBLISHED).signatures
    bad = Signature(other.name, other.key_id, other.data[:-1] + b"\0")
    with pytest.raises(BadProof, match="EnochRoot"):
        verified(Note(TEXT, (good, bad)), [peter, enoch])


@given(st.integers(0, len(PUBLISHED) - 1), st.integers(1, 255))
def test_no_changed_byte_leaves_both_signatures_standing(at: int, mask: int) -> None:
    data = bytearray(PUBLISHED)
    data[at] ^= mask
    keys = Verifier.parse(PETER), Verifier.parse(ENOCH)
    with contextlib.suppress(BadProof):
        assert len(verified(read_note(bytes(data)), keys)) < 2


def test_cosignatures() -> None:
    witness = Signer("witness.example/w1", bytes(range(32)), COSIGNATURE)
    text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    line = witness.cosign(text, 1_679_315_147)
    assert line.time_s == 1_679_315_147
    assert len(line.data) == 72
    assert read_signatures(line.line) == (line,)
    key = Verifier.parse(witness.verifier.text)
    assert key.kind == COSIGNATURE
    assert key.verify(text, line)
    assert not key.verify(text.replace("63", "64"), line)
    later = Signature(line.name, line.key_id, (1_679_315_148).to_bytes(8, "big") + line.data[8:])
    assert not key.verify(text, later)
    never = Signature(line.name, line.key_id, b"\xff" * 8 + line.data[8:])
    assert not key.verify(text, never)
    assert not key.verify(text, Signature(line.name, line.key_id, line.data[8:]))
    assert not key.verify(text, Signature("other", line.key_id, line.data))


def test_a_cosigner_and_a_log_do_not_sign_for_each_other() -> None:
    log, witness = Signer("a", bytes(32)), Signer("a", bytes(32), COSIGNATURE)
    assert log.verifier.key_id != witness.verifier.key_id
    with pytest.raises(ValueError, match="use cosign"):
        witness.sign("a\n")
    with pytest.raises(ValueError, match="does not cosign"):
        log.cosign("a\n", 1)
    with pytest.raises(BadProof, match="cannot be a key's name"):
        Signer("a b", bytes(32))
    assert "\\x00" not in repr(log)
