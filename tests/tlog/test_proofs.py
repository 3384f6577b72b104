"""The text of a proof."""

from __future__ import annotations

import base64

import pytest

from selvedge.fabric import BadProof
from selvedge.tlog import TlogProof, read_proof

HASHES = (b"\1" * 32, b"\2" * 32)
LINES = "".join(f"{base64.b64encode(one).decode()}\n" for one in HASHES)
CHECKPOINT = "example.com/fancylog\n109482\nsFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n\nx\n"


@pytest.mark.parametrize("extra", [None, b"", b"salt"])
@pytest.mark.parametrize("hashes", [(), HASHES])
def test_a_proof_reads_back(extra: bytes | None, hashes: tuple[bytes, ...]) -> None:
    proof = TlogProof(73_894, hashes, CHECKPOINT.encode(), extra)
    assert read_proof(proof.encode()) == proof


def test_the_text_is_the_specifications() -> None:
    proof = TlogProof(73_894, HASHES, CHECKPOINT.encode(), b"salt")
    assert proof.encode() == (
        f"c2sp.org/tlog-proof@v1\nextra c2FsdA==\nindex 73894\n{LINES}\n{CHECKPOINT}"
    )


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("@v1", "@v2", "does not begin with"),
        ("index 73894", "index 073894", "has no line 'index N'"),
        ("index 73894", "73894", "has no line 'index N'"),
        ("index 73894\n", "", "has no line 'index N'"),
        ("extra c2FsdA==", "extra c2FsdA", "extra line is not base64"),
        ("extra c2FsdA==\n", "extra c2FsdA==\nextra c2FsdA==\n", "has no line 'index N'"),
        (LINES, LINES.replace("=", ""), "its hash 0 is not"),
        (LINES, LINES + "AAAA\n", "its hash 2 is not"),
        (LINES, LINES * 32, "more than 63"),
        ("\n\nexample", "\nexample", "its hash 2 is not"),
        (f"\n{CHECKPOINT}", "", "its hash 2 is not"),
        (CHECKPOINT, "", "no checkpoint after an empty line"),
        (CHECKPOINT, "\ud800", "is not UTF-8"),
        (CHECKPOINT, "a" * 200_000, "is larger than"),
        (f"\nextra c2FsdA==\nindex 73894\n{LINES}\n{CHECKPOINT}", "", "has no line 'index N'"),
    ],
)
def test_malformed_proofs_are_refused_by_reason(old: str, new: str, why: str) -> None:
    text = TlogProof(73_894, HASHES, CHECKPOINT.encode(), b"salt").encode()
    assert old in text
    with pytest.raises(BadProof, match=why):
        read_proof(text.replace(old, new, 1))
