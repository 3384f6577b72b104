"""What a receipt bills: one pure function, and the table of its rows.

The rule behind the table: **who got nothing pays nothing; who broke an answer off pays for what had
come; what we broke, nobody pays.** A receipt keeps what the engine did (`Receipt.usage`), so that
it can be compared with the engine's own count; what is sold is `settle(receipt).billed`, and
whoever sells, limits or reports asks here. Prices are not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from selvedge.fabric import REFUSALS, Outcome, Receipt, Tried, Usage
from selvedge.fabric.value import Value

NOTHING: Final = Usage()
NO_USAGE: Final = "the answer is complete, but its receipt holds no usage: look at the engine"


class Row(Value, frozen=True):
    """One end that a request can come to, and what is billed for it."""

    name: str
    end: str
    bills: str
    why: str


_ALL: Final = "the receipt's usage"
_PROMPT_AND_PART: Final = "the prompt and the tokens delivered"
_NONE: Final = "nothing"
_AT_A_REFUSAL: Final = "no answer began"


def _of_answers() -> tuple[Row, ...]:
    return (
        Row("complete", "the answer was whole when its receipt was written", _ALL, "it was given"),
        Row(
            "batch_line",
            "the same, of a line of a batch",
            _ALL,
            "it was given; what a line costs is the price book's",
        ),
        Row("cache_hit", "a kept answer was given", _NONE, "no engine worked"),
        Row(
            "replayed",
            "an answer was given again for its `Idempotency-Key`",
            _NONE,
            "the first receipt, which `repeats` names, bills it",
        ),
        Row(
            "gone_before",
            "the client left before a token had reached it, or its body was whole",
            _NONE,
            "it got nothing; an answer that is not streamed is given whole or not at all",
        ),
        Row(
            "gone_after",
            "the client left a stream after k tokens",
            _PROMPT_AND_PART,
            "it broke the answer off, and has what had come",
        ),
        Row(
            "deadline_before",
            "the request's time was over before a token had reached the client",
            _NONE,
            "it got nothing",
        ),
        Row(
            "deadline_after",
            "the request's time was over after k tokens of a stream",
            _PROMPT_AND_PART,
            "the client set the time, and has what had come",
        ),
        Row(
            "failed_before",
            "every engine tried failed before a token had reached the client",
            _NONE,
            "the failure is ours",
        ),
        Row(
            "failed_after",
            "engine, link or PoP broke a stream after k tokens",
            _NONE,
            "the failure is ours, and half an answer is none",
        ),
    )


def _of_refusals() -> tuple[Row, ...]:
    return (
        Row(
            "rejected",
            "the engine found the request invalid before a token",
            _NONE,
            _AT_A_REFUSAL,
        ),
        Row(
            "rejected_after",
            "the engine ended a stream after k tokens for what the caller had asked",
            _PROMPT_AND_PART,
            "the caller's request ended it, and what had come was given",
        ),
        Row("refused_caller", "refused: the request is wrong", _NONE, _AT_A_REFUSAL),
        Row("refused_policy", "refused: a rule or a quota forbids it", _NONE, _AT_A_REFUSAL),
        Row("refused_capacity", "refused: no room, or none in time", _NONE, _AT_A_REFUSAL),
        Row("refused_engine", "refused: the engine's fault, before any was asked", _NONE, "ours"),
        Row("refused_selvedge", "refused: a fault of ours", _NONE, "the failure is ours"),
        Row(
            "interrupted",
            "the PoP died between intent and record",
            _NONE,
            "nobody knows what was given, and nothing was acknowledged",
        ),
        Row("probe", "the operator's own question to an engine", _NONE, "nobody asked to buy it"),
        Row(
            "judge",
            "an engine was asked whether two answers of a cache say the same",
            _NONE,
            "the operator asked, for the cache's sake",
        ),
        Row(
            "attempt_failed",
            "an attempt that another one followed",
            _NONE,
            "its request's receipt bills the attempt that answered",
        ),
        Row(
            "hedge_loser",
            "an attempt of a race that another one won",
            _NONE,
            "the race is ours; its request's receipt bills the winner",
        ),
    )


ROWS: Final[Mapping[str, Row]] = MappingProxyType(
    {row.name: row for row in _of_answers() + _of_refusals()}
)
"""Every row, by name. The last two are of attempts, the others of receipts."""


_OWN: Final = frozenset({"probe", "judge"})
"""Purposes of the operator's own; each is its row."""
BILLING: Final = frozenset(row.name for row in ROWS.values() if row.bills != _NONE)
"""The rows that bill what there is."""


class Settlement(Value, frozen=True):
    """What one receipt bills, by which row of the table, and why."""

    row: str
    billed: Usage
    why: str


def settle(receipt: Receipt) -> Settlement:
    """What this receipt bills. Total: every receipt has a row."""
    name = row_of(receipt)
    row = ROWS[name]
    if row.bills is _NONE:
        return Settlement(name, NOTHING, row.why)
    if receipt.usage is None:
        return Settlement(name, NOTHING, NO_USAGE)
    return Settlement(name, receipt.usage, row.why)


def row_of(receipt: Receipt) -> str:
    """The name of a receipt's row."""
    if receipt.purpose in _OWN:
        return receipt.purpose
    after = "after" if _delivered(receipt) else "before"
    match receipt.outcome:
        case Outcome.INTERRUPTED:
            return "interrupted"
        case Outcome.COMPLETE:
            return _complete(receipt)
        case Outcome.CLIENT_GONE:
            return f"gone_{after}"
        case _ if receipt.code == "deadline_exceeded":
            return f"deadline_{after}"
        case _ if not receipt.attempts:
            return f"refused_{_fault(receipt.code)}"
        case Outcome.REFUSED:
            return "rejected_after" if after == "after" else "rejected"
    return f"failed_{after}"


def _complete(receipt: Receipt) -> str:
    if receipt.repeats is not None:
        return "replayed"
    if receipt.cache == "hit":
        return "cache_hit"
    return "batch_line" if receipt.purpose == "batch" else "complete"


def _delivered(receipt: Receipt) -> bool:
    """Whether the client has a part of the answer. What is not streamed comes whole."""
    return bool(receipt.attempts) and receipt.attempts[-1].tokens > 0


def _fault(code: str | None) -> str:
    """The fault domain of a code; a code of a newer version is nobody's but ours."""
    kind = REFUSALS.get(code or "")
    return kind.fault if kind is not None else "selvedge"


def attempt_rows(receipt: Receipt) -> tuple[str, ...]:
    """The row of each attempt: one has its receipt's, the others bill nothing by their own.

    That one is the attempt that answered, else the last. An attempt that was cut off although
    another answered lost a race.
    """
    own = _billing(receipt.attempts)
    return tuple(
        row_of(receipt) if at == own else _other(one) for at, one in enumerate(receipt.attempts)
    )


def _billing(attempts: tuple[Tried, ...]) -> int:
    won = [at for at, one in enumerate(attempts) if one.outcome == "relayed"]
    return won[0] if won else len(attempts) - 1


def _other(tried: Tried) -> str:
    return "hedge_loser" if tried.outcome in ("gone", "relayed") else "attempt_failed"


class Sums(Value, frozen=True):
    """What any number of receipts bill together: integers, added in any order.

    ``exact`` counts tokens that engines reported; the rest of the five was counted or estimated.
    """

    receipts: int = 0
    input_uncached: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    exact: int = 0

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            *(getattr(self, name) + getattr(other, name) for name in self.__struct_fields__)
        )


def sums_of(receipts: Iterable[Receipt]) -> Sums:
    """The fold: what these receipts bill together."""
    total = Sums()
    for receipt in receipts:
        billed = settle(receipt).billed
        every = billed.input + billed.generated
        total += Sums(
            1,
            billed.input_uncached,
            billed.cache_read,
            billed.cache_write,
            billed.output,
            billed.reasoning,
            every if billed.provenance == "reported" else 0,
        )
    return total


def settlement_table() -> str:
    """The rows as a Markdown table, for the documentation."""
    lines = ["| row | end | billed | why |", "|---|---|---|---|"]
    lines += [f"| `{row.name}` | {row.end} | {row.bills} | {row.why} |" for row in ROWS.values()]
    return "\n".join(lines) + "\n"
