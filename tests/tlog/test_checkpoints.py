"""Checkpoints: their text, and what is refused of one that is damaged or another's."""

from __future__ import annotations

import pytest

from selvedge.fabric import BadProof
from selvedge.tlog import (
    COSIGNATURE,
    EMPTY_ROOT,
    Checkpoint,
    Signer,
    open_checkpoint,
    read_checkpoint,
    read_signatures,
    sign_checkpoint,
)

# The example of c2sp.org/tlog-checkpoint, with a cosignature of c2sp.org/tlog-cosignature.
EXAMPLE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\N{EM DASH} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/\
Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\N{EM DASH} witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJs\
X3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""
ROOT = bytes.fromhex("0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62")
LOG = Signer("example.com/log", bytes(32))


def test_the_published_checkpoint_is_read_and_written_to_the_byte() -> None:
    checkpoint, note = read_checkpoint(EXAMPLE.encode())
    assert checkpoint == Checkpoint("example.com/behind-the-sofa", 20_852_163, ROOT)
    assert note.encode() == EXAMPLE.encode()
    assert checkpoint.text == note.text
    assert note.signatures[0].key_id == 0x033DE0AE
    assert note.signatures[1].time_s == 1_679_315_147


def test_extension_lines_are_kept() -> None:
    checkpoint = Checkpoint("a", 0, EMPTY_ROOT, ("more", "lines"))
    assert Checkpoint.parse(checkpoint.text) == checkpoint


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("20852163", "020852163", "is not a decimal number"),
        ("20852163", "-1", "is not a decimal number"),
        ("20852163", "1e3", "is not a decimal number"),
        ("20852163", "\N{SUPERSCRIPT TWO}", "is not a decimal number"),
        ("20852163", "9223372036854775808", "is not a decimal number"),
        ("q2I=\n", "q2I\n", "its root is not 32 bytes"),
        ("q2I=\n", "q2J=\n", "its root is not 32 bytes"),
        ("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=", "AAAA", "its root is not 32 bytes"),
        ("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n", "", "is it cut short"),
        ("example.com/behind-the-sofa\n2", "\n2", "is it cut short"),
        ("q2I=\n\n", "q2I=\n\nmore\n\n", "is it cut short"),
    ],
)
def test_malformed_checkpoints_are_refused_by_reason(old: str, new: str, why: str) -> None:
    assert old in EXAMPLE
    with pytest.raises(BadProof, match=why):
        read_checkpoint(EXAMPLE.replace(old, new, 1).encode())


def test_a_checkpoint_is_opened_by_its_logs_key_alone() -> None:
    made = Checkpoint(LOG.name, 7, ROOT)
    data = sign_checkpoint(made, [LOG])
    assert open_checkpoint(data, LOG.name, [LOG.verifier]) == made
    with pytest.raises(BadProof, match=r"is of 'example.com/log' and not of 'example.com/other'"):
        open_checkpoint(data, "example.com/other", [LOG.verifier])
    with pytest.raises(BadProof, match="none of the keys"):
        open_checkpoint(data, LOG.name, [Signer(LOG.name, b"\1" * 32).verifier])
    witness = Signer("w", bytes(32), COSIGNATURE)
    cosigned = data + witness.cosign(made.text, 1).line.encode()
    assert open_checkpoint(cosigned, LOG.name, [LOG.verifier]) == made
    assert (
        read_signatures(witness.cosign(made.text, 1).line)[0]
        == read_checkpoint(cosigned)[1].signatures[1]
    )


@pytest.mark.parametrize("end", range(0, 400, 7))
def test_a_truncated_checkpoint_is_never_believed(end: int) -> None:
    data = sign_checkpoint(Checkpoint(LOG.name, 7, ROOT), [LOG])
    if end < len(data):
        with pytest.raises(BadProof):
            open_checkpoint(data[:end], LOG.name, [LOG.verifier])
