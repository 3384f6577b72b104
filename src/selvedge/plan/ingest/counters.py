"""From running totals to what was counted between two polls; wraps told from resets.

Of two polls of a series, the later one may be lower. Then

- the device was restarted after the earlier poll, by its own uptime: a reset;
- the counter never wraps (Prometheus): a reset;
- what a wrap would mean is more than the interface can carry: a reset;
- there is no uptime, and a wrap would mean more than twice the rate of the polls beside it (or one
  and a half times the most of the series, where those fell too): a reset;
- otherwise a wrap, at 2^32 or 2^64.

After a reset, what the counter shows is what was counted since: a lower bound, flagged. Uptime is
itself a counter of 32 bits and hundredths of a second (RFC 3418, sysUpTime): it wraps after 497
days, and that is no restart.

Uptime also tells a clock that was set between two polls. What was counted is then put before the
later poll, for as long as the device ran; and where it ran for longer than the clock has room for,
only the part that has. Both are flagged as partial.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from selvedge.plan.history import Flag
from selvedge.plan.ingest.arranging import codes_of
from selvedge.plan.ingest.cells import STEP_MS, Spans
from selvedge.plan.ingest.columns import Array, Readings

UPTIME_WRAP_MS: Final = (1 << 32) * 10
SLACK_MS: Final = 5_000
"""By which clocks of device and poller may differ between two polls."""
SHIFT_MS: Final = 60_000
"""A clock that moved by more against the device's uptime was set."""
SPREAD_MAX_MS: Final = 3_600_000
"""Polls further apart say nothing of when it was: no samples, a gap."""
GAP: Final = 1.5
"""Polls further apart than so many usual steps miss one."""
ABOVE: Final = 1.05
"""More than so many times what an interface can carry cannot be."""
LIMIT_BPS: Final = 1_600_000_000_000
"""What an interface of unknown capacity is taken to carry at most."""


@dataclass(slots=True)
class Steps:
    """Between two polls of a series; one entry for each pair."""

    before: Array
    """Position of the earlier reading; `after` of the later."""
    after: Array
    amount: Array
    start_ms: Array
    is_reset: Array
    is_wrap: Array
    is_blind: Array
    """The counter can pass its largest value more than once in the time: a lower bound."""
    is_gap: Array
    missed: Array
    """Polls that are missing in a gap."""
    is_shift: Array
    is_over: Array
    """More than the interface can carry."""
    is_kept: Array
    """What has samples: not a gap of more than `SPREAD_MAX_MS`."""

    def spans(self, rows: Readings, mask: Array) -> Spans:
        """Amounts to be shared out, of some of the steps."""
        after = self.after[mask]
        flags = rows.flags[after].astype(np.uint8)
        flags = flags | np.where(self.is_reset[mask], Flag.RESET, 0).astype(np.uint8)
        unsure = self.is_blind[mask] | self.is_shift[mask]
        flags = flags | np.where(unsure, Flag.PARTIAL, 0).astype(np.uint8)
        return Spans(
            rows.pop[after],
            rows.series[after],
            self.start_ms[mask],
            rows.at_ms[after],
            self.amount[mask],
            flags,
        )


def find_steps(rows: Readings, measure: str) -> Steps:
    """Between polls that have the measure. Rows are sorted, and none repeats."""
    index = np.flatnonzero(rows.has(measure))
    codes = codes_of(rows)[index]
    pairs = codes[1:] == codes[:-1]
    before, after = index[:-1][pairs], index[1:][pairs]
    codes = codes[1:][pairs]
    span = rows.at_ms[after] - rows.at_ms[before]
    low, high = rows.values[measure][before], rows.values[measure][after]
    width = rows.more["width"][after] if "width" in rows.more else np.full(len(after), 64)
    restarted, known, shift, lasted = _uptimes(rows, before, after, span)
    limit, has_limit = _limits(rows, after, np.where(shift, lasted, span))
    is_drop = high < low
    plain = np.where(is_drop, 0, high - np.minimum(low, high))
    wrapped = high - low  # unsigned: modulo 2^64
    wrapped = np.where(width == 32, (high + np.uint64(1 << 32)) - low, wrapped)
    may_wrap = is_drop & ~restarted & (width > 0) & (wrapped <= limit)
    may_wrap &= known | (wrapped <= _usual(codes, plain, is_drop | restarted, lasted))
    is_reset = restarted | (is_drop & ~may_wrap)
    amount = np.where(is_reset, high, np.where(may_wrap, wrapped, plain))
    # Of a clock that was set back between two polls, only a part has a place in time.
    part = np.flatnonzero(shift & (lasted > span))
    amount[part] = np.rint(amount[part].astype(float) * (span[part] / lasted[part]))
    period = _periods(codes, span)
    apart = np.where(shift, np.minimum(lasted, span), span)
    # A device that was restarted counted since then; one whose clock jumped, as long as it ran.
    start = rows.at_ms[after] - np.minimum(lasted, span)
    is_blind = (width == 32) & has_limit & (limit > ABOVE * (1 << 32)) & ~is_reset
    return Steps(
        before,
        after,
        amount,
        np.minimum(start, rows.at_ms[after] - 1),
        is_reset,
        may_wrap,
        is_blind,
        apart > period * GAP,
        np.rint(apart / np.maximum(period, 1)).astype(np.int64) - 1,
        shift,
        has_limit & (amount > limit),
        np.minimum(lasted, span) <= SPREAD_MAX_MS,
    )


def _uptimes(
    rows: Readings, before: Array, after: Array, span: Array
) -> tuple[Array, Array, Array, Array]:
    """Restarted, uptime known, clock moved, and for how long what is counted was counted."""
    if "uptime_ms" not in rows.more:
        none = np.zeros(len(after), bool)
        return none, none, none, span
    up, was = rows.more["uptime_ms"][after], rows.more["uptime_ms"][before]
    known = (up >= 0) & (was >= 0)
    wrap = known & (up < was) & (np.abs(was + span - up - UPTIME_WRAP_MS) <= SHIFT_MS)
    boot = rows.at_ms[after] - up
    restarted = known & ~wrap & ((up < was) | (boot > rows.at_ms[before] + SLACK_MS))
    ran = up - was + np.where(wrap, UPTIME_WRAP_MS, 0)
    shift = known & ~restarted & (np.abs(span - ran) > SHIFT_MS)
    lasted = np.where(shift, ran, np.where(restarted, np.minimum(up, span), span))
    return restarted, known, shift, np.maximum(lasted, 1)


def _limits(rows: Readings, after: Array, span: Array) -> tuple[Array, Array]:
    """Bytes that an interface can carry in the time, with `ABOVE`; and whether that is known."""
    capacity = np.zeros(len(after), float)
    if "capacity_bps" in rows.values:
        has = rows.has("capacity_bps")[after]
        capacity = np.where(has, rows.values["capacity_bps"][after], 0).astype(float)
    known = capacity > 0
    return np.where(known, capacity, LIMIT_BPS) * span / 8000 * ABOVE, known


def _usual(codes: Array, amount: Array, is_odd: Array, span: Array) -> Array:
    """Bytes that the series would count at most in the time, by the rates around it."""
    if not len(codes):
        return np.zeros(0)
    rate = np.where(is_odd, -1.0, amount / np.maximum(span, 1))
    beside = np.full(len(rate), -1.0)
    same = codes[1:] == codes[:-1]
    beside[1:] = np.where(same, rate[:-1], -1.0)
    beside[:-1] = np.maximum(beside[:-1], np.where(same, rate[1:], -1.0))
    first = np.flatnonzero(np.concatenate([[True], ~same]))
    most = np.repeat(np.maximum.reduceat(rate, first), np.diff(np.append(first, len(rate))))
    usual = np.where(beside >= 0, 2 * beside, np.where(most >= 0, 1.5 * most, np.inf))
    found: Array = usual * span
    return found


def _periods(codes: Array, span: Array) -> Array:
    """The usual time between two polls, for each step: the median of its series."""
    if not len(codes):
        return np.zeros(0)
    first = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    counts = np.diff(np.append(first, len(codes)))
    usual = [np.median(part) for part in np.split(span, first[1:])]
    # Of few polls, the median says little; five minutes is what is asked for.
    least = np.where(counts < 4, STEP_MS, 0)
    return np.repeat(np.maximum(usual, least), counts)
