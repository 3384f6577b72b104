"""The rows of a compiled policy as integers: what each of its rules says from one moment to the
next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from selvedge.fabric import CompiledRule, Policy
from selvedge.fabric.value import Value

FOREVER_US: Final = 2**62
"""After every moment."""


class Row(Value, frozen=True):
    """A rule of the policy from a moment to another: a bitset of PoPs for each act."""

    from_us: int
    until_us: int
    enter: int
    process: int
    cache: int
    log: int
    receipts: int
    keys: int

    @property
    def entry(self) -> int:
        """Where a request may come in: who lets it in writes its receipt, holds its subject's keys
        and writes lines about it.
        """
        return self.enter & self.receipts & self.keys & self.log

    def both(self, other: Row) -> Row:
        """What both allow, at this row's time."""
        return Row(
            self.from_us,
            self.until_us,
            self.enter & other.enter,
            self.process & other.process,
            self.cache & other.cache,
            self.log & other.log,
            self.receipts & other.receipts,
            self.keys & other.keys,
        )


def nothing(from_us: int, until_us: int) -> Row:
    """A row that allows no act anywhere."""
    return Row(from_us, until_us, 0, 0, 0, 0, 0, 0)


def rows_of(policy: Policy) -> Mapping[str, tuple[Row, ...]]:
    """The rows of each rule, in order. Before the first, a rule allows nothing."""
    written: dict[str, list[CompiledRule]] = {}
    for one in policy.rules:
        written.setdefault(one.rule, []).append(one)
    return {rule: _rows(rows) for rule, rows in written.items()}


def _rows(written: list[CompiledRule]) -> tuple[Row, ...]:
    ends = [*(one.from_us for one in written[1:]), FOREVER_US]
    return tuple(
        Row(
            one.from_us,
            until_us,
            _bits(one.enter),
            _bits(one.process),
            _bits(one.cache),
            _bits(one.log),
            _bits(one.receipts),
            _bits(one.keys),
        )
        for one, until_us in zip(written, ends, strict=True)
    )


def _bits(digits: str) -> int:
    return int(digits, 16) if digits else 0


def policy_end_us(policy: Policy | None) -> int:
    """When the last of a policy's rules ends that allows anything; 0: there is none."""
    ends = (row.from_us for row in (policy.rules if policy is not None else ()) if not row.bits)
    return max(ends, default=0)
