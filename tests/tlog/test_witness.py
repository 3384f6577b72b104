"""What a witness answers: every status of the specification, and a log that was rolled back."""

from __future__ import annotations

import pytest

from selvedge.fabric import BadProof
from selvedge.tlog import (
    ADD_BYTES_MAX,
    COSIGNATURE,
    EMPTY_ROOT,
    Checkpoint,
    Cosigned,
    Refusal,
    Signer,
    Submission,
    WitnessedLog,
    read_signatures,
    read_submission,
    sign_checkpoint,
    witness_checkpoint,
)
from tests.tlog.trees import MemoryLog

LOG = Signer("example.com/log", b"\1" * 32)
WITNESS = Signer("witness.example/w1", b"\2" * 32, COSIGNATURE)


class Witness:
    """Remembers as a witness must, and answers through the production decision."""

    def __init__(self) -> None:
        self.logs = {LOG.name: WitnessedLog((LOG.verifier,))}

    def ask(self, submission: Submission | bytes) -> Cosigned | Refusal:
        body = submission if isinstance(submission, bytes) else submission.encode()
        answer = witness_checkpoint(body, self.logs.get, WITNESS, 1_700_000_000)
        if isinstance(answer, Cosigned):
            known = answer.checkpoint
            self.logs[known.origin] = WitnessedLog((LOG.verifier,), known.size, known.root)
        return answer


def submission(log: MemoryLog, old_size: int, signer: Signer = LOG) -> Submission:
    made = Checkpoint(LOG.name, log.edge.size, log.edge.root())
    proof = log.tree().consistency_proof(min(old_size, log.edge.size))
    return Submission(old_size, tuple(proof), sign_checkpoint(made, [signer]))


def grown(*entries: bytes) -> MemoryLog:
    log = MemoryLog()
    log.append(list(entries))
    return log


def status(answer: Cosigned | Refusal) -> tuple[int, str]:
    return answer.status, answer.body


def test_a_log_that_only_grows_is_cosigned_each_time() -> None:
    witness, log = Witness(), MemoryLog()
    old = 0
    for step in (1, 1, 255, 3, 0, 700):
        log.append([b"x"] * step)
        answer = witness.ask(submission(log, old))
        assert isinstance(answer, Cosigned), answer
        (line,) = read_signatures(answer.body)
        assert WITNESS.verifier.verify(answer.checkpoint.text, line)
        assert line.time_s == 1_700_000_000
        old = log.edge.size
    assert witness.logs[LOG.name].size == 960


def test_an_unknown_log_is_404_and_a_wrong_key_403() -> None:
    witness, log = Witness(), grown(b"a")
    other = sign_checkpoint(Checkpoint("example.com/x", 1, EMPTY_ROOT), [LOG])
    answer = witness.ask(Submission(0, (), other))
    assert status(answer) == (404, "the log 'example.com/x' is not known here\n")
    stranger = Signer(LOG.name, b"\3" * 32)
    assert status(witness.ask(submission(log, 0, stranger)))[0] == 403
    broken = submission(log, 0).encode().replace(b"\n1\n", b"\n2\n")
    assert "does not hold" in status(witness.ask(broken))[1]
    assert status(witness.ask(broken))[0] == 403
    assert witness.logs[LOG.name].size == 0


def test_an_old_size_that_is_not_ours_is_409_with_ours() -> None:
    witness, log = Witness(), grown(b"a", b"b")
    witness.ask(submission(log, 0))
    log.append([b"c"])
    for old in (0, 1, 3):
        answer = witness.ask(submission(log, old))
        assert status(answer) == (409, "2\n")
        assert answer.content_type == "text/x.tlog.size"
    assert status(witness.ask(submission(log, 4)))[0] == 400
    assert isinstance(witness.ask(submission(log, 2)), Cosigned)


def test_a_restored_backup_is_refused() -> None:
    witness, log = Witness(), grown(b"a", b"b", b"c")
    witness.ask(submission(log, 0))
    restored = grown(b"a", b"b")
    assert status(witness.ask(submission(restored, 2))) == (409, "3\n")
    assert status(witness.ask(submission(restored, 3)))[0] == 400
    restored.append([b"another"])
    answer = witness.ask(submission(restored, 3))
    assert status(answer) == (409, "3\n")
    assert isinstance(answer, Refusal)
    assert "a fork" in answer.why
    restored.append([b"d"])
    assert status(witness.ask(submission(restored, 3)))[0] == 422
    assert witness.logs[LOG.name].root == log.edge.root()


def test_a_proof_that_does_not_lead_there_is_422() -> None:
    witness, log = Witness(), grown(b"a", b"b", b"c")
    first = submission(log, 0)
    assert status(witness.ask(Submission(0, (b"\0" * 32,), first.checkpoint)))[0] == 422
    witness.ask(first)
    assert status(witness.ask(Submission(3, (b"\0" * 32,), first.checkpoint)))[0] == 422
    log.append([b"d", b"e"])
    good = submission(log, 3)
    assert status(witness.ask(Submission(3, good.proof[:-1], good.checkpoint)))[0] == 422
    assert status(witness.ask(Submission(3, good.proof[::-1], good.checkpoint)))[0] == 422


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"old 0", b"old 00", "does not begin with a line 'old SIZE'"),
        (b"old 0", b"new 0", "does not begin with a line 'old SIZE'"),
        (b"old 0", b"0", "does not begin with a line 'old SIZE'"),
        (b"old 0", b"old \xd9\xa1", "is not ASCII"),
        (b"old 0\n", b"old 0\nAAAA\n", "its hash 0 is not 32 bytes"),
        (b"old 0\n", b"old 0\n" + b"A" * 43 + b"=\n", None),
        (b"old 0\n", b"old 0\n" + (b"A" * 43 + b"=\n") * 64, "more than 63 hashes"),
        (b"\n\nexample", b"\nexample", "its hash 0 is not"),
        (b"\n1\n", b"\n01\n", "is not a decimal number"),
        (b"old 0", b"old 0" + b" " * ADD_BYTES_MAX, "larger than"),
    ],
)
def test_what_is_malformed_is_400(old: bytes, new: bytes, why: str | None) -> None:
    body = submission(grown(b"a"), 0).encode()
    answer = Witness().ask(body.replace(old, new, 1))
    if why is None:
        assert status(answer)[0] == 422
    else:
        assert isinstance(answer, Refusal)
        assert answer.status == 400
        assert why in answer.why
        assert answer.content_type.startswith("text/plain")


def test_a_submission_reads_back() -> None:
    log = grown(*[b"x"] * 300)
    made = submission(log, 77)
    assert read_submission(made.encode()) == made
    for end in (0, 5, 30, len(made.encode()) - len(made.checkpoint)):
        with pytest.raises(BadProof):
            read_submission(made.encode()[:end])
