"""Requests under one `Idempotency-Key` (the IETF's draft of that header; Stripe's habits).

A key is the project's: the same word of another tenant or project is another key. It stands for one
route, data class and body. While the first request under it runs, others are told to wait; once an
ending has billed something the key is spent, and the answer is given again where it is still kept.
A request that billed nothing leaves its key free: it may be sent again.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from selvedge.exchange.commands import Claim, Claimed, Replay, Reply
from selvedge.fabric import Head, Outcome, Receipt, Refused
from selvedge.ledger import Admitted, settle

FINGERPRINT_BYTES: Final = 16
WAIT_MS: Final = 1000


def claim(
    head: Head, admitted: Admitted, body: bytes, draft: Receipt, *, keeps: bool = True
) -> Claim:
    """The claim of a request that came with a key: of its route, data class and body.

    An answer for a request that entered outside its zone is not kept there, nor one of which
    nothing may be kept (not ``keeps``).
    """
    asked = hashlib.blake2b(head.path.encode(), digest_size=FINGERPRINT_BYTES)
    asked.update(b"\n" + admitted.data_class.encode() + b"\n" + body)
    key = (admitted.tenant, admitted.project, head.idempotency_key or "")
    return Claim(key, asked.digest(), head.receipt_id, keeps=keeps and not draft.transit)


def why_not(reply: Reply) -> Refused | None:
    """Why this request may not go on under its key; None where it may, or is answered again."""
    claimed = read(reply)
    first = claimed.first
    match claimed.state:
        case "running":
            words = f"A request under this Idempotency-Key is still answered (receipt {first}); "
            return Refused("idempotency_in_progress", words + "retry.", retry_after_ms=WAIT_MS)
        case "other":
            words = f"This Idempotency-Key stands for another route or body (receipt {first}); "
            return Refused("idempotency_mismatch", words + "send a new key.")
        case "finished" if claimed.kept is None:
            words = f"The request under this Idempotency-Key has been answered (receipt {first}); "
            words += "its answer is not kept. Send a new key to ask again."
            return Refused("idempotency_finished", words)
        case "full":
            words = "Too many requests with an Idempotency-Key run (idempotency_keys_max); retry."
            return Refused("overloaded", words, retry_after_ms=WAIT_MS)
    return None


def replayed(reply: Reply, draft: Receipt) -> tuple[Receipt, Replay] | None:
    """The receipt and the ending of an answer given again; None where there is none to give."""
    claimed = read(reply)
    kept, first = claimed.kept, claimed.first
    if claimed.state != "finished" or kept is None or first is None:
        return None
    receipt = msgspec.structs.replace(
        draft,
        outcome=Outcome.COMPLETE,
        status=200,
        finish_reason=kept.finish_reason,
        ended_us=claimed.at_us,
    )
    return receipt, Replay(kept, first)


def spends(receipt: Receipt) -> bool:
    """Whether a request that ended so has spent its key: it was answered, or billed for a part."""
    settled = settle(receipt)
    return settled.row in ("complete", "cache_hit") or settled.billed.total > 0


def read(reply: Reply) -> Claimed:
    """The reply, which is to a claim."""
    if not isinstance(reply, Claimed):
        raise TypeError(f"{type(reply).__name__} is not an answer to Claim")
    return reply
