"""What a jurisdiction's log takes of what it is sent: the PoP's word, and nobody else's."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec

from selvedge.control.pop_checkpoints import PopCheckpoints
from selvedge.fabric import JurisdictionLog
from selvedge.tlog import (
    EMPTY_ROOT,
    Checkpoint,
    Refusal,
    RightEdge,
    Signer,
    Submission,
    leaf_hash,
    read_checkpoint,
    sign_checkpoint,
)
from tests.support.log_pops import DOMAIN, LogPlace

ORIGIN = f"{DOMAIN}/example/pop/sin/2026-11"


def known_to(place: LogPlace) -> PopCheckpoints:
    public = base64.b64encode(bytes(32)).decode()
    log = JurisdictionLog("asean", ("SG",), "http://127.0.0.1:1", (public,))
    known = PopCheckpoints("asean")
    assert known.meet(place.make_release(2, (log,))) == log
    return known


def signed(place: LogPlace, count: int, origin: str = ORIGIN) -> bytes:
    edge = RightEdge()
    edge.append([leaf_hash(b"%d" % number) for number in range(count)])
    signers = [Signer(origin, seed) for seed in place.keys.values()]
    return sign_checkpoint(Checkpoint(origin, count, edge.root()), signers)


def test_lines_that_others_add_are_not_taken(tmp_path: Path) -> None:
    """Else its receipts could not be proved: nobody could name who signed those."""
    place = LogPlace(tmp_path)
    known = known_to(place)
    note = signed(place, 3)
    text = read_checkpoint(note)[1].text
    stranger = Signer("stranger.example", bytes(32)).sign(text).line.encode()
    twice = note[len(text) + 1 :]
    for body in (note, note + stranger, note + twice, note + stranger + twice):
        found = known.judge(Submission(0, (), body).encode())
        assert not isinstance(found, Refusal)
        assert found[0].note.encode() == note


def test_a_shard_that_was_closed_and_forgotten_stays_closed(tmp_path: Path) -> None:
    place = LogPlace(tmp_path)
    known = known_to(place)
    months = [ORIGIN.replace("-11", f"-{month:02d}") for month in (8, 9, 10, 11)]
    for origin in months:
        known.take(signed(place, 3, origin))
    for origin in months[:-1]:
        for count in (0, 2, 4):
            body = Submission(0, (), signed(place, count, origin)).encode()
            assert isinstance(known.judge(body), Refusal)


def test_an_empty_tree_has_one_root(tmp_path: Path) -> None:
    place = LogPlace(tmp_path)
    signers = [Signer(ORIGIN, seed) for seed in place.keys.values()]
    other = sign_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)), signers)
    found = known_to(place).judge(Submission(0, (), other).encode())
    assert isinstance(found, Refusal)
    assert msgspec.structs.asdict(found)["status"] == 409
    good = sign_checkpoint(Checkpoint(ORIGIN, 0, EMPTY_ROOT), signers)
    assert not isinstance(known_to(place).judge(Submission(0, (), good).encode()), Refusal)
