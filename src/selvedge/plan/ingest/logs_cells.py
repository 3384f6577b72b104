"""What stands in logs, as numbers: moments in every form vendors have, bytes, fractions.

A cell is text or a number. One that cannot be read is null here, and its line is bad.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Column: TypeAlias = pa.Array | pa.ChunkedArray
_EPOCHS: Final = ((1e11, 1e3), (1e14, 1.0), (1e17, 1e-3), (np.inf, 1e-6))
"""Numbers below are seconds, milliseconds, microseconds, nanoseconds: 1973 to 5138 in each."""
EARLIEST_MS: Final = 946_684_800_000
LATEST_MS: Final = 4_102_444_800_000
"""Moments outside the years 2000 to 2099 are no moments of a log."""
_ISO: Final = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)? ?(Z|UTC|GMT|[+-]\d\d:?\d\d)$"
_CLF: Final = re.compile(r"(\d{1,2})/(\w{3})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_AHEAD_S_MAX: Final = 15 * 3600
"""No zone is further from UTC."""


def as_ms(column: Column) -> pa.Array:
    """Milliseconds UTC, null where it is no moment: numbers by their size, ISO 8601, or CLF."""
    column = _whole(column)
    kind = column.type
    if pa.types.is_timestamp(kind):
        found = column.cast(pa.timestamp("ms", kind.tz), safe=False).cast(pa.int64())
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        found = _from_numbers(column)
    elif pa.types.is_null(kind):
        found = column.cast(pa.int64())
    else:
        found = _by_unique(column)
    inside = pc.and_(pc.greater_equal(found, EARLIEST_MS), pc.less(found, LATEST_MS))
    return pc.if_else(inside, found, pa.scalar(None, pa.int64()))


def _whole(column: Column) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _from_numbers(column: pa.Array) -> pa.Array:
    known = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_integer(column.type):
        whole = column.cast(pa.int64(), safe=False).fill_null(0).to_numpy()
        found = np.zeros(len(whole), np.int64)
        below = 0.0
        for limit, factor in _EPOCHS:
            some = (whole >= below) & (whole < limit)
            # Integers stay integers: nanoseconds are beyond what a float holds.
            found[some] = (
                whole[some] * int(factor) if factor >= 1 else whole[some] // round(1 / factor)
            )
            below = limit
        return pa.array(found, mask=~known)
    real = column.cast(pa.float64()).fill_null(np.nan).to_numpy()
    known &= np.isfinite(real) & (real >= 0)
    real = np.where(known, real, 0.0)
    limits = np.array([limit for limit, _ in _EPOCHS[:-1]])
    factors = np.array([factor for _, factor in _EPOCHS])
    found = np.floor(real * factors[np.searchsorted(limits, real, side="right")] + 1e-6)
    return pa.array(found.astype(np.int64), mask=~known)


def _by_unique(column: pa.Array) -> pa.Array:
    """Texts that repeat are read once: logs have many lines a second."""
    words = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    texts = words.dictionary.cast(pa.string())
    found = _from_texts(pc.utf8_trim_whitespace(texts))
    return found.take(words.indices)


def _from_texts(texts: pa.Array) -> pa.Array:
    if _are(texts, r"^\d{1,18}$"):
        return _from_numbers(texts.cast(pa.int64()))
    if _are(texts, r"^\d+\.\d*$"):
        return _from_numbers(texts.cast(pa.float64()))
    is_iso = pc.match_substring_regex(texts, _ISO)
    iso = pc.if_else(is_iso, texts, pa.scalar(None, pa.string()))
    iso = pc.replace_substring_regex(iso, r" ?(UTC|GMT)$", "Z")
    try:
        found = _truncated(iso).cast(pa.timestamp("ms", "UTC")).cast(pa.int64())
    except pa.ArrowInvalid:
        found = pa.array([_iso_ms(text) for text in iso.to_pylist()], pa.int64())
    rest = pc.and_(pc.is_null(found), pc.is_valid(texts))
    if not pc.any(rest).as_py():
        return found
    others = pa.array(
        [_other_ms(text) if text else None for text in pc.if_else(rest, texts, "").to_pylist()],
        pa.int64(),
    )
    return pc.coalesce(found, others)


def _are(texts: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, pattern)).as_py()) and len(texts) > 0


def _truncated(iso: pa.Array) -> pa.Array:
    """Without what is finer than milliseconds."""
    return pc.replace_substring_regex(iso, r"(\.\d{1,3})\d*", r"\1")


def _iso_ms(text: str | None) -> int | None:
    try:
        return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return None


def _other_ms(text: str) -> int | None:
    found = _CLF.match(text)
    if found is not None:
        day, month, year, hour, minute, second, sign, ahead_h, ahead_m = found.groups()
        if month not in _MONTHS:
            return None
        date, clock = (int(year), _MONTHS[month], int(day)), (int(hour), int(minute), int(second))
        ahead = (int(ahead_h) * 60 + int(ahead_m)) * (60 if sign == "+" else -60)
        try:
            moment = datetime(*date, *clock, tzinfo=UTC)
        except ValueError:
            return None
        return (
            None
            if abs(ahead) > _AHEAD_S_MAX
            else (calendar.timegm(moment.timetuple()) - ahead) * 1000
        )
    if "." not in text and text.isascii() and text.isdigit() and len(text) < 20:
        found_ms: int | None = _from_numbers(pa.array([int(text)]))[0].as_py()
        return found_ms
    try:
        found_ms = _from_numbers(pa.array([float(text)]))[0].as_py()
    except ValueError:
        return None
    return found_ms


def date_time_ms(date: Column, time: Column) -> pa.Array:
    """A W3C log's two columns, which are UTC."""
    joined = pc.binary_join_element_wise(
        _whole(date).cast(pa.string()), _whole(time).cast(pa.string()), "T"
    )
    return as_ms(pc.binary_join_element_wise(joined, pa.scalar("Z"), ""))


def as_count(column: Column) -> tuple[pa.Array, pa.Array]:
    """Whole numbers, null where none is said, and where there is something that is none.

    `-` and the empty text are nothing said. Fractions are cut.
    """
    column = _whole(column)
    kind = column.type
    if pa.types.is_integer(kind):
        whole = column.cast(pa.int64(), safe=False)
        wrong = np.zeros(len(column), np.bool_)
        if pa.types.is_uint64(kind):  # beyond 63 bits, and not below 0
            wrong = whole.fill_null(0).to_numpy() < 0
        return pc.if_else(pa.array(~wrong), whole, None), pa.array(wrong)
    if pa.types.is_null(kind):
        return column.cast(pa.int64()), pa.array(np.zeros(len(column), np.bool_))
    if pa.types.is_floating(kind):
        return _cut(column)
    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    text = pc.if_else(pc.is_in(text, pa.array(["-", "", "null"])), pa.scalar(None), text)
    try:
        return text.cast(pa.int64()), pa.array(np.zeros(len(column), np.bool_))
    except pa.ArrowInvalid:
        pass
    is_number = pc.match_substring_regex(text, r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$")
    number, _ = _cut(pc.if_else(is_number, text, pa.scalar(None)).cast(pa.float64()))
    wrong = pc.and_(pc.is_valid(text), pc.is_null(number))
    return number, wrong


def _cut(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    real = column.cast(pa.float64()).fill_null(0).to_numpy()
    fits = np.isfinite(real) & (np.abs(real) < 2**63)
    known = column.is_valid().to_numpy(zero_copy_only=False)
    whole = np.where(fits, real, 0).astype(np.int64)
    return pa.array(whole, mask=~(fits & known)), pa.array(known & ~fits)
