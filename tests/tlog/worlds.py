"""A small fleet's logs in memory: PoPs, the jurisdiction that takes their checkpoints, witnesses.

Everything is made by the production code and from fixed seeds.
"""

from __future__ import annotations

import base64
import hashlib
import json
from random import Random

from selvedge.tlog import (
    COSIGNATURE,
    Checkpoint,
    Note,
    PublishedLog,
    Signer,
    Trust,
    Verifier,
    find_receipt,
    open_log,
    parse_trust,
    policy_text,
    prove_receipt,
    receipt_leaf,
    sign_checkpoint,
    sign_note,
)
from tests.tlog.trees import MemoryLog

FLEET = "logs.example.net/fleet"
MONTH = "2026-11"
SEEN_S = 1_795_000_000


def seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def receipt_of(pop: str, number: int) -> tuple[bytes, str]:
    """Canonical bytes of something like a receipt, and its salt."""
    receipt = {
        "attempts": [{"pop": pop, "chunks": number}],
        "id": f"rcpt_{pop}_{number}",
        "ingress_pop": pop,
        "route": "/v1/chat/completions",
        "tenant": "acmé",
        "v": 1,
    }
    text = json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode(), base64.b64encode(seed(f"salt {pop} {number}")).decode()


class SignedLog:
    """A log that signs when it is told to."""

    def __init__(self, base: str, shard: str = MONTH) -> None:
        self.base = base
        self.signer = Signer(f"{base}/{shard}", seed(base))
        self.files = MemoryLog()

    @property
    def origin(self) -> str:
        return self.signer.name

    def sign(self, *signatures_of: tuple[Signer, int]) -> bytes:
        """Publish a checkpoint of what there is, cosigned by witnesses at their times."""
        edge = self.files.edge
        made = Checkpoint(self.origin, edge.size, edge.root())
        data = sign_checkpoint(made, [self.signer])
        for witness, time_s in signatures_of:
            data += witness.cosign(made.text, time_s).line.encode()
        self.files.files["checkpoint"] = data
        return data

    def open(self) -> PublishedLog:
        return open_log(self.files.files.get, self.origin, [self.signer.verifier])


class World:
    """PoPs ``sg`` and ``fr`` with receipts, one jurisdiction, three witnesses, two a quorum."""

    def __init__(self, *, rounds: int = 5, receipts: int = 70, pops: int = 2) -> None:
        names = ["sg", "fr", *(f"p{number}" for number in range(2, pops))]
        self.pops = {name: SignedLog(f"{FLEET}/pop/{name}") for name in names}
        self.home = SignedLog(f"{FLEET}/jurisdiction/eu")
        self.witnesses = [
            Signer(f"w{number}.example/w", seed(f"witness {number}"), COSIGNATURE)
            for number in range(3)
        ]
        self.operator = Signer(f"{FLEET}/operator", seed("operator"))
        self.counts = dict.fromkeys(self.pops, 0)
        rng = Random(7)
        for _ in range(rounds):
            for name in names:
                self.log(name, rng.randrange(1, 2 * receipts // rounds))
        self.publish()

    def log(self, name: str, count: int) -> None:
        """Receipts in a PoP's log, and its checkpoint in the jurisdiction's."""
        first = self.counts[name]
        self.counts[name] += count
        entries = []
        for number in range(first, self.counts[name]):
            receipt, salt = receipt_of(name, number)
            entries.append(receipt_leaf(receipt, base64.b64decode(salt)))
        self.pops[name].files.append(entries)
        self.home.files.append([self.pops[name].sign()])

    def publish(self, cosigners: int = 3) -> None:
        """Sign the jurisdiction's log; each witness saw it a second after the other."""
        seen = enumerate(self.witnesses[:cosigners])
        self.home.sign(*((witness, SEEN_S + number) for number, witness in seen))

    @property
    def logs(self) -> list[Verifier]:
        """Keys under the logs' names without the month."""
        every = [*self.pops.values(), self.home]
        return [Signer(log.base, seed(log.base)).verifier for log in every]

    @property
    def keys(self) -> list[Verifier]:
        """Keys as they sign."""
        signers = [*(log.signer for log in (*self.pops.values(), self.home)), *self.witnesses]
        return [signer.verifier for signer in (*signers, self.operator)]

    def policy(self, quorum: int = 2) -> str:
        witnesses = [witness.verifier for witness in self.witnesses]
        return policy_text(self.logs, witnesses, quorum, about="release 3 of fleet")

    def trust(self, quorum: int = 2) -> Trust:
        return parse_trust(self.policy(quorum))

    def names(self) -> Note:
        return sign_note(self.policy(), [self.operator])

    def prove(self, name: str, number: int, *, named: bool = True) -> bytes:
        receipt, salt = receipt_of(name, number)
        pop, homes = self.pops[name].open(), [self.home.open()]
        names = (self.names(), self.operator.verifier) if named else None
        found = find_receipt(pop, receipt, salt)
        assert found is not None
        return prove_receipt(found, pop, homes, lambda _: self.keys, names)
